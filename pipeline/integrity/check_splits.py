"""Whether what judges has been learned from: media and groups in two splits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipeline.integrity.duplicates import shared
from pipeline.integrity.rows import Seen
from pipeline.scan import Scan
from trainer.config import Config
from trainer.features import features


def duplicates(config: Config, seen: Seen, scanned: Scan) -> Iterator[tuple[bool, str]]:
    """Media of one split that are, or look like, media of another."""
    splits = list(dict.fromkeys(seen.splits))
    at = {name: np.array([s == name for s in seen.splits]) for name in splits}
    order = [config.data.split.train, config.data.split.selection]
    splits.sort(key=lambda name: order.index(name) if name in order else 2)
    pictures = {f.key for f in features(config) if f.kind == "image"}
    for key, hashes in seen.hashes.items():
        for i, other in enumerate(splits):
            for one in splits[i + 1 :]:
                vectors = seen.vectors[key] if key in pictures else None
                found = shared(hashes, vectors, at[one], at[other])
                if found.example is None:
                    continue
                parts = []
                if found.same:
                    parts.append(f"{found.same} files are also in {other!r}")
                if found.near:
                    parts.append(f"{found.near} look like a picture of {other!r}")
                ids = " and ".join(repr(seen.ids[place]) for place in found.example)
                yield (
                    True,
                    f"{key}: in split {one!r}, {' and '.join(parts)} (rows {ids}): what"
                    " judges or selects has been seen in training.",
                )


def groups(config: Config, seen: Seen, scanned: Scan) -> Iterator[tuple[bool, str]]:
    """Groups that the scan found in two splits."""
    if scanned.parted:
        split = config.data.split
        yield (
            True,
            f"groups of column {split.group_by!r} lie in two splits:"
            f" {'; '.join(scanned.parted)}.",
        )
