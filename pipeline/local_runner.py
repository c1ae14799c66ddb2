"""Runs the pipeline in this process, with progress for a person."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

_NODE = re.compile(r"Component (\S+) is (running|finished)\.")
_OWN = ("polymodal", "pipeline", "trainer", "serving")


class _Narrator(logging.Handler):
    """Turns the runner's and our own log lines into lines on the console."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self.console = console
        self.seconds: dict[str, float] = {}
        self.running = ""
        self._started = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        found = _NODE.match(text)
        if found and found[2] == "running":
            self.running, self._started = found[1], time.monotonic()
            self.console.print(f"[bold]{self.running}[/]", highlight=False)
        elif found:
            spent = time.monotonic() - self._started
            self.seconds[found[1]] = round(spent, 1)
            self.console.print(f"  done in {spent:.1f} s", highlight=False)
        elif record.name.split(".")[0] in _OWN:
            self.console.print(
                f"  {text}", highlight=False, markup=False, soft_wrap=True
            )
        elif record.levelno >= logging.ERROR:
            self.console.print(f"  {record.name}: {text}", markup=False)


@contextmanager
def _narrating(narrator: _Narrator) -> Iterator[None]:
    """Only our lines reach the console; the libraries' own logs stay silent."""
    from absl import logging as absl_logging

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    verbosity = absl_logging.get_verbosity()
    root.handlers[:] = [narrator]
    absl_logging.use_python_logging()
    absl_logging.set_verbosity(absl_logging.INFO)
    root.setLevel(logging.INFO)
    tensorflow = logging.getLogger("tensorflow")
    tensorflow.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        absl_logging.set_verbosity(verbosity)


def run_pipeline(pipeline: Any, console: Console) -> dict[str, float]:
    """Runs to the end; returns the seconds that each component took.

    Raises:
        Whatever a component raises, as TFX passes it on.
    """
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner

    narrator = _Narrator(console)
    with _narrating(narrator):
        LocalDagRunner().run(pipeline)
    return narrator.seconds
