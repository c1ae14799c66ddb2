"""Runs what README.md shows: shell, Python, YAML and JSON, and holds README.zh-CN.md to it.

A comment above a block says what it needs: `<!-- test: pipeline -->` a real pipeline run
(in the slow tests; the fast ones put a stand-in model in its place), `<!-- test: server -->`
runs on in the background, `<!-- test: skip because ... -->` is not run, for that reason.
All other blocks run as they are, in their order, in one empty folder.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.readme_model import save_stand_in
from trainer.config import from_mapping, load

ROOT = Path(__file__).resolve().parent.parent
README, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
_FENCE = re.compile(
    r"(?:^<!-- test: (?P<need>[^\n]*?) -->\n)?^```(?P<kind>[a-z]+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
# What a block of part of a config stands in.
_REST: dict[str, Any] = {
    "name": "readme",
    "inputs": [{"name": "words", "modality": "text"}],
    "heads": [{"name": "label", "kind": "classification", "classes": ["a", "b"]}],
}


@dataclass(frozen=True)
class Block:
    """One fenced block, and what its comment says that it needs."""

    kind: str
    need: str
    text: str
    line: int

    def __str__(self) -> str:
        return f"{self.kind}-line-{self.line}"


def blocks(path: Path) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n```") % 2 == 0
    return [
        Block(
            found["kind"],
            found["need"] or "",
            found["text"],
            text[: found.start("kind")].count("\n") + 1,
        )
        for found in _FENCE.finditer(text)
    ]


BLOCKS = blocks(README)


def of_kind(kind: str) -> list[Block]:
    return [block for block in BLOCKS if block.kind == kind]


def test_every_block_is_found() -> None:
    assert len(BLOCKS) == README.read_text(encoding="utf-8").count("\n```") / 2
    assert {block.kind for block in BLOCKS} == {"bash", "python", "yaml", "json"}


def test_what_is_not_run_says_why() -> None:
    needs = [block.need for block in BLOCKS if block.need]
    assert all(
        need in ("pipeline", "server") or re.fullmatch("skip because .{10,}", need)
        for need in needs
    )
    assert sum(need.startswith("skip") for need in needs) <= 4


def test_both_languages_show_the_same_blocks() -> None:
    chinese = [(b.kind, b.need, b.text) for b in blocks(CHINESE)]
    assert chinese == [(b.kind, b.need, b.text) for b in BLOCKS]


def test_both_languages_have_the_same_sections_and_tables() -> None:
    def shape(path: Path) -> list[str]:
        bare = _FENCE.sub("", path.read_text(encoding="utf-8"))
        starts = ("#", "|", "- ", "1.", "2.", "3.", "4.")
        lines = [line for line in bare.splitlines() if line.startswith(starts)]
        return [re.match(r"#+|\||- |\d\.", line)[0] for line in lines]  # type: ignore[index]

    assert shape(CHINESE) == shape(README)


@pytest.mark.parametrize("path", [README, CHINESE], ids=lambda p: p.name)
def test_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert local
    assert [t for t in local if not (ROOT / t).exists()] == []


@pytest.mark.parametrize("block", of_kind("yaml"), ids=str)
def test_yaml_is_a_config(block: Block) -> None:
    config = from_mapping({**_REST, **yaml.safe_load(block.text)}, str(block))
    assert config.inputs


# -- the commands, in their order ------------------------------------------------------


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


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


class Reader:
    """Somebody who types what the README says, in a folder of their own.

    The folder is the working directory, `polymodal` runs that command's words.
    """

    def __init__(self, folder: Path, polymodal: Callable[[list[str]], None]) -> None:
        self.folder, self._polymodal = folder, polymodal
        self.grpc, self.rest, self.page = _free_ports(3)
        tools = folder / ".bin"
        tools.mkdir(parents=True)
        command = f'#!/bin/sh\nexec {sys.executable} -W ignore -m pipeline.cli "$@"\n'
        (tools / "polymodal").write_text(command)
        (tools / "polymodal").chmod(0o755)
        self.environment = {
            **os.environ,
            "PATH": f"{tools}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }

    def ported(self, text: str) -> str:
        """The text with ports that are free here."""
        for known, free in (
            ("8500", self.grpc), ("8501", self.rest), ("7860", self.page)
        ):  # fmt: skip
            text = text.replace(known, str(free))
        return text

    def types(self, block: Block) -> None:
        """Runs a shell block, command by command; each must succeed."""
        for line in commands(self.ported(block.text)):
            words = shlex.split(line)
            if words[0] == "polymodal":
                self._polymodal(words[1:])
            else:
                self.bash(line)

    def bash(self, line: str) -> None:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout[-4000:]}"

    @contextlib.contextmanager
    def serving(self, block: Block) -> Iterator[None]:
        """Runs a block until it says that it answers, and stops it at the end."""
        words = shlex.split(self.ported(block.text))
        with subprocess.Popen(
            words,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            try:
                printed = ""
                answers = re.compile(rf" at (0\.0\.0\.0:{self.rest}|http://)")
                while not answers.search(printed):
                    line = process.stdout.readline()
                    assert line, f"{words} ended:\n{printed}"
                    printed += line
                yield
            finally:
                process.terminate()
                process.communicate(timeout=60)

    def executes(self, block: Block) -> str:
        """Runs a Python block; what it printed."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(self.ported(block.text), str(block), "exec"), {})
        return printed.getvalue()


