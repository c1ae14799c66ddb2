"""Somebody who types what the README says, in a folder of their own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.server_process import free_ports
from tests.readme_blocks import Block

ROOT = Path(__file__).resolve().parent.parent
_START_SECONDS = 180.0


class Reader:
    """Types blocks; folder and environment are carried on from line to line.

    Args:
        folder: the working directory at the start.
        polymodal: runs that command's words in this process, with this environment.
            Without it everything is typed: a clone brings an environment of its own.
    """

    def __init__(
        self, folder: Path, polymodal: Callable[[list[str]], None] | None = None
    ) -> None:
        self.folder, self._polymodal = folder, polymodal
        self.grpc, self.rest, self.page = free_ports(3)
        self.notes = folder / ".notes"
        self.notes.mkdir()
        self.environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        self.looked_at: list[str] = []
        if polymodal is None:
            for name in ("VIRTUAL_ENV", "PYTHONPATH", "POLYMODAL_LOCK"):
                self.environment.pop(name, None)
        else:
            tool = self.notes / "polymodal"
            tool.write_text(
                f'#!/bin/sh\nexec {sys.executable} -W ignore -m pipeline.cli "$@"\n'
            )
            tool.chmod(0o755)
            own = Path(sys.executable).parent
            self.environment["PATH"] = f"{self.notes}:{own}:{os.environ['PATH']}"
            self.environment["PYTHONPATH"] = str(ROOT)

    def ported(self, text: str) -> str:
        """The text with ports that are free here, and where this repository lies."""
        for known, here in (
            ("8500", self.grpc), ("8501", self.rest), ("7860", self.page),
            ("clone REPOSITORY", f"clone --quiet {shlex.quote(str(ROOT))}"),
        ):  # fmt: skip
            text = text.replace(known, str(here))
        return text

    def types(self, block: Block) -> None:
        """Runs a shell block, command by command; each must succeed."""
        for line in commands(self.ported(block.text)):
            words = shlex.split(line)
            if words[0] == "polymodal" and self._polymodal is not None:
                self._polymodal(words[1:])
            else:
                self._bash(line)

    def _bash(self, line: str) -> str:
        place, variables = self.notes / "place", self.notes / "variables"
        kept = f'{line}\npwd -P >"{place}"; env -0 >"{variables}"'
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", kept],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout[-4000:]}"
        self.folder = Path(place.read_text().rstrip("\n"))
        pairs = variables.read_text().rstrip("\0").split("\0")
        self.environment = dict(pair.split("=", 1) for pair in pairs)
        return done.stdout

    @contextlib.contextmanager
    def serving(self, block: Block) -> Iterator[None]:
        """Runs a block until it serves, looks at that, and stops it at the end."""
        words = shlex.split(self.ported(block.text))
        printed = self.notes / f"{block}.txt"
        with (
            printed.open("wb") as out,
            subprocess.Popen(
                ["bash", "-c", f"exec {shlex.join(words)}"],
                cwd=self.folder,
                env=self.environment,
                stdout=out,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            try:
                self._look(words, self._address(process, printed))
                yield
            finally:
                process.terminate()
                process.wait(timeout=60)

    def _address(self, process: subprocess.Popen[bytes], printed: Path) -> str:
        answers = re.compile(rf" at (?:0\.0\.0\.0:{self.rest}|(http://[^/\s]+))")
        deadline = time.monotonic() + _START_SECONDS
        while not (found := answers.search(printed.read_text(errors="replace"))):
            assert process.poll() is None, f"it ended:\n{printed.read_text()}"
            assert time.monotonic() < deadline, f"no answer:\n{printed.read_text()}"
            time.sleep(0.1)
        return found[1] or f"http://localhost:{self.rest}"

    def _look(self, words: list[str], address: str) -> None:
        """What a person would see there."""
        if words[0] == "tensorboard":
            deadline = time.monotonic() + _START_SECONDS
            # It reads the event files after it has begun to answer.
            while not (runs := json.loads(_get(f"{address}/data/runs"))):
                assert time.monotonic() < deadline, "TensorBoard shows no run"
                time.sleep(0.2)
            tags = json.loads(_get(f"{address}/data/plugin/scalars/tags"))
            assert set(tags) <= set(runs)
            assert "epoch_loss" in {tag for run in tags.values() for tag in run}
            assert "<title>TensorBoard</title>" in _get(address)
            self.looked_at.append("tensorboard")
        elif words[:2] == ["polymodal", "serve"]:
            signatures = json.loads(_get(f"{address}/v1/models/digits/metadata"))
            assert "serving_raw" in json.dumps(signatures)
            self.looked_at.append("serve")
        elif words[:2] == ["polymodal", "playground"]:
            assert "gradio" in _get(address)
            self.looked_at.append("playground")
        else:
            raise AssertionError(f"nobody looks at what {words} serves")

    def executes(self, block: Block) -> str:
        """Runs a Python block; what it printed."""
        text = self.ported(block.text)
        if self._polymodal is None:
            script = self.notes / f"{block}.py"
            script.write_text(text)
            return self._bash(f"python {shlex.quote(str(script))} 2>/dev/null")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(text, str(block), "exec"), {})
        return printed.getvalue()


def commands(text: str) -> Iterator[str]:
    """The commands of a shell block: a line each, or several within quotes."""
    waiting = ""
    for line in text.replace("\\\n", " ").splitlines():
        waiting += line
        try:
            shlex.split(waiting)
        except ValueError:  # a quotation goes on in the next line
            waiting += "\n"
            continue
        yield waiting
        waiting = ""
    assert not waiting


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return str(answer.read().decode())
