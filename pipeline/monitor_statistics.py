"""Tables of binned columns to TFDV statistics, and two of them compared by TFDV."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pipeline.monitor_bins import Bins
from pipeline.monitor_noise import floor_of_change, floor_of_divergence
from pipeline.monitor_rows import Column, Kind, Value
from trainer.config import MonitoringConfig

Table = Mapping[Column, list[Value]]
Counts = Mapping[str, Counter[str]]
Verdict = Literal["drift", "silent", "too few rows", "not logged"]

# Kinds whose bins are ordered and many are compared as a whole; the others by the one
# category that changed most, which is what a person asks about.
_AS_A_WHOLE: tuple[Kind, ...] = ("numeric", "score", "embedding")
# More classes than any head has: TFDV would leave out the rare ones.
_MOST_BINS = 100_000


@dataclass(frozen=True)
class Check:
    """One feature and kind, judged by the column that is nearest to its threshold.

    Attributes:
        kind: see `Column`.
        feature: see `Column`.
        part: of the column that is shown.
        verdict: whether it drifted, or why that is not known.
        rows: values of the column among the logged rows.
        baseline_rows: the same in the baseline.
        value: how far the two are apart, 0 to 1; None where it was not judged.
        threshold: what `value` was held to: the config's, or `noise` if that is more.
        noise: what chance alone makes of samples of these sizes.
        changed: the bin whose share changed most.
        before: its share in the baseline.
        now: its share among the logged rows.
    """

    kind: Kind
    feature: str
    part: str
    verdict: Verdict
    rows: int
    baseline_rows: int
    value: float | None = None
    threshold: float | None = None
    noise: float | None = None
    changed: str = ""
    before: float | None = None
    now: float | None = None


def table_of(rows: Iterable[Mapping[Column, Value]]) -> dict[Column, list[Value]]:
    """The values of each column; rows that lack one are not in it."""
    found: dict[Column, list[Value]] = {}
    for row in rows:
        for column, value in row.items():
            found.setdefault(column, []).append(value)
    return found


def statistics_of(table: Table, bins: Mapping[Column, Bins]) -> Any:
    """TFDV's DatasetFeatureStatisticsList: a categorical feature per column of `bins`."""
    import pandas as pd
    import tensorflow_data_validation as tfdv

    named = {
        str(column): bins[column].names(values)
        for column, values in table.items()
        if column in bins
    }
    # Columns differ in their number of values: what is short ends in missing ones.
    frame = pd.DataFrame({k: pd.Series(v, dtype=object) for k, v in named.items()})
    options = tfdv.StatsOptions(num_rank_histogram_buckets=_MOST_BINS)
    return tfdv.generate_statistics_from_dataframe(frame, options)


def counts_of(statistics: Any) -> Counts:
    """Column name -> bin -> rows."""
    return {
        feature.path.step[0]: Counter(
            {
                bucket.label: int(bucket.sample_count)
                for bucket in feature.string_stats.rank_histogram.buckets
            }
        )
        for feature in statistics.datasets[0].features
    }


def compare(
    baseline: Any, logged: Any, columns: Iterable[Column], monitoring: MonitoringConfig
) -> list[Check]:
    """Compares two statistics column by column.

    Args:
        baseline: TFDV's statistics of the baseline's rows.
        logged: the same of logged rows, over the same bins.
        columns: all columns of the baseline.
        monitoring: thresholds, and from how many rows on they count.

    Returns:
        One check for each kind and feature, in the order of `columns`.
    """
    columns = list(columns)
    before, now = counts_of(baseline), counts_of(logged)
    judged = [
        column
        for column in columns
        if sum(now.get(str(column), Counter()).values()) >= monitoring.min_rows
    ]
    # Each column gets its part of the chance of a false alarm (Šidák).
    chance = 1 - (1 - monitoring.false_alarm_rate) ** (1 / max(len(judged), 1))
    noise = {c: _noise(c, before[str(c)], now[str(c)], chance) for c in judged}
    thresholds = {c: max(_threshold(c.kind, monitoring), noise[c]) for c in judged}
    values, alarmed = _distances(baseline, logged, thresholds)
    groups: dict[tuple[Kind, str], list[Check]] = {}
    for column in columns:
        name = str(column)
        old, new = before[name], now.get(name, Counter())
        rows = sum(new.values())
        check = groups.setdefault((column.kind, column.feature), [])
        if column not in thresholds:
            verdict: Verdict = "too few rows" if rows else "not logged"
            check.append(Check(*column, verdict, rows, sum(old.values())))
            continue
        changed, share, share_now = _most_changed(old, new)
        check.append(
            Check(
                *column,
                "drift" if name in alarmed else "silent",
                rows,
                sum(old.values()),
                values[name],
                thresholds[column],
                noise[column],
                changed,
                share,
                share_now,
            )
        )
    return [max(group, key=_nearness) for group in groups.values()]


def _nearness(check: Check) -> float:
    if check.value is None or check.threshold is None:
        return -1.0
    return check.value / max(check.threshold, 1e-9)


def _threshold(kind: Kind, monitoring: MonitoringConfig) -> float:
    field = "missing_rate" if kind == "missing" else kind
    return float(getattr(monitoring, field))


def _aligned(old: Counter[str], new: Counter[str]) -> tuple[Any, Any, list[str]]:
    names = sorted({*old, *new})
    return np.array([old[n] for n in names]), np.array([new[n] for n in names]), names


def _noise(
    column: Column, old: Counter[str], new: Counter[str], chance: float
) -> float:
    left, right, _ = _aligned(old, new)
    whole = column.kind in _AS_A_WHOLE
    return (floor_of_divergence if whole else floor_of_change)(left, right, chance)


def _most_changed(old: Counter[str], new: Counter[str]) -> tuple[str, float, float]:
    left, right, names = _aligned(old, new)
    shares, shares_now = left / left.sum(), right / right.sum()
    # Rounded, so that of two that are alike the first is shown: missing, not present.
    at = int(np.argmax(np.abs(shares_now - shares).round(9)))
    return names[at], float(shares[at]), float(shares_now[at])


def _distances(
    baseline: Any, logged: Any, thresholds: Mapping[Column, float]
) -> tuple[dict[str, float], set[str]]:
    """TFDV's distance of each column, and the columns in which it sees an anomaly."""
    import tensorflow_data_validation as tfdv
    from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

    schema = schema_pb2.Schema()
    for column, threshold in thresholds.items():
        feature = schema.feature.add(name=str(column), type=schema_pb2.BYTES)
        comparator = feature.drift_comparator
        if column.kind in _AS_A_WHOLE:
            comparator.jensen_shannon_divergence.threshold = threshold
        else:
            comparator.infinity_norm.threshold = threshold
    found = tfdv.validate_statistics(logged, schema, previous_statistics=baseline)
    values = {
        info.path.step[0]: info.drift_measurements[0].value
        for info in found.drift_skew_info
    }
    kinds = anomalies_pb2.AnomalyInfo
    drifts = {
        kinds.COMPARATOR_L_INFTY_HIGH,
        kinds.COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH,
    }
    # Columns that are not judged are to TFDV new ones: an anomaly, but no drift.
    alarmed = {
        one.path.step[0]
        for one in found.anomaly_info.values()
        if drifts & {reason.type for reason in one.reason}
    }
    return values, alarmed
