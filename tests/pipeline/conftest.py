"""The one small trained pipeline of the suite, run as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.demo import config_path
from pipeline.demo_data import write_demo_data

if TYPE_CHECKING:
    from tests.pipeline.monitored import Watching

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("training.epochs=4", "evaluation.thresholds.0.minimum=0.15")
"""Overrides of the demo's config: enough to be better than chance, in a minute."""


def command(*words: str) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", "pipeline.cli", *words]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}


def polymodal(*words: str, status: int = 0) -> str:
    """Runs the command; its output, after its exit status was checked."""
    done = subprocess.run(
        command(*words),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == status, done.stdout[-6000:]
    return done.stdout


def overriding(*overrides: str) -> list[str]:
    return [word for one in overrides for word in ("--set", one)]


@dataclass(frozen=True)
class Project:
    """A manifest and the directory of its runs."""

    manifest: str
    output: Path

    def words(self, *overrides: str) -> list[str]:
        return [
            "run", str(config_path()), "--data", self.manifest, "--output",
            str(self.output), *overriding(*SMALL, *overrides),
        ]  # fmt: skip

    def run(self, *overrides: str) -> str:
        return polymodal(*self.words(*overrides))

    def summary(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.output / "summary.json").read_text())
        return loaded

    def versions(self) -> list[Path]:
        return sorted((self.output / "serving" / "demo").glob("[0-9]*"))


@dataclass(frozen=True)
class Finished:
    """A project after its first run, and what that run said."""

    project: Project
    summary: dict[str, Any]
    printed: str


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The demo's pipeline on 300 rows, trained for four epochs, pushed."""
    folder = tmp_path_factory.mktemp("project")
    manifest = write_demo_data(folder / "data", examples=300, seed=1)
    project = Project(str(manifest), folder / "run")
    printed = project.run()
    return Finished(project, project.summary(), printed)


@pytest.fixture(scope="session")
def watching(tmp_path_factory: pytest.TempPathFactory) -> Watching:
    """A small model with a baseline; whoever changes its files takes a copy."""
    from tests.pipeline.monitored import save_watched

    return save_watched(tmp_path_factory.mktemp("watched"))
