"""How often the drift monitor alarms: without a reason, and with one.

    python benchmarks/drift_false_alarms.py [--repeats 200] [--json FILE]

Each repeat draws a baseline and logged rows from the same made-up source of 72 columns:
numbers (normal, skewed, counts, mostly zero), categories (three, and five hundred with
a long tail), missing values, classes, scores, and five embeddings of nine columns. It
then compares them as `polymodal monitor` does, with the default thresholds, and with
thresholds of 0, which leave only what chance explains: there `false_alarm_rate` is put
to the test. The same source shifted says what is found. Minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# This folder's serving.py would stand before the package of that name.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table as RichTable  # noqa: E402

from pipeline.monitor_bins import Bins, category_bins, numeric_bins  # noqa: E402
from pipeline.monitor_rows import MISSING, PRESENT, Column, Value  # noqa: E402
from pipeline.monitor_statistics import compare, statistics_of  # noqa: E402
from trainer.config import MonitoringConfig  # noqa: E402

Draw = Callable[[np.random.Generator, int], Any]
NOISE_ALONE = MonitoringConfig(
    missing_rate=0, numeric=0, categorical=0, label=0, score=0, embedding=0
)
_TAIL = 1 / np.arange(1, 501)


@dataclass(frozen=True)
class Source:
    """Where rows come from.

    Attributes:
        shift: of all numbers, in standard deviations of the normal ones.
        points: how much more often an input is missing, and the first class answered.
    """

    shift: float = 0.0
    points: float = 0.0

    def draws(self) -> dict[Column, Draw]:
        """How each column's values are drawn."""
        found: dict[Column, Draw] = {}
        numbers: list[Draw] = [
            lambda rng, n: rng.normal(self.shift, 1, n),
            lambda rng, n: rng.lognormal(self.shift, 1, n),
            lambda rng, n: rng.poisson(4 + 2 * self.shift, n),
            lambda rng, n: rng.normal(self.shift, 1, n) * (rng.random(n) < 0.3),
        ]
        for i in range(12):
            found[Column("numeric", f"n{i}")] = numbers[i % 4]
        for i, share in enumerate((0.01, 0.05, 0.1, 0.3, 0.5, 0.6)):
            found[Column("missing", f"m{i}")] = self._missing(share + self.points)
        for i in range(3):
            found[Column("categorical", f"few{i}")] = self._names([0.5, 0.3, 0.2])
            found[Column("categorical", f"many{i}")] = self._names(_TAIL / _TAIL.sum())
        shares = np.full(9, (0.9 - self.points) / 9)
        found[Column("label", "class")] = self._names([0.1 + self.points, *shares])
        found[Column("score", "class")] = lambda rng, n: rng.beta(8 - self.shift, 2, n)
        found[Column("score", "price")] = numbers[1]
        for i in range(5):
            for axis in range(9):
                column = Column("embedding", f"e{i}", f"axis {axis}")
                found[column] = numbers[0]
        return found

    @staticmethod
    def _missing(share: float) -> Draw:
        return lambda rng, n: np.where(rng.random(n) < share, MISSING, PRESENT)

    @staticmethod
    def _names(shares: Any) -> Draw:
        names = np.array([f"c{i}" for i in range(len(shares))])
        return lambda rng, n: rng.choice(names, n, p=shares)


def alarms(
    source: Source, baseline: int, logged: int, monitoring: MonitoringConfig, seed: int
) -> set[str]:
    """Kinds that alarm in one comparison."""
    rng = np.random.default_rng(seed)
    before: dict[Column, list[Value]] = {}
    now: dict[Column, list[Value]] = {}
    bins: dict[Column, Bins] = {}
    shifted = source.draws()
    for column, draw in Source().draws().items():
        before[column] = draw(rng, baseline).tolist()
        now[column] = shifted[column](rng, logged).tolist()
        if isinstance(before[column][0], str):
            # Of other rows, as the pipeline takes them from the train split.
            bins[column] = category_bins(draw(rng, 500).tolist())
        else:
            bins[column] = numeric_bins(before[column])  # type: ignore[arg-type]
    checks = compare(
        statistics_of(before, bins), statistics_of(now, bins), bins, monitoring
    )
    return {check.kind for check in checks if check.verdict == "drift"}


def measure(repeats: int, console: Console) -> dict[str, Any]:
    """Shares of runs with an alarm, by sizes; prints them as it goes."""
    sizes = [(b, n) for b in (75, 300, 1000) for n in (100, 300, 1000)]
    unchanged = RichTable(title=f"runs with any false alarm, of {repeats}")
    for name in ("baseline rows", "logged rows", "thresholds 0", "default thresholds"):
        unchanged.add_column(name, justify="right")
    found: dict[str, Any] = {"repeats": repeats, "false": [], "true": []}
    for baseline, logged in sizes:
        counts = [
            sum(
                bool(alarms(Source(), baseline, logged, monitoring, seed))
                for seed in range(repeats)
            )
            for monitoring in (NOISE_ALONE, MonitoringConfig())
        ]
        unchanged.add_row(str(baseline), str(logged), *map(str, counts))
        found["false"].append([baseline, logged, *counts])
    console.print(unchanged)
    kinds = ("missing", "label", "numeric", "embedding", "score")
    power = RichTable(title="share of runs in which a shift alarms, by kind")
    for name in ("shift", "points", "baseline rows", "logged rows", *kinds):
        power.add_column(name, justify="right")
    runs = max(repeats // 5, 1)
    for source in (Source(0.5, 0.1), Source(0.75, 0.2), Source(1.0, 0.3)):
        for baseline, logged in sizes[::4]:
            fired = [
                alarms(source, baseline, logged, MonitoringConfig(), seed)
                for seed in range(runs)
            ]
            shares = [sum(kind in one for one in fired) / runs for kind in kinds]
            row = [source.shift, source.points, baseline, logged]
            power.add_row(*map(str, row), *(f"{share:.2f}" for share in shares))
            found["true"].append([*row, dict(zip(kinds, shares, strict=True))])
    console.print(power)
    return found


def main() -> None:
    """Measures, prints and, where asked, writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--json", help="file to write the figures to")
    options = parser.parse_args()
    found = measure(options.repeats, Console())
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
