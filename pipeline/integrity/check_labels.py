"""Whether something gives the label away that should not: inputs, or what is no input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.cell_forms import number_of
from pipeline.column_names import PROVENANCE, has_word
from pipeline.integrity.columns import ColumnLeaks
from pipeline.integrity.predictor import Strength, strength, told, wanted
from pipeline.integrity.rows import PRESENCE, Seen, Value
from pipeline.integrity.towers import tower
from pipeline.scan import Scan
from trainer.config import Config
from trainer.features import MEDIA, Feature, features

Said = Iterator[tuple[bool, str]]
"""Whether it is serious, and what it is."""

_P = 0.01
# Least scores: area under the ROC curve of classes, R squared of a number.
_LEAK = (0.97, 0.95)
"""An input that tells the label so well by itself is the label in other words."""
_FACT = (0.65, 0.2)
"""A fact about an input (its length) that tells so much deserves a look ..."""
_SHADOW = 0.75
"""... unless its content tells a good deal more: then the fact is the content's shadow,
as the file size of a drawing of a 1 is."""
_CONFOUNDER = (0.7, 0.25)
_MIN_LABELLED, _MAX_LABELLED = 50, 3000
_MAX_VALUES = 100


@dataclass(frozen=True)
class Target:
    """The label of one head, on the rows that have it.

    Attributes:
        rows: int [labelled], places among the rows that were looked at.
        labels: as rows have them.
        wanted: float [labelled, targets], of `predictor.wanted`.
        groups: rows that may not part.
    """

    head: str
    rows: np.ndarray
    labels: list[Any]
    wanted: np.ndarray
    groups: list[str]
    seed: int

    @property
    def classes(self) -> bool:
        """Whether classes are told rather than a number."""
        return bool(np.isin(self.wanted, (0.0, 1.0)).all())

    @property
    def chance(self) -> float:
        """The score of a predictor that knows nothing."""
        return 0.5 if self.classes else 0.0

    @property
    def measure(self) -> str:
        """What a score is."""
        return "area under the ROC curve" if self.classes else "R squared"

    def of(self, column: Sequence[Any]) -> list[Any]:
        """A column's values on these rows."""
        return [column[i] for i in self.rows]

    def strength(
        self, values: Sequence[Value], bounds: tuple[float, float]
    ) -> Strength | None:
        """How well values tell the label, if well enough not to be chance.

        Args:
            bounds: least score of classes, and of a number.
        """
        least = bounds[0] if self.classes else bounds[1]
        found = strength(values, self.wanted, self.groups, self.seed, least)
        return found if found.score >= least and found.p < _P else None

    def said(self, found: Strength) -> str:
        """The score in words."""
        return f"{self.measure} {found.score:.2f}, chance {self.chance:.2f}"


def leaks(config: Config, seen: Seen, scanned: Scan) -> Said:
    """Inputs, or facts about them, that give the label away; inputs that never change."""
    for feature in features(config):
        column: Sequence[Any] = (seen.hashes if feature.kind in MEDIA else seen.values)[
            feature.key
        ]
        values = {one for one in column if one is not None}
        if len(values) == 1 and len(seen) > 1:
            yield True, f"{feature.key}: the same in every row that has it."
    targets = list(_targets(config, seen))
    if not targets and any(head.label != "none" for head in config.heads):
        yield False, "leaks: too few labelled rows to tell."
    for target in targets:
        for feature in features(config):
            if feature.key not in seen.hashes:
                yield from _input_leak(feature, seen, target)
        for name in seen.facts:
            yield from _fact_leak(config, name, seen, target)


def _input_leak(feature: Feature, seen: Seen, target: Target) -> Said:
    values, leak = target.of(seen.values[feature.key]), ColumnLeaks()
    for value, label in zip(values, target.labels, strict=True):
        if value is not None and isinstance(label, tuple) and label:
            leak.take(str(value), "|".join(label))
    if feature.kind == "text" and leak.spells >= 0.5:
        share = f"{leak.spells:.0%}"
        yield True, f"{feature.key}: spells {target.head!r} in {share} of its rows."
    if feature.kind != "numeric" and leak.decides:
        yield True, f"{feature.key}: decides {target.head!r} ({leak.decides})."
    elif feature.kind != "text":
        found = target.strength(values, _LEAK)
        if found is not None:
            said = f"tells {target.head!r} all by itself ({target.said(found)})"
            yield True, f"{feature.key}: {said}."


