"""docs/deployment.md: its code runs, its keys exist, its service config is the client's."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from pipeline.cli import main
from serving import client
from tests.pipeline.deployments import config, pushed
from trainer.config import ServingConfig, to_yaml

PAGE = Path(__file__).resolve().parents[2] / "docs/deployment.md"
TEXT = PAGE.read_text(encoding="utf-8")


def block(kind: str) -> str:
    """The page's one block of a language, without its indent."""
    (found,) = re.findall(
        rf"^( *)```{kind}\n(.*?)^ *```$", TEXT, re.MULTILINE | re.DOTALL
    )
    return re.sub(rf"^{found[0]}", "", found[1], flags=re.MULTILINE)


def test_the_command_writes_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("digits.yaml").write_text(to_yaml(config()), encoding="utf-8")
    pushed(Path("build/digits/serving/digits"))
    program, *words = block("bash").split()
    assert program == "polymodal"
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert Path("deploy/NEXT_STEPS.md").is_file()


def test_the_service_config_is_the_clients() -> None:
    (ours,) = (v for k, v in client._OPTIONS if k == "grpc.service_config")
    assert json.loads(block("json")) == json.loads(str(ours))


def test_the_worked_example_comes_to_what_it_says() -> None:
    code = block("python")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, str(PAGE), "exec"), {})
    (said,) = re.findall(r"# (\d+)$", code, re.MULTILINE)
    assert printed.getvalue().strip() == said == "5"


def test_the_canary_is_a_config() -> None:
    found = config(**yaml.safe_load(block("yaml"))["serving"]).serving.versions
    assert found.labels == {"stable": 1700000000, "canary": 1700000001}


def test_keys_that_are_named_exist() -> None:
    sections = {f.name for f in dataclasses.fields(ServingConfig)}
    named = re.findall(r"`(?:serving\.)?([a-z_]+)\.([a-z_]+)`", TEXT)
    # `batching.config` is a file.
    keys = {(s, key) for s, key in named if s in sections and key != "config"}
    assert len(keys) > 10
    serving = config().serving
    assert [k for k in keys if not hasattr(getattr(serving, k[0]), k[1])] == []
    defaults = re.findall(r"`([a-z_]+)`\s\((\d+)\)", TEXT)
    assert {name for name, _ in defaults} == {
        "drain_seconds", "max_connection_age_seconds", "request_timeout_seconds",
    }  # fmt: skip
    assert all(getattr(serving, name) == int(number) for name, number in defaults)
