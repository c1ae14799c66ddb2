"""Manifests for `benchmarks.learning`: few labels, and a set to choose settings on.

Media are named by absolute paths, so that a manifest may lie anywhere.
"""

from __future__ import annotations

import csv
import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]

LABELLED = 100
DEV_SHARE = 0.15


def read(path: Path) -> Rows:
    """The rows of a CSV or JSON-lines manifest."""
    with path.open(encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            return list(csv.DictReader(file))
        return [json.loads(line) for line in file]


def write(rows: Rows, path: Path) -> str:
    """Writes a manifest of the kind that its name says; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        else:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return str(path)


def absolute(rows: Rows, folder: Path, columns: Sequence[str]) -> Rows:
    """The same rows with the media of these columns named from the root."""
    return [
        {**row, **{name: str((folder / row[name]).absolute()) for name in columns}}
        for row in rows
    ]


def dev(rows: Rows, group: Callable[[dict[str, Any]], str]) -> Rows:
    """Without `val`: a share of the groups of `train` judges in its place.

    The share is cut off by a hash of the group, so that it is always the same.
    """
    out = []
    for row in rows:
        if row["split"] != "train":
            continue
        digest = hashlib.sha256(group(row).encode()).digest()
        held = int.from_bytes(digest[:4], "big") / 2**32 < DEV_SHARE
        out.append({**row, "split": "val" if held else "train"})
    return out


def blanked(
    rows: Rows, label: str, seeds: Sequence[int], count: int = LABELLED
) -> Rows:
    """With one more column a seed, `LABEL_COUNT_SEED`, in which few labels are left.

    Of the train split `count` rows keep their label there, as many of each class,
    drawn by the seed; rows of other splits keep theirs.
    """
    by_class: dict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        if row["split"] == "train":
            by_class[row[label]].append(i)
    out = [dict(row) for row in rows]
    for seed in seeds:
        draw = random.Random(seed)
        kept: set[int] = set()
        for name in sorted(by_class):
            kept |= set(draw.sample(by_class[name], count // len(by_class)))
        for i, row in enumerate(out):
            shown = row["split"] != "train" or i in kept
            row[f"{label}_{count}_{seed}"] = row[label] if shown else ""
    return out
