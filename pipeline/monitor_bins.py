"""Values to bins, so that every distribution is one over a few named categories.

TFDV compares numbers over ten buckets of equal width, which a single outlier stretches
until all other values share one. The baseline's deciles do not move that way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.monitor_rows import Value

_MOST_BINS = 10
_ROWS_PER_BIN = 10
_MOST_CATEGORIES = 50
_MOST_CHARACTERS = 100
OTHER = "(another)"


@dataclass(frozen=True)
class Bins:
    """The bins of one column: from `edges` on for numbers, else `categories`.

    Attributes:
        edges: ascending; bin i holds edges[i - 1] <= value < edges[i], the first what
            lies below all edges and the last what lies above.
        categories: all others share one bin.
    """

    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()

    def names(self, values: Sequence[Value]) -> list[str]:
        """The name of each value's bin."""
        if not self.edges:
            known = {name[:_MOST_CHARACTERS] for name in self.categories}
            cut = (str(value)[:_MOST_CHARACTERS] for value in values)
            return [value if value in known else OTHER for value in cut]
        edges = [f"{edge:.4g}" for edge in self.edges]
        middle = (
            low if low == high else f"{low} to {high}"
            for low, high in zip(edges, edges[1:], strict=False)
        )
        # Numbered: two edges may round to the same figures.
        names = [f"below {edges[0]}", *middle, f"above {edges[-1]}"]
        names = [f"{i}: {name}" for i, name in enumerate(names)]
        at = np.searchsorted(self.edges, np.asarray(values, np.float64), side="right")
        return [names[i] for i in at]

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        if self.edges:
            return {"edges": list(self.edges)}
        return {"categories": list(self.categories)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Bins:
        """The inverse of `to_json`."""
        return cls(
            tuple(map(float, found.get("edges", ()))),
            tuple(found.get("categories", ())),
        )


def numeric_bins(values: Sequence[float]) -> Bins:
    """Deciles of the values, fewer where a bin would hold less than ten rows.

    A value at either end that is repeated that often has a bin of its own: where all
    pictures were 28 pixels high, one of 224 is news. Elsewhere the first and the last
    bin reach to infinity: a bin for what lies beyond all values would be empty in the
    baseline and, by that choice, never in a second sample of the same source.
    """
    numbers = np.asarray(values, np.float64)
    count = int(np.clip(len(numbers) // _ROWS_PER_BIN, 2, _MOST_BINS))
    shares = np.arange(count + 1) / count
    # Values that occur, none in between: a point mass must not share its edge.
    low, *edges, high = np.quantile(numbers, shares, method="inverted_cdf")
    masses = [low] if low == edges[0] else []
    if high == edges[-1]:
        masses.append(np.nextafter(high, np.inf))
    return Bins(edges=tuple(float(edge) for edge in np.unique([*edges, *masses])))


def category_bins(values: Sequence[Value]) -> Bins:
    """The 50 most frequent values; cut where they are long.

    The values must come from other rows than the baseline's: what is rare in a sample
    is, by that choice, more frequent in the next one of the same source.
    """
    counts = Counter(str(value)[:_MOST_CHARACTERS] for value in values)
    most = counts.most_common(_MOST_CATEGORIES)
    return Bins(categories=tuple(sorted(name for name, _ in most)))
