"""A clean end for processes that read s3://."""

import atexit
import ctypes


def arrange() -> None:
    """Keeps tensorflow-io 0.37.1's S3 client from aborting the process as it ends.

    Once s3:// was used, its static destructors call a freed object and turn any exit
    status into 134.
    """
    atexit.unregister(_skip_destructors)
    atexit.register(_skip_destructors)


def _skip_destructors() -> None:
    """Makes `_exit` the first of libc's exit handlers, with the status that is due.

    The last handler registered runs first, so this must happen as the interpreter goes.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "on_exit"):  # glibc; elsewhere the crash stays
        libc.on_exit(libc._exit, None)
