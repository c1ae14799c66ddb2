"""Whether the inputs of a row belong together, and to its label."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipeline.integrity.pairs import Match, match
from pipeline.integrity.rows import Seen
from pipeline.integrity.towers import label_tower, tower
from pipeline.scan import Scan
from trainer.config import Config
from trainer.features import features


def pairs(config: Config, seen: Seen, scanned: Scan) -> Iterator[tuple[bool, str]]:
    """Inputs that match nothing of their row; and each pair's verdict as a note.

    Two inputs that share nothing are no fault; one that shares nothing with any other
    input nor with a label is, or it is noise.
    """
    train = np.array([split == config.data.split.train for split in seen.splits])
    sides: dict[str, tuple[np.ndarray, np.ndarray]] = {
        one.name: tower([f for f in features(config) if f.input == one.name], seen)
        for one in config.inputs
    }
    heads = {
        f"head {head.name}": label_tower(seen.labels[head.name])
        for head in config.heads
    }
    sides.update({name: side for name, side in heads.items() if side[0].shape[1]})
    found: dict[tuple[str, str], Match] = {}
    names = list(sides)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            if one in heads:
                continue  # labels of two heads say nothing about pairs of inputs
            rows = np.flatnonzero(train & sides[one][1] & sides[other][1])
            if len(rows):
                found[one, other] = match(
                    sides[one][0][rows],
                    sides[other][0][rows],
                    [seen.groups[i] for i in rows],
                    config.seed,
                )
    for name in [one.name for one in config.inputs]:
        mine = {pair: m for pair, m in found.items() if name in pair}
        verdicts = {m.verdict for m in mine.values()}
        if verdicts == {"chance"}:
            others = [a if b == name else b for a, b in mine]
            held = min(m.held for m in mine.values())
            yield (
                True,
                f"{name}: a probe cannot match it with {' or '.join(others)} better"
                f" than chance on {held:,} held-out rows. Are its rows shuffled, or does"
                " it carry nothing?",
            )
    for (a, b), m in found.items():
        yield False, f"pairs of {a} and {b}: {_verdict(m)}."


def _verdict(m: Match) -> str:
    measured = (
        f"rank {m.rank:.2f}, chance 0.50, p = {m.p:.3f}, {m.held:,} held-out rows"
    )
    if m.verdict == "matched":
        return f"they belong together ({measured})"
    if m.verdict == "chance":
        return f"matched no better than chance ({measured})"
    return f"cannot tell, too few rows ({measured})"
