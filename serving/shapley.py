"""The part that each input played in an answer: exact Shapley values.

An answer is asked for every set of a row's inputs; an input's part is its mean gain over
all orders in which the inputs could have come (Shapley 1953; Lundberg and Lee 2017 for
its use here). The parts add up to the answer with all inputs less that with none, which
is well defined: a model takes rows without any input.
"""

import itertools
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

MAX_PARTS = 8
"""2^8 rows are asked at most: more would be slower than a person waits."""


def subsets(parts: Sequence[Hashable]) -> list[frozenset[Hashable]]:
    """Every set of the parts, the empty one first."""
    return [
        frozenset(chosen)
        for size in range(len(parts) + 1)
        for chosen in itertools.combinations(parts, size)
    ]


def shapley(
    value: Mapping[frozenset[Hashable], float], parts: Sequence[Hashable]
) -> dict[Any, float]:
    """Part -> its Shapley value.

    phi_i = sum over S without i of |S|! (n - |S| - 1)! / n! (v(S + i) - v(S)).

    Args:
        value: v, for every set of `parts`.
    """
    n = len(parts)
    out = {}
    for part in parts:
        rest = [one for one in parts if one != part]
        out[part] = sum(
            math.factorial(len(without))
            * math.factorial(n - len(without) - 1)
            / math.factorial(n)
            * (value[without | {part}] - value[without])
            for without in subsets(rest)
        )
    return out


def explained(
    row: Mapping[str, Any],
    groups: Mapping[str, Sequence[str]],
    ask: Callable[[list[dict[str, Any]]], list[float]],
) -> dict[str, float]:
    """Group of inputs -> its part in what `ask` gives for the row.

    Args:
        row: input name -> value; what is absent is no part.
        groups: name of a part -> the inputs that come and go together.
        ask: rows -> one number each.

    Raises:
        ValueError: more than MAX_PARTS groups are present.
    """
    present = [name for name, keys in groups.items() if any(k in row for k in keys)]
    if len(present) > MAX_PARTS:
        raise ValueError(
            f"{len(present)} inputs are given; the parts are told of {MAX_PARTS} at most"
        )
    chosen = subsets(present)
    rows = [
        {k: row[k] for name in one for k in groups[str(name)] if k in row}
        for one in chosen
    ]
    return shapley(dict(zip(chosen, ask(rows), strict=True)), present)
