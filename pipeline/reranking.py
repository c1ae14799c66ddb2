"""Retrieval in two steps: the nearest by embedding, put in order by the matching head.

That costs a forward pass a pair, so only the nearest are judged (Li et al. 2021, ALBEF).
A query alone orders its nearest by how well each matches it. Where all queries are known,
as when two catalogues are joined, those that are found are asked too: a pair counts by
p(j | i) p(i | j), each a softmax over the matches that were judged (dual softmax, Cheng et
al. 2021). What matches everything is then nobody's choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.config import Config, RetrievalHead
from trainer.features import features
from trainer.heads import HEADS

NEAREST = 16
"""So many of the nearest are put in order once more, for each row and way."""
_RECALL_AT = (1, 5, 10)
_CELLS = 2**20
"""So many cosines are held at a time, 8 MiB: never those of all with all."""
_ASKED = 4096
"""So many pairs are put to the model at a time."""


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
    first, second = ([side[i] for i in both] for side in sides)
    ways = (_way(a[both], b[both]), _way(b[both], a[both]))
    pairs = Pairs.of(ways[0].nearest, ways[1].nearest)
    match = np.array(
        [
            answer[f"{head.name}_match"]
            for chunk in _chunks(len(pairs.first), _ASKED)
            for answer in model.predict(
                [
                    first[i] | second[j]
                    for i, j in zip(
                        pairs.first[chunk], pairs.second[chunk], strict=True
                    )
                ]
            )
        ],
        np.float64,
    )
    names = (f"{head.pair[0]}_to_{head.pair[1]}", f"{head.pair[1]}_to_{head.pair[0]}")
    found: dict[str, float] = {}
    for kind, scores in (("reranked", match), ("mutual", _mutual(match, pairs))):
        queries = np.arange(pairs.rows)[:, None]
        there = pairs.places(queries, ways[0].nearest)
        back = pairs.places(ways[1].nearest, queries)
        ranks = [_ranks(ways[0], scores[there]), _ranks(ways[1], scores[back])]
        for k in _RECALL_AT:
            each = [float(np.mean(one <= k)) for one in ranks]
            found[f"recall_at_{k}_{kind}"] = float(np.mean(each))
            for name, value in zip(names, each, strict=True):
                found[f"recall_at_{k}_{name}_{kind}"] = value
    return found


def _chunks(count: int, size: int) -> Iterator[slice]:
    return (slice(at, min(at + size, count)) for at in range(0, count, size))


@dataclass(frozen=True)
class _Way:
    """What queries of one side find on the other by cosine.

    Attributes:
        nearest: int [rows, at most NEAREST], nearest first, of equals the first.
        ranks: int [rows], of the own partner among all, from 1; equals count against.
    """

    nearest: np.ndarray
    ranks: np.ndarray


def _way(queries: np.ndarray, others: np.ndarray) -> _Way:
    """Cosines are made for some queries at a time: float64 [rows, dim] each."""
    count = len(queries)
    kept = min(NEAREST, count)
    nearest = np.empty((count, kept), np.int64)
    ranks = np.empty(count, np.int64)
    for chunk in _chunks(count, max(_CELLS // count, 1)):
        near = queries[chunk] @ others.T
        own = near[np.arange(len(near)), np.arange(count)[chunk]]
        ranks[chunk] = np.sum(near >= own[:, None], axis=1)  # its own place is the 1
        least = np.partition(near, count - kept, axis=1)[:, count - kept]
        for i, row in enumerate(near, chunk.start):
            candidates = np.flatnonzero(row >= least[i - chunk.start])
            order = np.argsort(-row[candidates], kind="stable")[:kept]
            nearest[i] = candidates[order]
    return _Way(nearest, ranks)


@dataclass(frozen=True)
class Pairs:
    """The pairs that are judged, sorted, each once: int [pairs], rows of each side."""

    first: np.ndarray
    second: np.ndarray
    rows: int

    @classmethod
    def of(cls, nearest: np.ndarray, nearest_back: np.ndarray) -> Pairs:
        """The nearest of each query, of both ways: int [rows, any] each."""
        rows = len(nearest)
        own = np.arange(rows)[:, None]
        keys = np.unique(
            np.concatenate(
                [(own * rows + nearest).ravel(), (nearest_back * rows + own).ravel()]
            )
        )
        return cls(keys // rows, keys % rows, rows)

    def places(self, first: Any, second: Any) -> Any:
        """Where judged pairs stand among all."""
        keys = self.first * self.rows + self.second
        return np.searchsorted(keys, first * self.rows + second)


def _mutual(match: np.ndarray, pairs: Pairs) -> np.ndarray:
    """p(j | i) p(i | j) of each judged pair.

    Args:
        match: float64 [pairs] in [0, 1], how likely i and j belong together.
    """
    sure = np.clip(match, 1e-7, 1 - 1e-7)
    odds = sure / (1 - sure)
    ahead = np.bincount(pairs.first, odds, pairs.rows)[pairs.first]
    back = np.bincount(pairs.second, odds, pairs.rows)[pairs.second]
    return np.asarray(odds / ahead * odds / back)


def _side(config: Config, name: str, values: dict[str, Any]) -> dict[str, Any]:
    """What a row holds of one input."""
    keys = {f.key for f in features(config) if f.input == name}
    return {k: v for k, v in values.items() if k in keys}


def _ranks(way: _Way, scores: np.ndarray) -> np.ndarray:
    """Rank of each query's own partner, from 1; equals count against it.

    Args:
        scores: float64, of `way.nearest`: what puts those in order.
    """
    own = way.nearest == np.arange(len(way.ranks))[:, None]
    mine = np.where(own, scores, -np.inf).max(axis=1, keepdims=True)
    return np.where(own.any(axis=1), np.sum(scores >= mine, axis=1), way.ranks)
