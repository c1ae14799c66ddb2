"""The one event loop of a serving process, in a thread of its own.

grpc.aio takes all of a process's events off one queue: a second loop beside the first
steals its wake-ups. So every server in a process (tests and notebooks start several)
shares this loop; it ends with the process.
"""

import array
import asyncio
import fcntl
import functools
import socket
import termios
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import uvloop

_Result = TypeVar("_Result")
_GRPC_EVENTS = "PollerCompletionQueue._handle_events"


class ServingLoop(uvloop.Loop):
    """uvloop that wakes up once for all of gRPC's events that have come.

    grpc.aio writes a byte to a socket for each event, four a call, and its reader takes
    one byte and handles all events there are: the other bytes wake the loop again, for
    nothing. Here they are read before the events are handled. A byte is written after
    its event is in the queue, so none is handled too late. Saves up to 3 % of a
    call's CPU with `fused` of benchmarks/serving.py.
    """

    def add_reader(  # type: ignore[override]
        self, fd: Any, callback: Callable[..., Any], *args: Any
    ) -> None:
        """As asyncio's."""
        handler = getattr(callback, "func", callback)
        if isinstance(fd, socket.socket) and _GRPC_EVENTS in str(
            getattr(handler, "__qualname__", "")
        ):
            callback = functools.partial(_handle_once, fd, callback)
        super().add_reader(fd, callback, *args)


def _handle_once(
    wakeups: socket.socket, handle: Callable[..., Any], *words: Any
) -> None:
    """Leaves the handler the one byte that it reads."""
    waiting = array.array("i", [0])
    fcntl.ioctl(wakeups, termios.FIONREAD, waiting)
    if waiting[0] > 1:
        wakeups.recv(waiting[0] - 1)
    handle(*words)


_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def event_loop() -> asyncio.AbstractEventLoop:
    """The running loop; the first call starts it."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = ServingLoop()
            threading.Thread(
                target=_loop.run_forever, name="event-loop", daemon=True
            ).start()
        return _loop


def run(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Runs a coroutine on the loop, from any other thread, and waits for its result."""
    return asyncio.run_coroutine_threadsafe(work, event_loop()).result()
