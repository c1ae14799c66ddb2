"""From which difference on logged requests count as drifted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trainer.schema import fraction, option, positive


@dataclass(frozen=True)
class MonitoringConfig:
    """How far requests may differ from the rows that judged the model.

    Each threshold is a size of effect between 0 and 1, whatever the number of rows; 1
    switches a check off. What chance alone explains never alarms: see
    `false_alarm_rate`.
    """

    missing_rate: float = option(
        0.1, "Change of the share of rows that lack an input or a column: ten points."
    )
    numeric: float = option(
        0.05,
        "Divergence (Jensen-Shannon, bits) of numbers, text lengths, picture sizes and"
        " seconds: a shift by 0.55 standard deviations, a little more than what the"
        " population stability index calls major (0.25).",
    )
    categorical: float = option(0.1, "Change of one category's share: ten points.")
    label: float = option(
        0.1, "Change of one class's share among the answers: ten points."
    )
    score: float = option(
        0.05, "Divergence of the highest score, or of the number that is predicted."
    )
    embedding: float = option(
        0.05, "Divergence along any of the embedding's principal axes, per input."
    )
    min_rows: int = option(
        100, "Fewer rows than this are not judged: they could show only a landslide."
    )
    false_alarm_rate: float = option(
        0.01,
        "Chance that any check at all alarms in one run though nothing has changed; it"
        " raises the thresholds where rows are few.",
    )

    def problems(self) -> Iterator[str]:
        yield from fraction(
            self, "missing_rate", "numeric", "categorical", "label", "score",
            "embedding", below_one=False,
        )  # fmt: skip
        yield from positive(self, "min_rows", "false_alarm_rate")
        yield from fraction(self, "false_alarm_rate")
