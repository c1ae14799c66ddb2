"""What TensorFlow needs to open a URL, and its file errors as Python's.

tensorflow-io brings TensorFlow further filesystems. No other module names it, and it is
imported only when needed: it brings Keras with it. Its own s3:// is not used: it reads
wrong bytes beyond 512 KiB from stores that ignore the Range of a HEAD.
"""

import contextlib
from collections.abc import Iterator

from serving.tensorflow_core import tensorflow


def is_url(path: str) -> bool:
    """Whether a path names a protocol."""
    return "://" in path


def is_protocol(path: str, *protocols: str) -> bool:
    """Whether a path is a URL of one of these protocols."""
    return is_url(path) and path.partition("://")[0].lower() in protocols


def register(path: str) -> None:
    """Registers what TensorFlow needs to open `path`; free for local and gs:// paths."""
    if is_url(path) and not is_protocol(path, "file", "gs", "ram"):
        import tensorflow_io  # noqa: F401  importing it registers its filesystems


@contextlib.contextmanager
def tensorflow_errors(path: str) -> Iterator[None]:
    """TensorFlow's file errors as Python's."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        errors = tensorflow().errors
        if isinstance(error, errors.NotFoundError):
            raise FileNotFoundError(path) from error
        if isinstance(error, errors.PermissionDeniedError):
            raise PermissionError(path) from error
        if isinstance(error, errors.OpError):
            raise OSError(error.message) from error
        raise
