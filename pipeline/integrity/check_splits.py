"""Whether what judges has been learned from: media and groups in two splits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipeline.integrity.duplicates import alike
from pipeline.integrity.media_hashes import files_in_both, in_two_splits, judging_order
from pipeline.integrity.rows import Seen
from pipeline.scan import Scan
from trainer.config import Config
from trainer.features import features


def duplicates(config: Config, seen: Seen, scanned: Scan) -> Iterator[tuple[bool, str]]:
    """Media of one split that are, or look like, media of another.

    Files are compared bytewise where those of all rows are known, pictures by their
    looks among the rows that were looked at.
    """
    same = {(t.feature, t.split, t.other): t for t in seen.twins or ()}
    names = {*seen.splits, *(name for _, *pair in same for name in pair)}
    splits = sorted(names, key=lambda name: judging_order(config, name))
    at = {name: np.array([s == name for s in seen.splits]) for name in splits}
    pictures = {f.key for f in features(config) if f.kind == "image"}
    for key, hashes in seen.hashes.items():
        for i, other in enumerate(splits):
            for one in splits[i + 1 :]:
                twins = same.get((key, one, other))
                near = []
                if key in pictures:
                    near = alike(hashes, seen.vectors[key], at[one], at[other])
                if twins is None and not near:
                    continue
                ids = twins.ids if twins else tuple(seen.ids[i] for i in near[0])
                parts = [files_in_both(twins.rows, other)] if twins else []
                if near:
                    parts.append(
                        f"{len(near)} look{'' if len(near) > 1 else 's'} like a picture of {other!r}"
                    )
                yield (
                    True,
                    in_two_splits(config, key, one, other, " and ".join(parts), ids),
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
