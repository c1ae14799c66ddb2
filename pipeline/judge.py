"""A model's answers to labelled rows: with all inputs shown, and with only some."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.rows import Row
from pipeline.value import Value, value_of_inputs
from trainer.config import Config
from trainer.features import features
from trainer.heads import Head, heads

MIN_COMPLETE = 30
"""Fewer rows that have every input do not carry a report: then all rows are taken."""


@dataclass(frozen=True)
class Answered:
    """What a model says of one head to the rows that have any of some inputs.

    Attributes:
        rows: int [answered], places of the rows, all with a label of this head.
        labels: [answered], of `judged_label`.
        answers: of the head's `judged`, arrays [answered, ...].
    """

    rows: np.ndarray
    labels: list[Any]
    answers: dict[str, np.ndarray]


def subsets(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Every non-empty set of inputs, single ones first."""
    for size in range(1, len(names) + 1):
        yield from itertools.combinations(sorted(names), size)


class Judge:
    """A model's answers to labelled rows, for every set of inputs.

    Args:
        config: the model's config.
        model: a serving.client.LocalModel or Client.
        rows: kept in memory with their media.
        only_everything: ask with all inputs alone, not with every set of them.
    """

    def __init__(
        self,
        config: Config,
        model: Any,
        rows: Iterable[Row],
        *,
        only_everything: bool = False,
    ) -> None:
        self.config = config
        self.heads: list[Head[Any]] = heads(config)
        kept = list(rows)
        found = {
            h.name: [h.judged_label(row.labels) for row in kept] for h in self.heads
        }
        judged = [
            i for i in range(len(kept)) if any(o[i] is not None for o in found.values())
        ]
        self.rows = [kept[i] for i in judged]
        self.labels = {name: [one[i] for i in judged] for name, one in found.items()}
        self.names = [one.name for one in config.inputs]
        self.counts: dict[tuple[str, ...], int] = {}
        self.answered: dict[tuple[str, ...], dict[str, Answered]] = {}
        asked = [self.everything] if only_everything else subsets(self.names)
        for subset in asked:
            self._ask(model, subset)

    def _keys(self, subset: Sequence[str]) -> set[str]:
        return {f.key for f in features(self.config) if f.input in subset}

    def _ask(self, model: Any, subset: tuple[str, ...]) -> None:
        keys = self._keys(subset)
        shown = [i for i, row in enumerate(self.rows) if keys & set(row.values)]
        self.counts[subset] = len(shown)
        answers = model.predict(
            [{k: v for k, v in self.rows[i].values.items() if k in keys} for i in shown]
        )
        self.answered[subset] = {}
        for head in self.heads:
            known = [
                j for j, i in enumerate(shown) if self.labels[head.name][i] is not None
            ]
            if known:
                self.answered[subset][head.name] = Answered(
                    np.array([shown[j] for j in known]),
                    [self.labels[head.name][shown[j]] for j in known],
                    {
                        key: np.array([_plain(answers[j][key]) for j in known])
                        for key in head.judged
                    },
                )

    def metrics(self, subset: tuple[str, ...]) -> dict[str, Any]:
        """`examples` and each metric; HEAD/METRIC where there are several heads."""
        out: dict[str, Any] = {"examples": self.counts[subset]}
        for head in self.heads:
            one = self.answered[subset].get(head.name)
            if one is None:
                continue
            prefix = "" if len(self.heads) == 1 else f"{head.name}/"
            for name, value in head.metrics(one.labels, one.answers).items():
                out[prefix + name] = value
        return out

    @property
    def everything(self) -> tuple[str, ...]:
        """All inputs."""
        return tuple(sorted(self.names))

    def row_scores(self, head: Head[Any], subset: tuple[str, ...]) -> np.ndarray:
        """The head's main metric, float64 [rows]; NaN for rows without a share."""
        out = np.full(len(self.rows), np.nan)
        one = self.answered[subset].get(head.name)
        if one is not None:
            out[one.rows] = head.row_scores(one.labels, one.answers)
        return out

    def groups(self) -> list[str]:
        """What the bootstrap draws together."""
        return [row.group or f"row:{row.id}" for row in self.rows]

    def value(self, head: Head[Any]) -> Value | None:
        """What each input is worth to a head; None where no row judges it.

        Every subset is judged on the same rows: those that have every input or, where
        they are few, all. A row that has none of a subset's inputs gets the best
        constant answer, as the empty subset does.
        """
        labels = self.labels[head.name]
        known = np.flatnonzero([label is not None for label in labels])
        if not len(known):
            return None
        complete = [
            i
            for i in known
            if all(self._keys([name]) & set(self.rows[i].values) for name in self.names)
        ]
        enough = len(complete) >= MIN_COMPLETE
        rows = np.array(complete if enough else known)
        mine = [labels[i] for i in rows]
        constant = head.row_scores(mine, head.constant_answers(mine))
        scores = {frozenset[str](): constant}
        for subset in self.answered:
            found = self.row_scores(head, subset)[rows]
            scores[frozenset(subset)] = np.where(np.isfinite(found), found, constant)
        metric, higher = next(iter(head.directions.items()))
        groups = self.groups()
        return value_of_inputs(
            scores,
            self.names,
            head=head.name,
            metric=metric,
            higher=higher,
            complete=enough,
            groups=[groups[i] for i in rows],
            seed=self.config.seed,
        )


def _plain(answer: Any) -> Any:
    """Scores by class, as a client gives them, in the order of the classes."""
    return list(answer.values()) if isinstance(answer, dict) else answer
