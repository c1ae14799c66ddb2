"""Tries Parquet row groups in another process first: damage can kill what decodes it.

Arrow's decoders check most of what they read, not all: one changed byte in a page can
end the process. The probe reads the same columns of the same row group before they are
read here; what kills it, or keeps it busy beyond a deadline, is never read here.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import selectors
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence

# Reads requests, one JSON list a line, and answers each with a line.
_PROGRAM = """
import json, sys
import pyarrow.parquet
source = pyarrow.parquet.ParquetFile(sys.argv[1], buffer_size=1048576)
for line in sys.stdin:
    group, rows, columns = json.loads(line)
    try:
        for batch in source.iter_batches(
            rows, row_groups=[group], columns=columns, use_threads=False
        ):
            batch.validate(full=True)
    except Exception:
        pass  # It is met again, and told, where the rows are read.
    print("read", flush=True)
"""
_SECONDS = 60.0
_BYTES_PER_SECOND = 5e6


@functools.lru_cache(maxsize=8)
def probe_of(path: str, stamp: bytes) -> Probe:
    """The probe of a file, shared by all that read it; `stamp` tells its content."""
    del stamp
    return Probe(path)


class Probe:
    """A process that reads row groups of one local file."""

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._known: dict[tuple[int, tuple[str, ...]], str] = {}

    def harm(self, group: int, rows: int, columns: Sequence[str], size: int) -> str:
        """What a row group does to a process that reads it; empty = nothing.

        Args:
          rows: In a batch.
          columns: That are read.
          size: Bytes of them, by which the deadline is set.
        """
        key = (group, tuple(columns))
        with self._lock:
            if key not in self._known:
                request = json.dumps([group, rows, list(columns)]) + "\n"
                self._known[key] = self._ask(request, size)
            return self._known[key]

    def _ask(self, request: str, size: int) -> str:
        process = self._process
        if process is None or process.poll() is not None:
            process = self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", _PROGRAM, self._path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            weakref.finalize(self, _end, process)
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(OSError):  # It has ended: its answer is empty.
            process.stdin.write(request.encode())
            process.stdin.flush()
        seconds = _SECONDS + size / _BYTES_PER_SECOND
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if not selector.select(seconds):
                _end(process)
                return f"it is not read within {seconds:.0f} s"
        if os.read(process.stdout.fileno(), 100):
            return ""
        _end(process)
        return "it ends the process that reads it"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):  # What was not sent any more.
                pipe.close()
