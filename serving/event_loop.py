"""The one event loop of a serving process, in a thread of its own.

grpc.aio takes all of a process's events off one queue: a second loop beside the first
steals its wake-ups. So every server in a process (tests and notebooks start several)
shares this loop; it ends with the process.
"""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

_Result = TypeVar("_Result")
_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def event_loop() -> asyncio.AbstractEventLoop:
    """The running loop; the first call starts it."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = uvloop.new_event_loop()
            threading.Thread(
                target=_loop.run_forever, name="event-loop", daemon=True
            ).start()
        return _loop


def run(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Runs a coroutine on the loop, from any other thread, and waits for its result."""
    return asyncio.run_coroutine_threadsafe(work, event_loop()).result()
