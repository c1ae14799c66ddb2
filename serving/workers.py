"""Several server processes behind the same ports, and the parent that keeps them.

Each worker is a whole server that listens with SO_REUSEPORT; the kernel gives every new
connection to one of them. The parent loads no TensorFlow: it starts the workers, starts
a crashed one again, and hands signals on.
"""

import ctypes
import glob
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress

from serving.prometheus import DIRECTORY, process_ended

_log = logging.getLogger(__name__)

# In a worker's environment: the folder that it tells its readiness in, and its parent.
_FOLDER, _PARENT = "POLYMODAL_WORKERS", "POLYMODAL_WORKERS_PARENT"
NO_RELOAD = (
    "HandleReloadConfigRequest would reach one of several worker processes only: change "
    "the file of --model_config_file, with --model_config_file_poll_wait_seconds"
)

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
# A worker that lived this long had no lasting trouble: its next crash counts as a first.
_HEALTHY_SECONDS = 60.0
_LOOK_SECONDS = 0.1


def is_worker() -> bool:
    """Whether this process is one of several."""
    return _FOLDER in os.environ


def ready() -> None:
    """Tells the parent, if there is one, that this worker serves."""
    if is_worker():
        path = os.path.join(os.environ[_FOLDER], str(os.getpid()))
        with open(path, "w", encoding="ascii"):
            pass


def end_with_parent(stop: threading.Event) -> None:
    """Lets a worker drain and end when its parent is gone, however that ended."""
    if not is_worker():
        return
    libc = ctypes.CDLL(None, use_errno=True)
    set_death_signal = 1  # PR_SET_PDEATHSIG
    if hasattr(libc, "prctl"):  # Linux
        libc.prctl(set_death_signal, signal.SIGTERM)
    if os.getppid() != int(os.environ[_PARENT]):  # it was gone before
        stop.set()


def supervise(
    command: Sequence[str], count: int, host: str, ports: Sequence[int]
) -> int:
    """Keeps `count` workers until SIGTERM or SIGINT; returns the exit status.

    Args:
        command: what starts one.
        count: how many.
        host: address that they listen on.
        ports: those that they share; all are fixed.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with ExitStack() as stack:
        try:
            for port in ports:
                stack.enter_context(_reserved(host, port))
        except OSError as error:
            print(f"serving.server: {error}", file=sys.stderr)
            return 1
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        metrics = os.environ.get(DIRECTORY) or os.path.join(folder, "metrics")
        os.makedirs(metrics, exist_ok=True)
        # What an earlier run left would be added to this one's counts.
        for left in glob.glob(os.path.join(glob.escape(metrics), "*.db")):
            os.unlink(left)
        environment = {
            **os.environ,
            _FOLDER: folder,
            _PARENT: str(os.getpid()),
            DIRECTORY: metrics,
        }
        workers = [_Worker(command, environment, one + 1) for one in range(count)]
        for worker in workers:
            worker.start()
        while not stop.wait(_LOOK_SECONDS):
            if any(worker.look() for worker in workers):
                _log.error("a worker could not start: ending the others")
                _end(workers)
                return 1
        _log.info("stopping: %d workers finish the requests in flight", count)
        statuses = _end(workers)
        return 0 if not any(statuses) else 1


def _end(workers: Sequence["_Worker"]) -> list[int]:
    for worker in workers:
        worker.signal(signal.SIGTERM)
    return [worker.wait() for worker in workers]


def _reserved(host: str, port: int) -> socket.socket:
    """A socket that keeps the port for this parent's workers, and takes no connection.

    Raises:
        OSError: where somebody else has the port, even one who would share it.
    """
    for shared in (False, True):
        found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            found.bind((host, port))
        except OSError as error:
            found.close()
            raise OSError(f"cannot listen on {host}:{port}; is it in use?") from error
        if not shared:
            found.close()
    return found


class _Worker:
    """One worker's place: the process in it, and when the next may be started."""

    def __init__(
        self, command: Sequence[str], environment: dict[str, str], number: int
    ) -> None:
        self._command = command
        self._environment = environment
        self._number = number
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._pause = _FIRST_PAUSE
        self._next_start = 0.0

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, env=self._environment)
        self._started = time.monotonic()
        _log.info("worker %d is process %d", self._number, self._process.pid)

    def look(self) -> bool:
        """Starts a crashed worker again; True if it cannot start at all."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._next_start:
                self.start()
            return False
        status = self._process.poll()
        if status is None:
            return False
        was_ready = self._forget(self._process.pid)
        self._process = None
        if status == 1 and not was_ready:
            return True  # it has said why: a wrong flag, a bad config
        if now - self._started > _HEALTHY_SECONDS:
            self._pause = _FIRST_PAUSE
        self._next_start = now + self._pause
        _log.error(
            "worker %d ended with status %d: started again in %.1f s",
            self._number,
            status,
            self._pause,
        )
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        return False

    def _forget(self, pid: int) -> bool:
        """Takes away what a dead process left; whether it was ready once."""
        # Its gauges would stand in the page for ever.
        process_ended(pid, self._environment[DIRECTORY])
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(self._environment[_FOLDER], str(pid)))
            return True
        return False

    def signal(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def wait(self) -> int:
        """The exit status; 0 where no process is there to end."""
        return 0 if self._process is None else self._process.wait()
