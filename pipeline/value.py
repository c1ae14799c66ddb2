"""What each input is worth to a model: metrics of all input subsets, Shapley values.

An input's value is the mean of what the metric gains by it, over all orders in which
the inputs could be added (Shapley 1953; `serving.shapley`). The values add up to what
all inputs reach above the best constant answer, which stands for the set without any
input: a model never learns from rows without inputs, and what it says to one is chance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.bootstrap import Estimate, in_words, resample
from serving.shapley import shapley
from trainer.features import subset_name

Subset = frozenset[str]


@dataclass(frozen=True)
class Value:
    """What the inputs are worth to one head.

    Attributes:
        head, metric: the head's main metric is what is shared out.
        higher: whether a higher metric is better.
        examples: rows on which every subset was judged.
        complete: True = rows that have every input; False = all rows, for too few
            have every input.
        subsets: metric of each subset; the empty one is the best constant answer.
        shapley: input -> its value, in units of the metric; above 0 = it helps.
        best_single: the best input alone; None with one input.
        gain: all inputs less the best alone; above 0 = better.
        says: what the gain is, in words.
        warning: loud words where fusion does not beat the best single input.
    """

    head: str
    metric: str
    higher: bool
    examples: int
    complete: bool
    subsets: dict[Subset, Estimate]
    shapley: dict[str, Estimate]
    best_single: str | None = None
    gain: Estimate | None = None
    says: str = ""
    warning: str = ""
    notes: tuple[str, ...] = field(default=())

    def plain(self) -> dict[str, Any]:
        """For summary.json."""
        empty, *others = sorted(self.subsets, key=lambda s: (len(s), sorted(s)))
        return {
            "head": self.head,
            "metric": self.metric,
            "higher_is_better": self.higher,
            "examples": self.examples,
            "rows": "with every input" if self.complete else "all",
            "constant_answer": self.subsets[empty].plain(),
            "subsets": {
                subset_name(sorted(s)): self.subsets[s].plain() for s in others
            },
            "shapley": {name: one.plain() for name, one in self.shapley.items()},
            "best_single": self.best_single,
            "fusion_gain": self.gain.plain() if self.gain is not None else None,
            "says": self.says,
            "warning": self.warning,
            "notes": list(self.notes),
        }


def value_of_inputs(
    scores: Mapping[Subset, np.ndarray],
    inputs: Sequence[str],
    *,
    head: str,
    metric: str,
    higher: bool,
    complete: bool,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> Value:
    """Shares a metric out among the inputs.

    Args:
        scores: every subset of `inputs`, the empty one too -> float [rows], the same
            rows in all: the metric is their mean; NaN is a row without a share.
        groups: [rows], see `bootstrap.resample`.
    """
    order = list(scores)
    drawn = resample(np.stack([scores[one] for one in order]), groups, seed)
    sign = 1.0 if higher else -1.0
    # Shapley values are sums and products: of 2,000 resamples as of one number.
    at_once: Any = {
        one: sign * np.append(drawn.samples[:, i], drawn.values[i])
        for i, one in enumerate(order)
    }
    shares: dict[str, Any] = shapley(at_once, list(inputs))
    parts = {n: drawn.estimate(one[-1], one[:-1]) for n, one in shares.items()}
    subsets = {one: drawn.model(i) for i, one in enumerate(order)}
    notes = tuple(
        f"{name} adds nothing to {metric} that could be told from noise (Shapley value"
        f" {part.value:+.4f}, 95 % interval {part.low:+.4f} to {part.high:+.4f})"
        for name, part in parts.items()
        if not (part.distinguishable and part.value > 0)
    )
    found = Value(
        head, metric, higher, len(next(iter(scores.values()))), complete, subsets, parts,
        notes=notes if len(inputs) > 1 else (),
    )  # fmt: skip
    if len(inputs) == 1:
        return found
    return _with_fusion(found, drawn, order, inputs)


def _with_fusion(
    found: Value, drawn: Any, order: Sequence[Subset], inputs: Sequence[str]
) -> Value:
    """Adds whether all inputs together beat the best of them alone."""

    def goodness(name: str) -> float:
        value = found.subsets[frozenset([name])].value
        return -np.inf if np.isnan(value) else value if found.higher else -value

    best = max(inputs, key=goodness)
    everything = order.index(frozenset(inputs))
    gain = drawn.difference(everything, order.index(frozenset([best])))
    if not found.higher:
        gain = dataclasses.replace(
            gain, value=-gain.value, low=-gain.high, high=-gain.low
        )
    said = in_words("fusion", f"{best} alone", gain, found.metric)
    warning = ""
    if not (gain.distinguishable and gain.value > 0):
        claim = "does not beat" if gain.value <= 0 else "cannot be said to beat"
        warning = (
            f"FUSION {claim.upper()} THE BEST SINGLE INPUT of head {found.head!r}:"
            f" {said}."
        )
    return dataclasses.replace(
        found, best_single=best, gain=gain, says=said, warning=warning
    )
