"""Clients of a benchmark: threads that work until the `with` ends."""

from __future__ import annotations

import threading
from typing import TypeVar

_Self = TypeVar("_Self", bound="ClientThreads")


class ClientThreads:
    """Calls `_work(number)` in `count` threads; `_work` returns once `_stop` is set.

    A subclass shares what it counts under `_lock`.
    """

    def __init__(self, count: int) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._work, args=(number,))
            for number in range(count)
        ]

    def _work(self, number: int) -> None:
        raise NotImplementedError

    def __enter__(self: _Self) -> _Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
