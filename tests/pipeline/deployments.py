"""Rendered deployments for the tests of `polymodal deploy`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import yaml

from pipeline.deploy.plan import Models, Plan, Server
from pipeline.deploy.write import TARGETS, render
from trainer.config import Config, from_mapping

Objects = dict[tuple[str, str], dict[str, Any]]


def config(**serving: Any) -> Config:
    """A config with this `serving:` section."""
    return from_mapping(
        {
            "name": "Emoji_1",
            "inputs": [{"name": "words", "modality": "text"}],
            "heads": [
                {"name": "label", "kind": "classification", "classes": ["a", "b"]}
            ],
            "serving": serving,
        }
    )


def pushed(folder: Path, *versions: str) -> Path:
    """A folder of version folders, empty but for what tells them."""
    for version in versions or ("7",):
        (folder / version).mkdir(parents=True)
        (folder / version / "saved_model.pb").touch()
    return folder


def plan(
    models: str | Path, server: str = "tensorflow", gpu: bool = False, **serving: Any
) -> Plan:
    """A deployment of a model named Emoji_1."""
    place = Models(str(models))
    return Plan(config(**serving), place, cast(Server, server), gpu)


def targets(models: str | Path) -> tuple[str, ...]:
    """All that can serve models from there."""
    return TARGETS[1:] if str(models).startswith("pvc://") else TARGETS


def rendered(
    models: str | Path,
    server: str = "tensorflow",
    gpu: bool = False,
    output: Path = Path("deploy"),
    **serving: Any,
) -> dict[str, str]:
    """Path -> text of every file for every target."""
    return render(plan(models, server, gpu, **serving), targets(models), output)


def objects(files: dict[str, str], folder: str) -> Objects:
    """(kind, name) -> every Kubernetes object in the folder's files."""
    found: Objects = {}
    for path, text in sorted(files.items()):
        if not path.startswith(f"{folder}/") or not path.endswith(".yaml"):
            continue
        if path.startswith("monitoring/adapter/"):  # Helm's
            continue
        # The C loader: Python's takes most of these tests' time.
        for body in yaml.load_all(text, Loader=yaml.CSafeLoader):
            key = body["kind"], body.get("metadata", {}).get("name", "")
            assert key not in found, f"{key} stands in two files"
            found[key] = body
    return found


def only(found: Objects, kind: str) -> dict[str, Any]:
    """The one object of a kind."""
    (body,) = (body for (k, _), body in found.items() if k == kind)
    return body


def flags(arguments: list[str]) -> dict[str, str]:
    """Flag -> value; a flag given twice fails."""
    pairs = [argument.removeprefix("--").split("=", 1) for argument in arguments]
    assert all(argument.startswith("--") for argument in arguments)
    assert len({name for name, _ in pairs}) == len(pairs)
    return {pair[0]: pair[1] for pair in pairs}