def _fact_leak(config: Config, name: str, seen: Seen, target: Target) -> Said:
    found = target.strength(target.of(seen.facts[name]), _FACT)
    if found is None:
        return
    key, fact = name.split(": ")
    said = target.said(found)
    if fact != PRESENCE:
        feature = next(f for f in features(config) if f.key == key)
        content = _content(feature, seen, target)
        if found.score - target.chance < _SHADOW * (content - target.chance):
            return
        said += f"; a probe of the content {content:.2f}"
    yield (
        True,
        f"{name}: this alone tells {target.head!r} ({said}): a model may learn it"
        " instead of what is meant.",
    )


def _content(feature: Feature, seen: Seen, target: Target) -> float:
    """How well the value itself tells the label, by a linear probe of descriptors."""
    vectors, there = tower([feature], seen)
    kept = there[target.rows]
    if kept.sum() < _MIN_LABELLED:
        return target.chance
    groups = [g for g, k in zip(target.groups, kept, strict=True) if k]
    return told(vectors[target.rows][kept], target.wanted[kept], groups, target.seed)


def confounders(config: Config, seen: Seen, scanned: Scan) -> Said:
    """Columns that are no inputs but tell the label."""
    for target in _targets(config, seen):
        telling: list[tuple[float, str]] = []
        for name, column in seen.cells.items():
            texts = target.of(column)
            values = _values(texts)
            if values is None:
                continue
            decides = _decides(texts, target.labels)
            where_from = has_word(name, PROVENANCE)
            if decides and not where_from:
                yield (
                    False,
                    f"column {name!r} decides {target.head!r} ({decides}): the label in"
                    " other words, or a perfect confounder. It is no input; leave it so.",
                )
            elif found := target.strength(values, _CONFOUNDER):
                telling.append((found.score, f"{name} {found.score:.2f}"))
        if telling:
            listed = ", ".join(text for _, text in sorted(telling, reverse=True))
            yield (
                True,
                f"columns that are no inputs tell {target.head!r} ({target.measure}):"
                f" {listed}. If inputs show them (the hospital in the picture's frame,"
                " the author in the style), a model learns these instead; judge it on"
                " rows where they differ.",
            )


def _decides(texts: Sequence[str], labels: Sequence[Any]) -> str:
    leak = ColumnLeaks()
    for text, label in zip(texts, labels, strict=True):
        if text and isinstance(label, tuple) and label:
            leak.take(text, "|".join(label))
    return leak.decides


def _values(texts: Sequence[str]) -> list[Value] | None:
    """A column as numbers or as values that come again; None for free text."""
    filled = {text for text in texts if text}
    if not filled:
        return None
    numbers = [number_of(text) if text else None for text in texts]
    known = sum(n is not None for n in numbers)
    if known >= 0.98 * sum(map(bool, texts)):
        return list(numbers)
    if len(filled) <= min(_MAX_VALUES, len(texts) // 3):
        return [text or None for text in texts]
    return None


def _targets(config: Config, seen: Seen) -> Iterator[Target]:
    """Every head that has labels enough, on at most 3,000 of its rows."""
    for head in config.heads:
        labels = seen.labels[head.name]
        rows = np.flatnonzero([one is not None for one in labels])
        if len(rows) > _MAX_LABELLED:
            random = np.random.default_rng(config.seed)
            rows = np.sort(random.choice(rows, _MAX_LABELLED, replace=False))
        if len(rows) < _MIN_LABELLED:
            continue
        target = wanted([labels[i] for i in rows])
        if target.shape[1]:
            yield Target(
                head.name,
                rows,
                [labels[i] for i in rows],
                target,
                [seen.groups[i] for i in rows],
                config.seed,
            )
