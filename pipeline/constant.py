"""A model against what needs no input: the frequent class, the median, chance.

A model that is worse than that has learned something false, whatever its figure looks
like: of a class that 90 % of the rows have, 0.85 is a bad accuracy.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from pipeline.bootstrap import LEVEL, MIN_UNITS, Estimate, resample
from trainer.heads import Head

_ROUNDING = 1e-6
"""Answers are float32: such a share of a metric may be lost by rounding, in all rows."""

FEWEST = 6
"""Of five units alike, 2 of 2^5 choices of signs are as far from 0: p = 0.06."""

ALLOW = "evaluation.allow_worse_than_constant"


def paired(
    head: Head[Any],
    metric: str,
    scores: np.ndarray,
    others: np.ndarray,
    groups: Sequence[Hashable],
    seed: int,
) -> tuple[Estimate, Estimate, Estimate]:
    """Two answers to the same rows, on the same draws of them.

    Args:
        metric: one of the head's `row_metrics`.
        scores, others: float [rows], of `Head.row_scores`; NaN in either = no share.
        groups: [rows], what the bootstrap draws together.

    Returns:
        The metric of the one, of the other, and by how much the one is better (above 0)
        or worse, whichever way the metric points.
    """
    kept = np.isfinite(scores) & np.isfinite(others)
    if not kept.any():
        nothing = Estimate(float("nan"), 0.0, float("nan"), float("nan"), 0)
        return nothing, nothing, nothing
    drawn = resample(
        np.stack([scores[kept], others[kept]]),
        [one for one, k in zip(groups, kept, strict=True) if k],
        seed,
        of_mean=lambda mean: head.of_mean(metric, mean),
    )
    one, other, gain = drawn.model(0), drawn.model(1), drawn.difference(0, 1)
    if abs(gain.value) <= _ROUNDING * max(abs(one.value), abs(other.value)):
        gain = replace(
            gain, value=0.0, low=min(gain.low, 0.0), high=max(gain.high, 0.0),
            p=None if gain.p is None else 1.0,
        )  # fmt: skip
    return one, other, gain if head.directions[metric] else gain.opposite()


@dataclass(frozen=True)
class AgainstConstant:
    """One head, with all inputs, against the best constant answer on the same rows.

    Attributes:
        head, metric: the head's main metric is what is compared.
        higher: whether a higher metric is better.
        words: what the constant answer is, such as "the most frequent class".
        examples: how many have a share in the metric.
        scored: what they are: rows or, of a ranking, lists.
        model, constant: the metric of each.
        gain: by how much the model is better; below 0 = worse.
    """

    head: str
    metric: str
    higher: bool
    words: str
    examples: int
    scored: str
    model: Estimate
    constant: Estimate
    gain: Estimate

    @property
    def verdict(self) -> Literal["better", "not better", "worse"]:
        """better or worse where that can be told from noise, else not better."""
        beyond = self.gain.beyond_noise
        return "better" if beyond > 0 else "worse" if beyond < 0 else "not better"

    @property
    def says(self) -> str:
        """One sentence, which begins with the verdict where that is bad."""
        loud = "" if self.verdict == "better" else self.verdict.upper()
        told = f"{LEVEL:.0%} interval of the gain {self.gain.low:+.4f} to"
        told += f" {self.gain.high:+.4f}"
        if self.gain.units < MIN_UNITS:
            told = (
                f"exact test on {self.gain.units} independent {self.scored} or groups"
            )
            told += f": p = {self.gain.p:.2g}"
        return (
            f"{loud and loud + ' THAN THE CONSTANT ANSWER: '}{self.head}: {self.metric}"
            f" {self.model.value:.4f} is {self.verdict} than the"
            f" {self.constant.value:.4f} of {self.words} on the same"
            f" {self.examples:,} {self.scored} ({told})"
        )

    def plain(self) -> dict[str, Any]:
        """For summary.json."""
        return {
            "head": self.head,
            "metric": self.metric,
            "higher_is_better": self.higher,
            "examples": self.examples,
            "constant_answer": self.words,
            "model": self.model.plain(),
            "constant": self.constant.plain(),
            "gain": self.gain.plain(),
            "verdict": self.verdict,
            "says": self.says,
        }


def against_constant(
    head: Head[Any],
    metric: str,
    labels: Sequence[Any],
    answers: dict[str, np.ndarray],
    groups: Sequence[Hashable],
    seed: int,
) -> AgainstConstant | None:
    """Compares a model's answers with the constant answer; None where nothing is judged.

    Args:
        metric: one of the head's `row_metrics`.
        labels, answers: as `Head.metrics` takes them.
        groups: [rows], what the bootstrap draws together. Of fewer than `FEWEST` groups
            nothing could ever be told, and any model would pass: then each row counts by
            itself.
    """
    if not len(labels):
        return None
    scores = head.row_scores(labels, answers, metric)
    constant = head.constant_scores(labels, answers, metric)
    model, other, gain = paired(head, metric, scores, constant, groups, seed)
    if gain.units < FEWEST:
        rows = range(len(labels))
        model, other, gain = paired(head, metric, scores, constant, rows, seed)
    if not gain.units:
        return None
    return AgainstConstant(
        head.name,
        metric,
        head.directions[metric],
        head.constant_in_words(metric),
        int(np.isfinite(scores).sum()),
        head.scored,
        model,
        other,
        gain,
    )
