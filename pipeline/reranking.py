"""Retrieval in two steps: the nearest by embedding, put in order by the matching head.

An embedding is made of one side alone; whether two belong together, the model judges
better when it sees both (Li et al. 2021, ALBEF). That costs a forward pass a pair, so
only the nearest are judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from trainer.config import Config, RetrievalHead
from trainer.features import features
from trainer.heads import HEADS

NEAREST = 16
"""So many of the nearest are put in order once more, for each row and way."""
_RECALL_AT = (1, 5, 10)


def reranked(config: Config, model: Any, rows: Iterable[Any]) -> dict[str, float]:
    """Recalls of the retrieval heads that judge matches, after the second step.

    Args:
        config: the model's config.
        model: a serving.client.LocalModel or Client.
        rows: pipeline.rows.Row.

    Returns:
        `recall_at_1_reranked`, `_5`, `_10`, the mean of both ways, and each way's
        (`recall_at_1_A_to_B_reranked`); called HEAD/METRIC where there are several
        heads. Rows that lack a side take no part.
    """
    rows = list(rows)
    out: dict[str, float] = {}
    for head in config.heads:
        if isinstance(head, RetrievalHead) and head.match:
            prefix = "" if len(config.heads) == 1 else f"{head.name}/"
            found = _of_head(config, head, model, rows)
            out |= {prefix + name: value for name, value in found.items()}
    return out


def _of_head(
    config: Config, head: RetrievalHead, model: Any, rows: Sequence[Any]
) -> dict[str, float]:
    sides = [[_side(config, name, row.values) for row in rows] for name in head.pair]
    whole = [i for i in range(len(rows)) if all(side[i] for side in sides)]
    sides = [[side[i] for i in whole] for side in sides]
    asked = model.predict([a | b for a, b in zip(*sides, strict=True)])
    names = HEADS[head.kind](head).judged
    a, b = (np.array([answer[key] for answer in asked], np.float64) for key in names)
    # A file that cannot be decoded is a side that is lacking too.
    both = np.flatnonzero(a.any(-1) & b.any(-1)) if len(asked) else np.array([], int)
    if not len(both):
        return {}
    near = a[both] @ b[both].T
    first, second = ([side[i] for i in both] for side in sides)
    found: dict[str, float] = {}
    ways = {
        f"{head.pair[0]}_to_{head.pair[1]}": (near, first, second),
        f"{head.pair[1]}_to_{head.pair[0]}": (near.T, second, first),
    }
    for way, (likeness, queries, others) in ways.items():
        ranks = _ranks(likeness, queries, others, model, f"{head.name}_match")
        for k in _RECALL_AT:
            found[f"recall_at_{k}_{way}_reranked"] = float(np.mean(ranks <= k))
    means = {
        f"recall_at_{k}_reranked": float(
            np.mean([found[f"recall_at_{k}_{way}_reranked"] for way in ways])
        )
        for k in _RECALL_AT
    }
    return {**means, **found}


def _side(config: Config, name: str, values: dict[str, Any]) -> dict[str, Any]:
    """What a row holds of one input."""
    keys = {f.key for f in features(config) if f.input == name}
    return {k: v for k, v in values.items() if k in keys}


def _ranks(
    near: np.ndarray,
    queries: Sequence[dict[str, Any]],
    others: Sequence[dict[str, Any]],
    model: Any,
    key: str,
) -> np.ndarray:
    """Rank of each query's own partner, from 1; equals count against it.

    Args:
        near: float64 [rows, rows], the cosine of query i and other j.
        queries, others: what a row holds of either input.
        key: the answer that says how well two match.
    """
    count = min(NEAREST, len(near))
    best = np.argsort(-near, axis=1, kind="stable")[:, :count]
    answers = model.predict(
        [queries[i] | others[j] for i, row in enumerate(best) for j in row]
    )
    match = np.array([answer[key] for answer in answers]).reshape(best.shape)
    own = np.diag(near)
    ranks = np.sum(near >= own[:, None], axis=1)  # its own place is the 1
    for i, row in enumerate(best):
        (at,) = np.nonzero(row == i)
        if len(at):
            ranks[i] = np.sum(match[i] >= match[i, at[0]])
    return ranks
