"""A model's answers to labelled rows: with all inputs shown, and with only some."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.constant import AgainstConstant, against_constant
from pipeline.evaluation import main_metric
from pipeline.rows import Row
from pipeline.value import MAX_EXACT, Value, drawn_orders, prefixes, value_of_inputs
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

    def of(self, rows: Collection[int]) -> Answered | None:
        """What was said to some of the rows; None where that is none."""
        at = [j for j, row in enumerate(self.rows) if int(row) in rows]
        if not at:
            return None
        answers = {key: value[at] for key, value in self.answers.items()}
        return Answered(self.rows[at], [self.labels[j] for j in at], answers)


def subsets(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Every non-empty set of inputs, single ones first."""
    for size in range(1, len(names) + 1):
        yield from itertools.combinations(sorted(names), size)


class Judge:
    """A model's answers to labelled rows, for every set of inputs.

    With more than `MAX_EXACT` inputs only for each alone and for all, in `answered`, and
    for what `value` needs besides: the sets that drawn orders of the inputs run
    through, in `between`.

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
        self.between: dict[tuple[str, ...], dict[str, Answered]] = {}
        self.orders: list[tuple[str, ...]] | None = None
        if only_everything:
            reported = [self.everything]
        elif len(self.names) <= MAX_EXACT:
            reported = list(subsets(self.names))
        else:
            reported = [*((name,) for name in sorted(self.names)), self.everything]
            self.orders = drawn_orders(self.names, config.seed)
        for subset in reported:
            self.answered[subset] = self._ask(model, subset)
        for subset in prefixes(self.orders or ()):
            if subset not in self.answered:
                self.between[subset] = self._ask(model, subset)

    def _keys(self, subset: Sequence[str]) -> set[str]:
        return {f.key for f in features(self.config) if f.input in subset}

    def _ask(self, model: Any, subset: tuple[str, ...]) -> dict[str, Answered]:
        keys = self._keys(subset)
        shown = [i for i, row in enumerate(self.rows) if keys & set(row.values)]
        self.counts[subset] = len(shown)
        answers = model.predict(
            [{k: v for k, v in self.rows[i].values.items() if k in keys} for i in shown]
        )
        found = {}
        for head in self.heads:
            known = [
                j for j, i in enumerate(shown) if self.labels[head.name][i] is not None
            ]
            if known:
                found[head.name] = Answered(
                    np.array([shown[j] for j in known]),
                    [self.labels[head.name][shown[j]] for j in known],
                    {
                        key: np.array([_plain(answers[j][key]) for j in known])
                        for key in head.judged
                    },
                )
        return found

    def metrics(self, subset: tuple[str, ...]) -> dict[str, Any]:
        """`examples` and each metric; HEAD/METRIC where there are several heads."""
        return self._metrics_of(self.answered[subset], self.counts[subset])

    def _metrics_of(
        self, answered: Mapping[str, Answered], examples: int
    ) -> dict[str, Any]:
        out: dict[str, Any] = {"examples": examples}
        for head in self.heads:
            one = answered.get(head.name)
            if one is None:
                continue
            prefix = "" if len(self.heads) == 1 else f"{head.name}/"
            for name, value in head.metrics(one.labels, one.answers).items():
                out[prefix + name] = value
        return out

    def metrics_by_slices(self) -> dict[str, dict[str, Any]]:
        """ "sex = f, site = a" -> metrics with all inputs on the rows that have those.

        Of each of `evaluation.slices` in turn, its values in order. A row that lacks one
        of the columns is in none of its slices.
        """
        out = {}
        for columns in self.config.evaluation.slices:
            places: dict[tuple[str, ...], set[int]] = {}
            for i, row in enumerate(self.rows):
                if all(column in row.slices for column in columns):
                    values = tuple(row.slices[column] for column in columns)
                    places.setdefault(values, set()).add(i)
            for values, rows in sorted(places.items()):
                pairs = zip(columns, values, strict=True)
                name = ", ".join(f"{column} = {value}" for column, value in pairs)
                some = {
                    head: found
                    for head, one in self.answered[self.everything].items()
                    if (found := one.of(rows)) is not None
                }
                out[name] = self._metrics_of(some, len(rows))
        return out

    @property
    def everything(self) -> tuple[str, ...]:
        """All inputs."""
        return tuple(sorted(self.names))

    def row_scores(
        self, head: Head[Any], subset: tuple[str, ...], metric: str | None = None
    ) -> np.ndarray:
        """A metric of the head, float64 [rows]; NaN for rows without a share."""
        out = np.full(len(self.rows), np.nan)
        one = self.answered[subset].get(head.name)
        if one is not None:
            out[one.rows] = head.row_scores(one.labels, one.answers, metric)
        return out

    def against_constant(self, head: Head[Any]) -> AgainstConstant | None:
        """The head with all inputs against the best constant answer."""
        one = self.answered[self.everything].get(head.name)
        if one is None:
            return None
        groups = self.groups()
        return against_constant(
            head,
            main_metric(self.config, head.config),
            one.labels,
            one.answers,
            [groups[i] for i in one.rows],
            self.config.seed,
        )

    def groups(self) -> list[str]:
        """What the bootstrap draws together."""
        return [row.group or f"row:{row.id}" for row in self.rows]

    def value(self, head: Head[Any]) -> Value | None:
        """What each input is worth to a head; None where no row judges it.

        Every subset is judged on the same rows: those that have every input or, where
        they are few, all. A row that has none of a subset's inputs gets what needs no
        input, as the empty subset does; see `Head.completed`.
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
        metric = main_metric(self.config, head.config)
        mine = [labels[i] for i in rows]
        whole = self._completed(head, self.everything, rows, metric)
        constant = head.constant_scores(mine, whole, metric)
        scores = {frozenset[str](): constant}
        for subset in (*self.answered, *self.between):
            answers = self._completed(head, subset, rows, metric)
            found = head.row_scores(mine, answers, metric)
            scores[frozenset(subset)] = np.where(np.isfinite(found), found, constant)
        groups = self.groups()
        return value_of_inputs(
            scores,
            self.names,
            head=head.name,
            metric=metric,
            higher=head.directions[metric],
            complete=enough,
            groups=[groups[i] for i in rows],
            seed=self.config.seed,
            of_mean=lambda mean: head.of_mean(metric, mean),
            needs=head.needs,
            orders=self.orders,
        )

    def _completed(
        self, head: Head[Any], subset: tuple[str, ...], rows: np.ndarray, metric: str
    ) -> dict[str, np.ndarray]:
        """Answers to `rows`, whether or not they have any of a subset's inputs."""
        mine = [self.labels[head.name][i] for i in rows]
        one = {**self.answered, **self.between}[subset].get(head.name)
        if one is None:
            return head.constant_answers(mine, metric)
        place = {int(row): j for j, row in enumerate(one.rows)}
        shown = np.array([int(i) in place for i in rows])
        at = [place[int(i)] for i in rows if int(i) in place]
        answers = {key: value[at] for key, value in one.answers.items()}
        return head.completed(mine, answers, shown, metric)


def _plain(answer: Any) -> Any:
    """Scores by class, as a client gives them, in the order of the classes."""
    return list(answer.values()) if isinstance(answer, dict) else answer
