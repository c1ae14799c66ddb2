"""A model server in a process of its own, with what /proc tells of it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
_TICKS = os.sysconf("SC_CLK_TCK")
METRICS_PATH = "/monitoring/prometheus/metrics"


class ServerProcess:
    """`python -m serving.server` with flags, ready to answer.

    Attributes:
        pid: of the process; its workers are children of it.
        port: gRPC port.
        rest_port: HTTP port, None where the flags ask for none.
        start_seconds: from its start until it said that it runs.

    Args:
        flags: as on the command line; `--port=0` unless they give one.
        module: another server, which prints the same line once it runs.
        environment: variables besides this process's own.

    Raises:
        RuntimeError: where it ends, or says nothing for two minutes, with its log.
    """

    def __init__(
        self,
        *flags: str,
        module: str = "serving.server",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        if module == "serving.server" and not any(
            flag.startswith("--port=") for flag in flags
        ):
            flags = ("--port=0", *flags)
        self._log = tempfile.TemporaryFile("w+b")  # noqa: SIM115 - until `close`
        began = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", module, *flags],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", **(environment or {})},
        )
        self.pid = self._process.pid
        silent = threading.Timer(120, self._process.kill)
        silent.start()
        try:
            self.port = self._read_port(r"Running gRPC ModelServer at \S*:(\d+) \.\.\.")
            self.rest_port: int | None = None
            if any(flag.startswith("--rest_api_port=") for flag in flags):
                self.rest_port = self._read_port(
                    r"Exporting HTTP/REST API at:?\s?\S*:(\d+) \.\.\."
                )
        except BaseException:
            self.kill()
            raise
        finally:
            silent.cancel()
        self.start_seconds = time.perf_counter() - began
        # Whatever it still prints must not fill the pipe and stop it.
        self._drain = threading.Thread(target=self._read_rest, daemon=True)
        self._drain.start()

    def _read_port(self, pattern: str) -> int:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := re.match(pattern, line):
                return int(found[1])
        raise RuntimeError(
            f"the server ended with status {self._process.wait()} before it printed "
            f"{pattern!r}; its log:\n{self.log()[-4000:]}"
        )

    def _read_rest(self) -> None:
        assert self._process.stdout is not None
        for _ in self._process.stdout:
            pass

    def log(self) -> str:
        """What it wrote to stderr so far."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")

    @property
    def address(self) -> str:
        """`HOST:PORT` of gRPC."""
        return f"127.0.0.1:{self.port}"

    def processes(self) -> list[int]:
        """Its process id and those of its children."""
        found = [self.pid]
        for path in Path(f"/proc/{self.pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):  # a thread that just ended
                found += map(int, path.read_text().split())
        return found

    def cpu_seconds(self) -> float:
        """User and system time so far, workers included."""
        return sum(map(cpu_seconds, self.processes()))

    def resident_mb(self) -> float:
        """Resident memory in MiB, shared pages of workers counted once for each."""
        return sum(
            int(_status(pid, "VmRSS").split()[0]) / 1024 for pid in self.processes()
        )

    def threads(self) -> int:
        """Threads of the process."""
        return int(_status(self.pid, "Threads"))

    def open_files(self) -> int:
        """File descriptors of the process."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def metrics(self) -> dict[str, float]:
        """Sample (name and labels, as printed) -> value; empty without a page."""
        if self.rest_port is None:
            return {}
        url = f"http://127.0.0.1:{self.rest_port}{METRICS_PATH}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                page = answer.read().decode()
        except urllib.error.HTTPError:
            return {}
        lines = (line for line in page.splitlines() if line and line[0] != "#")
        samples = (line.rsplit(" ", 1) for line in lines)
        return {name: float(value) for name, value in samples}

    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def terminate(self) -> int:
        """SIGTERM, and its exit status once in-flight requests are done."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(120)

    def kill(self) -> None:
        """SIGKILL: what a crash or a lost machine looks like."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Ends it, if it still runs, and forgets its log."""
        if self.alive():
            try:
                self.terminate()
            except subprocess.TimeoutExpired:
                self.kill()
        self._drain.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._log.close()

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def free_ports(count: int) -> list[int]:
    """Different ports that nobody listens on; the server's REST flag takes 0 for `off`."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def free_port() -> int:
    """One of `free_ports`."""
    return free_ports(1)[0]


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all of its threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _status(pid: int, key: str) -> str:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return line.partition(":")[2].strip()
    raise KeyError(f"/proc/{pid}/status has no {key}")
