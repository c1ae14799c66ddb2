"""What prometheus_client keeps for each metric of the catalogue."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry, Gauge, Histogram

from serving.prometheus_catalogue import Metric

_FEW = 8


class ManyHistogram(Histogram):
    """A histogram that takes a whole batch's values in a few operations."""

    def observe_many(self, values: npt.NDArray[np.floating[Any]]) -> None:
        """Observes finite values of shape [n]."""
        if len(values) < _FEW:
            for value in values.tolist():
                self.observe(value)
            return
        # "left": a value on a bound counts within it, as `le` says.
        places = np.searchsorted(self._upper_bounds, values, side="left")
        for place, count in enumerate(np.bincount(places).tolist()):
            if count:
                self._buckets[place].inc(count)
        self._sum.inc(float(values.sum(dtype=np.float64)))


class Family:
    """One metric's series, found again by their label values in a tenth of the time.

    A counter is a gauge that only goes up: prometheus_client's own would append
    `_total` to its name. Of several processes a counter is the sum, over those that
    ended too; a gauge is the sum over those that live.
    """

    def __init__(self, metric: Metric, registry: CollectorRegistry) -> None:
        arguments = (metric.name, metric.help, metric.labels)
        self._parent: Any
        if metric.kind == "histogram":
            self._parent = ManyHistogram(
                *arguments, buckets=metric.buckets, registry=registry
            )
        else:
            merge = "sum" if metric.kind == "counter" else "livesum"
            self._parent = Gauge(*arguments, multiprocess_mode=merge, registry=registry)
        self._children: dict[tuple[str, ...], Any] = {}
        if not metric.labels:
            self._children[()] = self._parent

    def __call__(self, *labels: str) -> Any:
        """The series with these label values."""
        child = self._children.get(labels)
        if child is None:
            # Two threads at once get the same one.
            child = self._children[labels] = self._parent.labels(*labels)
        return child