def read_through(reader: Reader, stand_in: Callable[[], None] | None) -> list[str]:
    """All blocks in their order; what the Python ones printed."""
    printed = []
    with contextlib.ExitStack() as running:
        for block in BLOCKS:
            if block.need.startswith("skip") or block.kind not in ("bash", "python"):
                continue
            if block.need == "pipeline" and stand_in is not None:
                stand_in()
            elif block.need == "server":
                running.enter_context(reader.serving(block))
            elif block.kind == "python":
                printed.append(reader.executes(block))
            else:
                reader.types(block)
    return printed


def check_results(folder: Path, printed: list[str]) -> dict[str, Any]:
    """Looks at what the commands were to leave behind; gives evaluate's report."""
    with (folder / "digits/manifest.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for name in ("answers.jsonl", "served.jsonl"):
        lines = [json.loads(x) for x in (folder / name).read_text().splitlines()]
        assert len(lines) == len(rows)
        assert all(line["label"] in "0123456789" for line in lines)
        if name == "answers.jsonl":  # A server alone does not know the id column.
            assert [line["id"] for line in lines] == [row["id"] for row in rows]
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    assert report["examples"] == sum(row["split"] == "eval" for row in rows)
    by_client, without_server = printed
    assert re.fullmatch(r"(\d \{.*\} (True|False) \d+\n){2}", by_client)
    assert re.fullmatch(r"\d\n", without_server)
    return report


def test_every_block_runs_with_a_stand_in_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from pipeline.cli import main

    def polymodal(words: list[str]) -> None:
        # In this process: imports cost ten seconds in each process of its own.
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, f"{words}\n{done.output[-4000:]}\n{done.exception}"

    monkeypatch.chdir(tmp_path)
    reader = Reader(tmp_path, polymodal)

    def stand_in() -> None:
        version = tmp_path / "build/digits/serving/digits/1"
        if not version.exists():
            save_stand_in(load(tmp_path / "digits.yaml"), version)

    check_results(tmp_path, read_through(reader, stand_in))


@pytest.mark.slow
@pytest.mark.e2e
def test_every_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    reader = Reader(
        tmp_path, lambda words: reader.bash(f"polymodal {shlex.join(words)}")
    )
    report = check_results(tmp_path, read_through(reader, None))
    (shown,) = of_kind("json")
    summary = json.loads((tmp_path / "build/digits/summary.json").read_text())
    assert set(json.loads(shown.text)) == set(summary)
    assert set(json.loads(shown.text)["metrics"]) == set(summary["metrics"])
    # The last block trained anew; the first run's figures stand in its report.
    (first, _) = sorted(
        (tmp_path / "build/digits/reports").glob("judged-*.json"), key=os.path.getmtime
    )
    judged = json.loads(first.read_text())
    assert report["metrics"] == pytest.approx(judged["metrics"], abs=1e-4)
    assert list((tmp_path / "build/digits/logs").rglob("events.out.tfevents.*"))
