"""Retrieval in two steps: the nearest by embedding, put in order by the matching head.

That costs a forward pass a pair, so only the nearest are judged (Li et al. 2021, ALBEF).
A query alone orders its nearest by how well each matches it. Where all queries are known,
as when two catalogues are joined, those that are found are asked too: a pair counts by
p(j | i) p(i | j), each a softmax over the matches that were judged (dual softmax, Cheng et
al. 2021). What matches everything is then nobody's choice.
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
        (`recall_at_1_A_to_B_reranked`); and `_mutual` in the place of `_reranked`, where
        the rows' other queries are known. Called HEAD/METRIC where there are several
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
    nearest = _nearest(near), _nearest(near.T)
    judged = np.zeros(near.shape, bool)
    np.put_along_axis(judged, nearest[0], True, axis=1)
    np.put_along_axis(judged.T, nearest[1], True, axis=1)
    pairs = np.argwhere(judged)
    answers = model.predict([first[i] | second[j] for i, j in pairs])
    match = np.zeros(near.shape)
    match[judged] = [answer[f"{head.name}_match"] for answer in answers]
    found: dict[str, float] = {}
    for kind, scores in (("reranked", match), ("mutual", _mutual(match, judged))):
        ways = {
            f"{head.pair[0]}_to_{head.pair[1]}": _ranks(near, nearest[0], scores),
            f"{head.pair[1]}_to_{head.pair[0]}": _ranks(near.T, nearest[1], scores.T),
        }
        for k in _RECALL_AT:
            each = {way: float(np.mean(ranks <= k)) for way, ranks in ways.items()}
            found[f"recall_at_{k}_{kind}"] = float(np.mean(list(each.values())))
            found |= {f"recall_at_{k}_{way}_{kind}": one for way, one in each.items()}
    return found


def _nearest(near: np.ndarray) -> np.ndarray:
    """int [queries, at most NEAREST]: the nearest others of each query, nearest first."""
    return np.argsort(-near, axis=1, kind="stable")[:, :NEAREST]


def _mutual(match: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """p(j | i) p(i | j) of each pair that was judged, 0 of others.

    Args:
        match: float64 [rows, rows] in [0, 1], how likely i and j belong together.
        judged: bool of the same shape.
    """
    sure = np.clip(match, 1e-7, 1 - 1e-7)
    odds = np.where(judged, sure / (1 - sure), 0.0)
    chosen = odds / odds.sum(axis=1, keepdims=True)
    return np.asarray(chosen * odds / odds.sum(axis=0, keepdims=True))


def _side(config: Config, name: str, values: dict[str, Any]) -> dict[str, Any]:
    """What a row holds of one input."""
    keys = {f.key for f in features(config) if f.input == name}
    return {k: v for k, v in values.items() if k in keys}


def _ranks(near: np.ndarray, nearest: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Rank of each query's own partner, from 1; equals count against it.

    Args:
        near: float64 [rows, rows], the cosine of query i and other j.
        nearest: int [rows, any], those of each query that were judged.
        scores: float64 [rows, rows], what puts them in order.
    """
    own = np.diag(near)
    ranks = np.sum(near >= own[:, None], axis=1)  # its own place is the 1
    for i, row in enumerate(nearest):
        if i in row:
            ranks[i] = np.sum(scores[i, row] >= scores[i, i])
    return np.asarray(ranks)
