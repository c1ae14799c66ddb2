"""What is found on the selection split: thresholds of abstention, and too few rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from trainer.schema import fraction, option, positive

MIN_CALIBRATION_ROWS = 50
"""Fewer labelled rows of the selection split give no temperature and no threshold."""

_CONFIDENCE = 0.95


def chance_of_each_try(rows: int, confidence: float) -> float:
    """Chance of being wrong that the search for a risk allows each of its bounds.

    Halving the ways to answer none, one, ... or all of n rows takes ceil(log2(n + 1))
    bounds, which together may be wrong with 1 - confidence (Bonferroni).
    """
    return (1 - confidence) / max(1, rows.bit_length())


def rows_without_error(risk: float, chance: float) -> int:
    """Least n with (1 - risk)^n <= chance: fewer right answers show no such risk.

    Args:
        risk: above 0, below 1.
        chance: above 0.
    """
    return math.ceil(math.log(chance) / math.log1p(-risk))


def rows_for_risk(risk: float, confidence: float) -> int:
    """Least rows on which a search can find anything, if all answers are right."""
    rows, before = 1, 0
    while rows != before:
        before = rows
        chance = chance_of_each_try(rows, confidence)
        rows = max(rows, rows_without_error(risk, chance))
    return rows


@dataclass(frozen=True)
class FoundThreshold:
    """A threshold found on the selection split, for each set of inputs; give one key."""

    coverage: float | None = option(None, "Share of the rows that are answered.")
    risk: float | None = option(
        None,
        "Share of the answered rows that may be wrong; as many are answered as can,"
        " with a bound on the risk itself, not on what is seen of it (Geifman and"
        " El-Yaniv 2017).",
    )
    confidence: float = option(
        _CONFIDENCE,
        "Chance, over the draw of the selection rows, that the threshold keeps the risk.",
    )

    def problems(self) -> Iterator[str]:
        yield from fraction(self, "coverage", below_one=False)
        yield from positive(self, "coverage")
        yield from fraction(self, "risk")
        yield from positive(self, "risk")
        yield from fraction(self, "confidence")
        yield from positive(self, "confidence")
        if (self.coverage is None) == (self.risk is None):
            yield "give either coverage or risk."
        elif self.risk is None and self.confidence != _CONFIDENCE:
            yield "confidence: belongs to risk; remove it beside coverage."

    def asked(self) -> dict[str, float]:
        """The keys that say what the threshold is found for."""
        if self.coverage is not None:
            return {"coverage": self.coverage}
        assert self.risk is not None
        return {"risk": self.risk, "confidence": self.confidence}

    @property
    def min_rows(self) -> int:
        """Fewer labelled selection rows cannot show it, even if all answers are right."""
        if self.risk is None:
            return MIN_CALIBRATION_ROWS
        return max(MIN_CALIBRATION_ROWS, rows_for_risk(self.risk, self.confidence))

    def too_few(self, rows: int) -> str | None:
        """Why so many labelled selection rows do not do; None where they do."""
        if rows >= self.min_rows:
            return None
        asked = ", ".join(f"{key} {value:g}" for key, value in self.asked().items())
        return (
            f"fewer than {self.min_rows:,} labelled rows are in the selection split to"
            f" find it on, which {asked} takes at least. Received: {rows:,}. Give a"
            " number, ask for less, or more rows (data.split.selection_fraction)."
        )


def found_threshold(head: Any) -> FoundThreshold | None:
    """What a head's threshold of abstention is to be found for, if it is to be found.

    Args:
        head: the head's config.
    """
    wanted = getattr(head, "abstain_below", None)
    return wanted if isinstance(wanted, FoundThreshold) else None


def uncalibrated_warning(head: Any, selection_fraction: float) -> str | None:
    """What is said of a head without a temperature; None where that is meant.

    Args:
        head: the head's config.
        selection_fraction: of `data.split`.
    """
    if not getattr(head, "calibrate", False):
        return None
    return (
        f"heads[{head.name}]: SCORES ARE NOT CALIBRATED, a score of 0.9 need not be"
        f" right 9 times in 10: fewer than {MIN_CALIBRATION_ROWS} labelled rows are in"
        f" the selection split (data.split.selection_fraction: {selection_fraction:g});"
        f" give it more, or say `calibrate: false` if this is meant."
    )
