"""What the values of one manifest column look like, in bounded memory."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from pipeline.content_memo import ContentMemo
from serving import media
from trainer.features import Feature

_MAX_CATEGORIES = 1000

_describe = ContentMemo(media.describe)


@dataclass
class Range:
    """Smallest, largest and mean of what was seen."""

    count: int = 0
    low: float = math.inf
    high: float = -math.inf
    total: float = 0.0

    def take(self, value: float) -> None:
        """Counts one value."""
        self.count += 1
        self.low, self.high = min(self.low, value), max(self.high, value)
        self.total += value

    def as_dict(self) -> dict[str, float]:
        """Count, smallest, largest and mean; of none the count alone."""
        if not self.count:
            return {"count": 0}
        mean = self.total / self.count
        return {"count": self.count, "low": self.low, "high": self.high, "mean": mean}

    def __str__(self) -> str:
        if not self.count:
            return "none"
        if self.low == self.high:
            return f"{self.low:g}"
        return f"{self.low:g} to {self.high:g}, mean {self.total / self.count:.4g}"


@dataclass
class Facts:
    """One stored feature: what it is called, and what its values are."""

    feature: Feature
    ranges: dict[str, Range] = field(default_factory=dict)
    tallies: dict[str, Counter[str]] = field(default_factory=dict)

    def take(self, value: bytes | str | float) -> None:
        """Takes one present value in: media as the file has it."""
        kind = self.feature.kind
        if isinstance(value, bytes):
            if kind in ("image", "images"):
                self._image(value)
            else:
                self._audio(value)
        elif isinstance(value, float):
            self._range("frames" if kind == "images" else "value", value)
        elif kind == "text":
            self._range("characters", len(value))
        else:
            self._tally("categories", value)

    def _image(self, value: bytes) -> None:
        found = _describe(value, "image")
        self._tally("formats", str(found["format"]).upper())
        self._tally("channels", str(found["channels"]))
        self._range("width", found["width"])
        self._range("height", found["height"])

    def _audio(self, value: bytes) -> None:
        found = _describe(value, "audio")
        self._tally("formats", str(found["format"]).upper())
        self._tally("rates (Hz)", str(found["sample_rate_hz"]))
        self._tally("channels", str(found["channels"]))
        if found["seconds"] is not None:
            self._range("seconds", found["seconds"])

    def _range(self, name: str, value: float) -> None:
        self.ranges.setdefault(name, Range()).take(value)

    def _tally(self, name: str, value: str) -> None:
        tally = self.tallies.setdefault(name, Counter())
        # Past the bound new values share one entry: memory must not follow them.
        tally[value if value in tally or len(tally) < _MAX_CATEGORIES else "..."] += 1

    def lines(self) -> list[str]:
        """What a person reads."""
        found = [f"{name} {values}" for name, values in self.ranges.items()]
        for name, tally in self.tallies.items():
            more = f" and {len(tally) - 5} more" if len(tally) > 5 else ""
            most = (f"{value[:30]} ({n:,})" for value, n in tally.most_common(5))
            found.append(f"{name}: {', '.join(most)}{more}")
        return found
