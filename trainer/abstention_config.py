"""When a head abstains: a threshold that is found rather than given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trainer.schema import fraction, option, positive

MIN_CALIBRATION_ROWS = 50
"""Fewer labelled rows of the selection split give no temperature and no threshold."""

TOO_FEW_ROWS = (
    f"fewer than {MIN_CALIBRATION_ROWS} labelled rows are in the selection split to find"
    " it on; give a number, or more rows (data.split.selection_fraction)."
)


@dataclass(frozen=True)
class FoundThreshold:
    """A threshold found on the selection split, for each set of inputs; give one key."""

    coverage: float | None = option(None, "Share of the rows that are answered.")
    risk: float | None = option(
        None,
        "Share of the answered rows that may be wrong; as many are answered as can.",
    )

    def problems(self) -> Iterator[str]:
        yield from fraction(self, "coverage", below_one=False)
        yield from positive(self, "coverage")
        yield from fraction(self, "risk")
        if (self.coverage is None) == (self.risk is None):
            yield "give either coverage or risk."
