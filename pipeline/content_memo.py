"""Remembers what was made of a file's bytes, so that a file is decoded once.

Many rows may name the same file: the card of a product, eight pictures of a history.
"""

from __future__ import annotations

import hashlib
import inspect
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_MAX_BYTES = 128 * 2**20
_ENTRY_BYTES = 300
"""About what an entry takes beside its value."""


class ContentMemo(Generic[T]):
    """A pure function of a file's bytes that is called once for equal bytes.

    Memory is bounded: what was asked for least recently is forgotten. A result that is
    the file itself takes none. Errors are remembered as results are, those of another
    `name` apart, for their message holds it.

    Args:
      function: Takes bytes, and arguments that can be hashed.
      max_bytes: Of the results that are kept.
    """

    def __init__(self, function: Callable[..., T], max_bytes: int = _MAX_BYTES) -> None:
        self._function = function
        self._signature = inspect.signature(function)
        self._max_bytes = max_bytes
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __call__(self, data: bytes, *args: Hashable, **kwargs: Hashable) -> T:
        bound = self._signature.bind(data, *args, **kwargs)
        bound.apply_defaults()
        _, *rest = bound.arguments.items()
        key = (
            hashlib.sha256(data).digest(),
            *(one for one in rest if one[0] != "name"),
        )
        failed = (key, bound.arguments.get("name"))
        with self._lock:
            for one in (key, failed):
                if one not in self._kept:
                    continue
                self._kept.move_to_end(one)
                found = self._kept[one][0]
                if isinstance(found, ValueError):
                    raise found.with_traceback(None)
                return data if found is _SAME else found  # type: ignore[return-value]
        try:
            result = self._function(data, *args, **kwargs)
        except ValueError as error:
            self._keep(failed, error, 0)
            raise
        if result is data:
            self._keep(key, _SAME, 0)
        else:
            self._keep(key, result, _size(result))
        return result

    def _keep(self, key: Hashable, value: Any, size: int) -> None:
        size += _ENTRY_BYTES
        if size > self._max_bytes:
            return
        with self._lock:
            if key in self._kept:
                return
            self._kept[key] = (value, size)
            self._bytes += size
            while self._bytes > self._max_bytes:
                _, (_, freed) = self._kept.popitem(last=False)
                self._bytes -= freed


_SAME = object()
"""In place of a result that is the file's own bytes."""


def _size(result: Any) -> int:
    return int(getattr(result, "nbytes", 0)) or (
        len(result) if isinstance(result, bytes) else _ENTRY_BYTES
    )
