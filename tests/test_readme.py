"""Runs what README.md shows: shell, Python, YAML and JSON, and holds README.zh-CN.md to it.

A comment above a block says what it needs. `<!-- test: server -->` runs on in the
background: it is started, what it serves is looked at, and it is stopped at the end.
`<!-- test: installation -->`, `<!-- test: environment -->` and `<!-- test: pipeline -->` take
minutes: the slow tests type them in a clone with an environment of its own, the fast ones
put this environment and a stand-in model in their place (tests/test_doctor.py looks at what
`polymodal doctor` does). `<!-- test: skip because ... -->` is not run, for that reason.
All other blocks run as they are, in their order, in one empty folder.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.readme_blocks import FENCE, Block, blocks
from tests.readme_model import save_curve, save_stand_in
from tests.readme_reader import Reader
from trainer.config import from_mapping, load

ROOT = Path(__file__).resolve().parent.parent
README, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
# What a block of part of a config stands in.
_REST: dict[str, Any] = {
    "name": "readme",
    "inputs": [{"name": "words", "modality": "text"}],
    "heads": [{"name": "label", "kind": "classification", "classes": ["a", "b"]}],
}


BLOCKS = blocks(README)


def of_kind(kind: str) -> list[Block]:
    return [block for block in BLOCKS if block.kind == kind]


def test_every_block_is_found() -> None:
    assert len(BLOCKS) == README.read_text(encoding="utf-8").count("\n```") / 2
    assert {block.kind for block in BLOCKS} == {"bash", "python", "yaml", "json"}


def test_what_is_not_run_says_why() -> None:
    needs = [block.need for block in BLOCKS if block.need]
    assert all(
        need in ("installation", "environment", "pipeline", "server")
        or re.fullmatch("skip because .{10,}", need)
        for need in needs
    )
    assert sum(need.startswith("skip") for need in needs) == 2


def test_both_languages_show_the_same_blocks() -> None:
    chinese = [(b.kind, b.need, b.text) for b in blocks(CHINESE)]
    assert chinese == [(b.kind, b.need, b.text) for b in BLOCKS]


def test_both_languages_have_the_same_sections_and_tables() -> None:
    def shape(path: Path) -> list[str]:
        bare = FENCE.sub("", path.read_text(encoding="utf-8"))
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


def read_through(reader: Reader, stand_in: Callable[[str], None] | None) -> list[str]:
    """All blocks in their order; what the Python ones printed.

    Args:
        reader: who types them.
        stand_in: called with the need of a block that is not run; None runs all.
    """
    printed = []
    with contextlib.ExitStack() as running:
        for block in BLOCKS:
            if block.need.startswith("skip") or block.kind not in ("bash", "python"):
                continue
            if block.need == "server":
                running.enter_context(reader.serving(block))
            elif block.need and stand_in is not None:
                stand_in(block.need)
            elif block.kind == "python":
                printed.append(reader.executes(block))
            else:
                reader.types(block)
    assert reader.looked_at == ["tensorboard", "serve", "playground"]
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

    def stand_in(need: str) -> None:
        version = tmp_path / "build/digits/serving/digits/1"
        if need == "installation":
            save_curve(tmp_path / "build/demo/logs")
        elif need == "pipeline" and not version.exists():
            save_stand_in(load(tmp_path / "digits.yaml"), version)

    check_results(tmp_path, read_through(reader, stand_in))


@pytest.mark.slow
@pytest.mark.e2e
def test_every_block_runs(tmp_path: Path) -> None:
    """In a clone of the last commit, with nothing of this environment."""
    reader = Reader(tmp_path)
    report = check_results(tmp_path / "polymodal", read_through(reader, None))
    (shown,) = of_kind("json")
    build = tmp_path / "polymodal/build/digits"
    summary = json.loads((build / "summary.json").read_text())
    assert set(json.loads(shown.text)) == set(summary)
    assert set(json.loads(shown.text)["metrics"]) == set(summary["metrics"])
    # The last block trained anew; the first run's figures stand in its report.
    (first, _) = sorted((build / "reports").glob("judged-*.json"), key=os.path.getmtime)
    judged = json.loads(first.read_text())
    assert report["metrics"] == pytest.approx(judged["metrics"], abs=1e-4)
    assert list((build / "logs").rglob("events.out.tfevents.*"))
