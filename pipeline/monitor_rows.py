"""What is compared of a row that a model has answered: one name and value per column."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from pipeline.cell_text import text_of
from serving import media
from serving.sequences import unpack
from trainer.config import (
    ClassificationHead,
    Config,
    HeadConfig,
    InputConfig,
    OrdinalHead,
    RankingHead,
    RegressionHead,
)
from trainer.features import Feature, features, input_features, present_key

Kind = Literal["missing", "numeric", "categorical", "label", "score", "embedding"]
Value = str | float
PRESENT, MISSING = "present", "missing"
CHOSEN, NOT_CHOSEN = "chosen", "not chosen"


class Column(NamedTuple):
    """One distribution.

    Attributes:
        kind: what it is about; says how it is compared and with which threshold.
        feature: the input, column, answer or embedding it belongs to.
        part: tells several columns of one feature and kind apart.
    """

    kind: Kind
    feature: str
    part: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in self if part)


@dataclass(frozen=True)
class AnsweredRow:
    """One row as a model was asked and answered.

    Attributes:
        values: feature key -> what was sent: bytes of a file or a text, or a number.
            What is absent has no key.
        hidden: feature keys of which it is not known whether and what was sent.
        answers: output -> this row's part of it; without the outputs that the caller
            did not ask for.
        labels: head -> its true classes or number, where known.
    """

    values: Mapping[str, bytes | float]
    hidden: frozenset[str] = frozenset()
    answers: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, tuple[str, ...] | float] = field(default_factory=dict)


def observed(config: Config, row: AnsweredRow) -> dict[Column, Value]:
    """The row's values by column; a column of which nothing is known is left out."""
    found: dict[Column, Value] = {}
    for one in config.inputs:
        found.update(_presence(one, row))
    for feature in features(config):
        value = row.values.get(feature.key)
        if value is not None:
            found.update(_described(feature, value))
    for head in config.heads:
        found.update(_answered(head, row.answers))
        if head.name in row.labels:
            found.update(_labelled(head, row.labels[head.name]))
    return found


def _presence(one: InputConfig, row: AnsweredRow) -> dict[Column, Value]:
    """Whether an input, and each column of a table, was there.

    The model's own word counts first: a file that it could not decode is missing too.
    """
    keys = [feature.key for feature in input_features(one)]
    found: dict[Column, Value] = {}
    for key in keys:
        if key not in row.hidden:
            found[Column("missing", key)] = _word(key in row.values)
    answer = row.answers.get(present_key(one.name))
    if answer is not None:
        found[Column("missing", one.name)] = _word(bool(answer))
    elif not row.hidden.intersection(keys):
        any_there = any(key in row.values for key in keys)
        found[Column("missing", one.name)] = _word(any_there)
    return found


def _word(there: bool) -> str:
    return PRESENT if there else MISSING


def _described(feature: Feature, value: bytes | float) -> dict[Column, Value]:
    """A value, or what its length or its file's header says."""
    key = feature.key
    if isinstance(value, float):
        return {Column("numeric", key): value}
    if feature.kind == "categorical":
        # A request may write what ingestion writes in one way only.
        return {Column("categorical", key): text_of(value.decode("utf-8", "replace"))}
    if feature.kind == "text":
        count = len(value.decode("utf-8", "replace"))
        return {Column("numeric", key, "characters"): float(count)}
    wanted: tuple[str, ...] = ("width", "height")
    try:
        if feature.kind == "audio":
            wanted, facts = ("seconds",), media.describe(value, "audio")
        elif feature.kind == "images":
            frames = unpack(value)
            facts = media.describe(frames[len(frames) // 2], "image")
            facts["frames"], wanted = len(frames), ("frames", *wanted)
        else:
            facts = media.describe(value, "image")
    except media.MediaError:
        return {}  # counted as missing, by the model's own word
    return {
        Column("numeric", key, name): float(facts[name])
        for name in wanted
        if facts[name] is not None
    }


def _answered(head: HeadConfig, answers: Mapping[str, Any]) -> dict[Column, Value]:
    """What the model said, and how sure it was."""
    found: dict[Column, Value] = {}
    name = head.name
    if isinstance(head, (RegressionHead, RankingHead)):
        if name in answers:
            found[Column("score", name)] = float(answers[name])
        return found
    if not isinstance(head, (ClassificationHead, OrdinalHead)):
        return found  # texts of an open list, embeddings: nothing that bins count
    if f"{name}_scores" in answers:
        found[Column("score", name)] = float(np.max(answers[f"{name}_scores"]))
    if isinstance(head, ClassificationHead) and head.multi_label:
        if f"{name}_selected" in answers:
            chosen = answers[f"{name}_selected"]
            found.update(_each_class("label", name, head.classes, chosen))
    elif name in answers:
        found[Column("label", name)] = _text(answers[name])
    return found


def _labelled(head: HeadConfig, label: tuple[str, ...] | float) -> dict[Column, Value]:
    """The true label: requests rarely carry it, tf.Examples may."""
    name = f"{head.name} (true)"
    if isinstance(label, float):
        return {Column("numeric", name): label}
    if not isinstance(head, (ClassificationHead, OrdinalHead)):
        return {}
    if isinstance(head, ClassificationHead) and head.multi_label:
        chosen = [one in label for one in head.classes]
        return _each_class("label", name, head.classes, chosen)
    return {Column("label", name): label[0]} if label else {}


def _each_class(
    kind: Kind, feature: str, classes: Sequence[str], chosen: Sequence[Any]
) -> dict[Column, Value]:
    return {
        Column(kind, feature, one): CHOSEN if on else NOT_CHOSEN
        for one, on in zip(classes, chosen, strict=True)
    }


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def values_of(config: Config, arrays: Mapping[str, Any], row: int) -> dict[str, Any]:
    """One row's values out of arrays as `serving_raw` takes them.

    Args:
        config: names the features; other arrays are left alone.
        arrays: feature key -> [rows] of bytes (b"" = absent) or float32 (NaN = absent).
        row: which one.
    """
    found: dict[str, Any] = {}
    for feature in features(config):
        if feature.key not in arrays:
            continue
        value = arrays[feature.key][row]
        if isinstance(value, bytes):
            if value:
                found[feature.key] = value
        elif not math.isnan(value):
            found[feature.key] = float(value)
    return found


def arrays_of(
    config: Config, rows: Sequence[Mapping[str, bytes | float]]
) -> dict[str, Any]:
    """Rows' values as `serving_raw` and `embed` take them: the inverse of `values_of`."""
    found: dict[str, Any] = {}
    for feature in features(config):
        numeric = feature.kind == "numeric"
        array = np.empty(len(rows), np.float32 if numeric else object)
        for at, row in enumerate(rows):
            array[at] = row.get(feature.key, math.nan if numeric else b"")
        found[feature.key] = array
    return found


class Reservoir:
    """Which of a stream of unknown length to keep: every item with the same chance.

    Vitter, Random sampling with a reservoir, 1985 (algorithm R).
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        self.size = size
        self.seen = 0
        self._random = random.Random(seed)

    def slot(self) -> int | None:
        """Where the next item goes, below `size`; None = it is not kept."""
        self.seen += 1
        if self.seen <= self.size:
            return self.seen - 1
        place = self._random.randrange(self.seen)
        return place if place < self.size else None
