"""The page that Prometheus reads, in its text format 0.0.4.

prometheus_client's own writer appends `_total` to the names of counters, where TF
Serving's have none; this one writes the catalogue's names as they stand.
https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from serving.prometheus_catalogue import Metric

_WHOLE = 2.0**53  # below it every whole number is exact


def page(catalogue: Iterable[Metric], collected: Iterable[Any]) -> bytes:
    """The page of prometheus_client's `Metric` objects, in the catalogue's order."""
    found = {one.name: one for one in collected}
    lines: list[str] = []
    for metric in catalogue:
        lines.append(f"# HELP {metric.name} {metric.help}")
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        if metric.name in found:
            lines.extend(_samples(metric, found[metric.name].samples))
    return ("\n".join(lines) + "\n").encode()


def _samples(metric: Metric, samples: Iterable[Any]) -> Iterator[str]:
    for sample in samples:
        # When a series began is OpenMetrics' affair, and twice as many lines.
        if sample.name == f"{metric.name}_created":
            continue
        if metric.sparse and sample.value == 0:
            continue
        labels = _labels(sample.labels)
        yield f"{sample.name}{labels} {_number(sample.value)}"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    pairs = (
        f'{name}="{_bound(text) if name == "le" else _escaped(text)}"'
        for name, text in labels.items()
    )
    return "{" + ",".join(pairs) + "}"


def _bound(text: str) -> str:
    """A bucket's bound to six digits, as TF Serving writes it: `10`, `188.957`."""
    bound = float(text)
    return "+Inf" if math.isinf(bound) else f"{bound:.6g}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    if value.is_integer() and abs(value) < _WHOLE:
        return str(int(value))
    return "NaN" if math.isnan(value) else repr(value).replace("inf", "Inf")
