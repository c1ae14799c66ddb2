"""What a loaded model does to the garbage collector and to the heap.

A SavedModel in Python is some 300,000 objects full of cycles. Looking through them all
stops every thread for 150 ms, so a server that has loaded puts them out of the
collector's sight, and takes them back into it when a version goes.
"""

import ctypes
import gc


def settle() -> None:
    """What lives now is there to stay: for a process that only serves, once it does."""
    gc.collect()
    gc.freeze()
    _trim()


def release() -> None:
    """Frees what a model that was let go has left, and what loading needed."""
    settled = gc.get_freeze_count() > 0
    gc.unfreeze()
    gc.collect()
    if settled:
        gc.freeze()
    _trim()


def _trim() -> None:
    """Gives freed pages back to the system; glibc keeps them otherwise."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
