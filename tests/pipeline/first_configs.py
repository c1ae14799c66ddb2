"""Small manifests for `init`, and the config that it writes for them."""

from pathlib import Path
from typing import Any

import yaml

from pipeline.init_config import infer
from tests.pipeline.samples import write_csv
from trainer.config import Config, from_mapping

WORDS = ("red", "green", "blue", "small", "large", "old", "new")


def note(i: int) -> str:
    return " ".join(WORDS[(i * k + k) % 7] for k in range(1, 6)) + f" of {i % 13}"


def label(i: int) -> str:
    """One of two classes, by no rule that a column follows."""
    return "ab"[(i * 2654435761 >> 8) % 2]


def table(rows: int = 60, /, **columns: Any) -> list[dict[str, Any]]:
    """Rows of a note, what is given, and a label of two classes."""
    return [
        {"note": note(i), **{k: v(i) for k, v in columns.items()}, "label": label(i)}
        for i in range(rows)
    ]


def inferred(
    folder: Path, rows: list[dict[str, Any]], **given: str
) -> tuple[Config, str]:
    text = infer(write_csv(folder / "m.csv", rows), **given)
    return from_mapping(yaml.safe_load(text)), text


def left_out(text: str) -> dict[str, str]:
    lines = text.partition("# Left out:\n")[2].splitlines()
    return dict(line.removeprefix("#   ").split(": ", 1) for line in lines)
