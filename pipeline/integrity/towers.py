"""Descriptors of whole inputs and labels, one row for each row that was looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.integrity import descriptors
from pipeline.integrity.predictor import wanted
from pipeline.integrity.rows import Seen
from trainer.features import Feature


def tower(of: Sequence[Feature], seen: Seen) -> tuple[np.ndarray, np.ndarray]:
    """One input's descriptors, float [rows, size], and where any of it is there."""
    parts, there = [], np.zeros(len(seen), bool)
    for feature in of:
        if feature.key in seen.vectors:
            drawn = seen.vectors[feature.key]
            size = next((len(v) for v in drawn if v is not None), 1)
            empty = np.zeros(size, np.float32)
            parts.append(np.stack([empty if v is None else v for v in drawn]))
            there |= np.array([v is not None for v in drawn])
            continue
        values: Sequence[Any] = seen.values[feature.key]
        there |= np.array([v is not None for v in values])
        if feature.kind == "text":
            parts.append(np.stack([descriptors.text(v or "") for v in values]))
        elif feature.kind == "numeric":
            parts.append(descriptors.numbers(values))
        else:
            parts.append(descriptors.categories(values))
    return np.concatenate(parts, axis=1), there


def label_tower(labels: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """A head's labels, float [rows, targets], and where there is one; 0 targets = none."""
    there = np.array([one is not None for one in labels], bool)
    target = wanted([one for one in labels if one is not None])
    spread = np.zeros((len(labels), target.shape[1] if target.ndim == 2 else 0))
    if spread.size:
        spread[there] = target
    return spread, there
