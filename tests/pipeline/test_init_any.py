"""`init` on tables of any columns: a config that reads back, or one sentence."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.init_config import infer
from pipeline.manifest import Manifest, ManifestError, needed_columns
from tests.pipeline.samples import write_csv, write_jsonl
from trainer.config import from_mapping

# What is something else to YAML than a text, or ends a comment.
ODD = (
    "null", "~", "- x", "[1", "{a: b}", "'", '"', "%x", "@y", "*z", "&a", "!t", "|", ">",
    "1e3", "yes", "a: b", "a #b", "a\nb: c", "c\u2028d", "#f", "你好，世界", "\U0001f600",
)  # fmt: skip
CELLS: dict[str, Callable[[random.Random, int], Any]] = {
    "counted": lambda r, i: i,
    "measured": lambda r, i: r.random() * 9,
    "category": lambda r, i: r.choice("abc"),
    "odd": lambda r, i: r.choice(ODD),
    "text": lambda r, i: " ".join(r.choice(("red", "green", "blue")) for _ in range(5)),
    "list": lambda r, i: json.dumps(r.sample("abc", r.randrange(3))),
    "joined": lambda r, i: "|".join(r.sample("abcd", r.randrange(1, 4))),
    "long": lambda r, i: "y" * r.randrange(1, 3000),
    "group": lambda r, i: f"p{i // 4}",
    "split": lambda r, i: ("train", "test", "val")[i % 3],
    "date": lambda r, i: f"2023-01-{r.randrange(1, 29):02d}",
    "padded": lambda r, i: f"0{r.randrange(99)}",
    "money": lambda r, i: f"${r.randrange(999)}.00",
    "infinite": lambda r, i: r.choice(("inf", "-inf", "nan", "1", "2")),
    "large": lambda r, i: str(10 ** r.randrange(300)),
    "empty": lambda r, i: "",
}
NAMES = (
    "id", "label", "class", "target", "y", "a: b", "#", "odd\nname", "'q'", '"dq"', "null",
    "true", "1", "你好", "split", "fold", "is_train", "PatientID", "price", "date", "医院",
    "path", "a,b", "[x]", "{y}", "*", "&", "-", "a_present", "table", "Unnamed: 0",
    "embedding", "long" * 30, "seed", "score", "sex",
)  # fmt: skip


@pytest.mark.parametrize("seed", range(60))
def test_every_column_of_any_table_has_a_role_or_a_reason(
    tmp_path: Path, seed: int
) -> None:
    draw = random.Random(seed)
    columns = {name: draw.choice(list(CELLS)) for name in draw.sample(NAMES, 6)}
    rows = [
        {name: CELLS[kind](draw, i) if draw.random() > 0.05 else ""
         for name, kind in columns.items()} for i in range(draw.choice((1, 5, 40, 90)))
    ]  # fmt: skip
    if draw.random() < 0.5:
        path = write_csv(tmp_path / "m.csv", rows)
    else:
        path = write_jsonl(tmp_path / "m.jsonl", rows)
    label = draw.choice([None, *columns])
    try:
        text = infer(path, label=label)
    except ManifestError:
        return  # one sentence; anything else fails the test
    used = {column for _, column in needed_columns(from_mapping(yaml.safe_load(text)))}
    assert used <= set(Manifest(path).columns or columns)
    for name in set(columns) - used:
        assert f"#   {' '.join(name.split())}: " in text
