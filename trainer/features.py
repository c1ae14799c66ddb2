"""Names of what is stored, asked and answered, derived from the config alone.

Feature keys are the keys of tf.Example, of `serving_raw` and of a client's rows:
one per image, audio or text input (the input's name), one per column of a table.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from trainer.config import (
    Config,
    HeadConfig,
    InputConfig,
    LabelKind,
    RankingHead,
    RetrievalHead,
    TabularColumn,
    TabularInput,
)
from trainer.names import present_key, unknown_key

__all__ = [
    "EMBEDDING",
    "FUSED",
    "GROUP_KEY",
    "ID_KEY",
    "MEDIA",
    "NO_CLASS",
    "SHOWN",
    "SLICE_PREFIX",
    "Feature",
    "Label",
    "auxiliary_key",
    "embedding_key",
    "features",
    "group_key",
    "head_labels",
    "input_features",
    "labels_of",
    "mask_key",
    "pooled_key",
    "present_key",
    "slice_columns",
    "split_key",
    "subset_name",
    "tokens_key",
    "unknown_key",
    "weight_answer",
    "weight_key",
]

ID_KEY = "__id__"
"""Feature that carries a row's id, so that a prediction can be traced to its row."""

GROUP_KEY = "__group__"
"""Feature that carries the group whose rows may not part, where there is one."""

NO_CLASS = "__none__"
"""Stored as the label of a multi-label row to which no class applies: an empty list in a
tf.Example cannot be told from a missing label."""

EMBEDDING = "embedding"
"""The fused embedding in the answer of the signature `embed`."""

# Keys of our own hold a colon, which no name in a config does: none is ever taken for an
# input, a column or a head.
FUSED = "fused:"
"""Key of the fused embedding among the model's outputs."""

SHOWN = "shown:"
"""Key of the inputs that modality dropout left, among what objectives look at."""

SLICE_PREFIX = "slice:"
"""Features kept for slicing only: they never reach the model."""


MEDIA = ("image", "images", "audio")
"""Kinds of features whose values are the bytes of files."""


@dataclass(frozen=True)
class Feature:
    """One stored value of a row."""

    key: str
    column: str
    kind: Literal["image", "images", "audio", "text", "numeric", "categorical"]
    input: str


def _column(one: TabularColumn | str) -> TabularColumn:
    return TabularColumn(one, one) if isinstance(one, str) else one


def input_features(one: InputConfig) -> tuple[Feature, ...]:
    """What is stored of one input."""
    if not isinstance(one, TabularInput):
        return (Feature(one.name, one.column or one.name, one.modality, one.name),)
    numeric = [_column(c) for c in one.numeric]
    categorical = [_column(c) for c in one.categorical]
    return (
        *(Feature(c.name, c.column or c.name, "numeric", one.name) for c in numeric),
        *(
            Feature(c.name, c.column or c.name, "categorical", one.name)
            for c in categorical
        ),
    )


def features(config: Config) -> tuple[Feature, ...]:
    """What is stored of all inputs, in the config's order."""
    return tuple(f for one in config.inputs for f in input_features(one))


@dataclass(frozen=True)
class Label:
    """One stored value that a head learns from."""

    key: str
    column: str
    kind: LabelKind
    where: str
    """Key of the config that names the column."""


def head_labels(head: HeadConfig) -> tuple[Label, ...]:
    """What is stored for one head; the head's name is its label's feature key."""
    if isinstance(head, RetrievalHead):
        return ()
    where = f"heads[{head.name}]"
    label = Label(head.name, head.column or head.name, head.label, f"{where}.column")
    if not isinstance(head, RankingHead):
        return (label,)
    key = group_key(head.name)
    return (label, Label(key, head.group, "group", f"{where}.group"))


def labels_of(config: Config) -> tuple[Label, ...]:
    """What is stored for all heads, in the config's order."""
    return tuple(label for head in config.heads for label in head_labels(head))


def group_key(head_name: str) -> str:
    """Key of the group whose rows a ranking head puts in order."""
    return f"group:{head_name}"


def slice_columns(config: Config) -> tuple[str, ...]:
    """Manifest columns that the evaluation's slices name, each once."""
    names = [name for one in config.evaluation.slices for name in one]
    return tuple(dict.fromkeys(names))


def weight_key(head_name: str) -> str:
    """Key of a head's example weight: 1.0 where the row carries its label."""
    return f"weight:{head_name}"


def weight_answer(config: Config, head_name: str) -> str:
    """The same weight in the answer of the signature `transform_features`.

    `HEAD_weight`, unless that is the name of another value of the row: Evaluator would
    not know which of the two is meant.
    """
    plain = f"{head_name}_weight"
    taken = {f.key for f in features(config)} | {x.key for x in labels_of(config)}
    return weight_key(head_name) if plain in taken else plain


def embedding_key(input_name: str) -> str:
    """One input's pooled embedding in the answer of the signature `embed`."""
    return f"{input_name}_embedding"


def pooled_key(input_name: str) -> str:
    """Key of one input's pooled embedding among the model's outputs."""
    return f"pooled:{input_name}"


def tokens_key(input_name: str) -> str:
    """Key of one input's tokens among what objectives look at."""
    return f"tokens:{input_name}"


def mask_key(input_name: str) -> str:
    """Key of the mask of one input's tokens."""
    return f"mask:{input_name}"


def auxiliary_key(head_name: str, input_name: str) -> str:
    """Key of the logits of a head's linear copy that sees one input alone."""
    return f"{head_name}:from:{input_name}"


def split_key(split: str) -> str:
    """Under what name TFX stores a split: itself, where TFX allows it.

    TFX takes ASCII letters, digits, - and _ only; 训练 becomes `split-` and a hash.
    """
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", split):
        return split
    return f"split-{hashlib.sha256(split.encode()).hexdigest()[:16]}"


def subset_name(names: Sequence[str]) -> str:
    """The name of a set of inputs: `audio+image`."""
    return "+".join(sorted(names))
