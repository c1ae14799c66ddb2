"""Configs and rows for `polymodal check`, and the command itself."""

from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner

from pipeline.cli import main

NOTES = ("red cat", "green dog", "blue fish", "old house", "new tree", "small bird")


def rows(count: int = 60, **changes: Any) -> list[dict[str, Any]]:
    return [
        {"id": i, "text": NOTES[i * 5 % 6], "label": "ab"[i * 7 % 2], **changes}
        for i in range(count)
    ]


def written(folder: Path, **changes: Any) -> str:
    path = folder / "config.yaml"
    mapping = {
        "name": "m",
        "data": {"id": "id"},
        "inputs": [{"name": "text", "modality": "text"}],
        "heads": [{"name": "label", "kind": "classification", "classes": ["a", "b"]}],
        **changes,
    }
    path.write_text(yaml.safe_dump(mapping), encoding="utf-8")
    return str(path)


def asked(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["check", *arguments])
    return done.exit_code, done.output
