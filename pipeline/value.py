"""What each input is worth to a model: metrics of all input subsets, Shapley values.

An input's value is the mean of what the metric gains by it, over all orders in which
the inputs could be added (Shapley 1953; `serving.shapley`). The values add up to what
all inputs reach above the best constant answer, which stands for the set without any
input: a model never learns from rows without inputs, and what it says to one is chance.

That takes 2^n sets of n inputs. Of more than `MAX_EXACT` inputs some orders are drawn and
the gains along them averaged (Castro, Gomez and Tejada 2009, "Polynomial calculation of
the Shapley value based on sampling"), each with its reverse (antithetic, Mitchell et al.
2022): a number of sets that grows with n alone, and an error that is told.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.bootstrap import Estimate, in_words, resample
from serving.shapley import shapley
from trainer.features import subset_name

Subset = frozenset[str]

MAX_EXACT = 6
"""So many inputs have 63 sets that are all judged."""

PAIRS = 8
"""Drawn orders of more inputs, each with its reverse."""

_WIDTH = 1.96
"""Standard errors from the middle to the ends of a normal 95 % interval."""


def drawn_orders(names: Sequence[str], seed: int) -> list[tuple[str, ...]]:
    """Orders of the inputs, the same for the same seed: each stands before its reverse."""
    random = np.random.default_rng(seed)
    out = []
    for _ in range(PAIRS):
        order = tuple(np.array(sorted(names))[random.permutation(len(names))].tolist())
        out += [order, order[::-1]]
    return out


def prefixes(orders: Iterable[Sequence[str]]) -> Iterator[tuple[str, ...]]:
    """The sets of inputs that orders run through, sorted names each, none twice."""
    seen = set()
    for order in orders:
        for size in range(1, len(order)):
            subset = tuple(sorted(order[:size]))
            if subset not in seen:
                seen.add(subset)
                yield subset


@dataclass(frozen=True)
class Value:
    """What the inputs are worth to one head.

    Attributes:
        head, metric: the head's main metric is what is shared out.
        higher: whether a higher metric is better.
        examples: rows on which every subset was judged.
        complete: True = rows that have every input; False = all rows, for too few
            have every input.
        subsets: metric of each subset that is reported; the empty one is the best
            constant answer.
        shapley: input -> its value, in units of the metric; above 0 = it helps.
        permutations: drawn orders of the inputs; None = all of them, exactly.
        permutation_se: input -> what of its value's standard error the draw of the
            orders makes; it is in the interval, too. Empty where all orders count.
        best_single: the best input alone; None with one input.
        gain: all inputs less the best alone; above 0 = better.
        says: what the gain is, in words.
        warning: loud words where fusion does not beat the best single input.
        harms: a sentence for each input with which the head does worse.
        notes: a sentence for each input that does not matter, as far as can be told.
    """

    head: str
    metric: str
    higher: bool
    examples: int
    complete: bool
    subsets: dict[Subset, Estimate]
    shapley: dict[str, Estimate]
    permutations: int | None = None
    permutation_se: Mapping[str, float] = field(default_factory=dict)
    best_single: str | None = None
    gain: Estimate | None = None
    says: str = ""
    warning: str = ""
    harms: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

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
            "permutations": self.permutations,
            "shapley": {
                name: one.plain()
                | (
                    {"permutation_se": self.permutation_se[name]}
                    if name in self.permutation_se
                    else {}
                )
                for name, one in self.shapley.items()
            },
            "best_single": self.best_single,
            "fusion_gain": self.gain.plain() if self.gain is not None else None,
            "says": self.says,
            "warning": self.warning,
            "harms": list(self.harms),
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
    of_mean: Callable[[Any], Any] = lambda mean: mean,
    needs: Sequence[str] = (),
    orders: Sequence[Sequence[str]] | None = None,
) -> Value:
    """Shares a metric out among the inputs.

    Args:
        scores: every subset of `inputs`, the empty one too -> float [rows], the same
            rows in all: the metric is their mean; NaN is a row without a share. With
            `orders` the empty set, each input alone, all, and `prefixes(orders)`.
        groups: [rows], see `bootstrap.resample`.
        of_mean: what the metric is of the mean of the rows' scores.
        needs: inputs without any one of which nothing is judged: none of them is said
            to be better or worse alone.
        orders: of `drawn_orders`, for more than `MAX_EXACT` inputs.
    """
    order = list(scores)
    drawn = resample(
        np.stack([scores[one] for one in order]), groups, seed, of_mean=of_mean
    )
    sign = 1.0 if higher else -1.0
    # Shapley values are sums and products: of 2,000 resamples as of one number.
    at_once: Any = {
        one: sign * np.append(drawn.samples[:, i], drawn.values[i])
        for i, one in enumerate(order)
    }
    draw_error: dict[str, float] = {}
    if orders is None:
        shares: dict[str, Any] = shapley(at_once, list(inputs))
    else:
        shares, draw_error = _along(orders, at_once)
    parts = {
        name: _widened(
            drawn.estimate(shares[name][-1], shares[name][:-1]), draw_error.get(name)
        )
        for name in inputs
    }
    alone = {frozenset([name]) for name in inputs} | {frozenset(), frozenset(inputs)}
    found = Value(
        head, metric, higher, len(next(iter(scores.values()))), complete,
        {
            one: drawn.model(i)
            for i, one in enumerate(order)
            if orders is None or one in alone
        },
        parts,
        permutations=None if orders is None else len(orders),
        permutation_se=draw_error,
    )  # fmt: skip
    if len(inputs) == 1:
        return found
    found = dataclasses.replace(
        found,
        harms=tuple(
            f"{name} harms {metric}: the head does worse with it {_figures(part)}"
            for name, part in parts.items()
            if part.beyond_noise < 0
        ),
        notes=tuple(
            f"{name} adds nothing to {metric} that could be told from noise"
            f" {_figures(part)}"
            for name, part in parts.items()
            if np.isfinite(part.value) and not part.beyond_noise
        ),
    )
    if needs:
        several = f"{', '.join(needs[:-1])} and {needs[-1]}"
        return dataclasses.replace(
            found,
            says=f"{metric} is judged of {several} together: none of them can be judged"
            " alone, and they share what all reach above chance",
        )
    return _with_fusion(found, drawn, order, inputs)


def _along(
    orders: Sequence[Sequence[str]], value: Mapping[Subset, Any]
) -> tuple[dict[str, Any], dict[str, float]]:
    """Mean gains along orders, and the standard error that drawing the orders makes.

    Args:
        orders: each before its reverse.
        value: v, of every set that the orders run through; arrays, the last element is
            that of the rows themselves.
    """
    gains: dict[str, list[Any]] = {name: [] for name in orders[0]}
    for order in orders:
        so_far: Subset = frozenset()
        for name in order:
            gains[name].append(value[so_far | {name}] - value[so_far])
            so_far |= {name}
    shares, errors = {}, {}
    for name, along in gains.items():
        shares[name] = np.mean(along, axis=0)
        # An order and its reverse are one draw.
        pairs = np.array([one[-1] for one in along]).reshape(-1, 2).mean(1)
        errors[name] = float(pairs.std(ddof=1) / np.sqrt(len(pairs)))
    return shares, errors


def _widened(part: Estimate, error: float | None) -> Estimate:
    """An estimate whose standard error and interval hold a further error."""
    if error is None:
        return part
    low = part.value - np.hypot(part.value - part.low, _WIDTH * error)
    high = part.value + np.hypot(part.high - part.value, _WIDTH * error)
    return dataclasses.replace(
        part, se=float(np.hypot(part.se, error)), low=float(low), high=float(high)
    )


def _figures(part: Estimate) -> str:
    return (
        f"(Shapley value {part.value:+.4f}, 95 % interval {part.low:+.4f} to"
        f" {part.high:+.4f})"
    )


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
        gain = gain.opposite()
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
