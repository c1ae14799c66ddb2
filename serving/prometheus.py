"""The server's metrics for Prometheus, under TF Serving's names and our own.

With several worker processes behind one port each keeps its values in a file of one
folder, and the page of any of them is the sum: the environment variable
`PROMETHEUS_MULTIPROC_DIR` names the folder, and has to be set before this module is
imported.
https://prometheus.github.io/client_python/multiprocess/
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict, deque
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from serving import prometheus_page
from serving.metrics import Metrics
from serving.prometheus_answers import AnswerCounts, read_heads
from serving.prometheus_catalogue import CATALOGUE
from serving.prometheus_families import Family

if TYPE_CHECKING:
    from serving.tensors import Array

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
# What TF Serving counts as a request; status and metadata would drown its errors.
_INFERENCE = frozenset(("Predict", "Classify", "Regress", "MultiInference"))
_MICROSECONDS = 1e6
_MAX_ENDED = 32
_AVAILABLE = "AVAILABLE"


class PrometheusMetrics(Metrics):
    """Counts every event; `page` shows them. Safe among threads."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._directory = os.environ.get(DIRECTORY)
        families = {one.name: Family(one, self._registry) for one in CATALOGUE}
        serving, batching = (
            ":tensorflow:serving:",
            ":tensorflow:serving:batching_session:",
        )
        self._request_count = families[f"{serving}request_count"]
        self._request_latency = families[f"{serving}request_latency"]
        self._runtime_latency = families[f"{serving}runtime_latency"]
        self._example_counts = families[f"{serving}request_example_counts"]
        self._example_total = families[f"{serving}request_example_count_total"]
        self._warm_up = families[f"{serving}model_warmup_latency"]
        self._queuing_latency = families[f"{batching}queuing_latency"]("")
        self._batches = families[f"{batching}wrapped_run_count"]()
        self._input_size = families[f"{batching}input_batch_size"]()
        self._processed_size = families[f"{batching}processed_batch_size"]()
        self._padding_size = families[f"{batching}padding_size"]
        self._padded_sizes: set[int] = set()
        self._load_attempts = families[":tensorflow:cc:saved_model:load_attempt_count"]
        self._load_latency = families[":tensorflow:cc:saved_model:load_latency"]
        self._requests = families["polymodal_requests_total"]
        self._in_flight = families["polymodal_requests_in_flight"]()
        self._queue_full = families["polymodal_queue_full_total"]
        self._queue_delay = families["polymodal_queue_delay_seconds"]
        self._batch_size = families["polymodal_batch_size"]
        self._batch_requests = families["polymodal_batch_requests"]
        self._batch_padding = families["polymodal_batch_padding_total"]
        self._version_state = families["polymodal_version_state"]
        self._unavailable = families["polymodal_model_unavailable"]
        self._load_failures = families["polymodal_load_failures_total"]
        self._answers = AnswerCounts(families)
        self._lock = threading.Lock()
        self._states: dict[str, dict[int, str]] = defaultdict(dict)
        self._ended: dict[str, deque[int]] = defaultdict(deque)
        self._configured: frozenset[str] = frozenset()

    def page(self) -> bytes:
        """All metrics in Prometheus' text format, of every worker process."""
        registry = self._registry
        if self._directory is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=self._directory)
        return prometheus_page.page(CATALOGUE, registry.collect())

    def request(
        self, model: str, api: str, entrypoint: str, status: str, seconds: float
    ) -> None:
        self._requests(model, api, entrypoint, status).inc()
        if api in _INFERENCE:
            self._request_count(model, status).inc()
            if status == "OK":
                latency = self._request_latency(model, api, entrypoint)
                latency.observe(seconds * _MICROSECONDS)

    def examples(self, model: str, count: int) -> None:
        self._example_counts(model).observe(count)
        self._example_total(model).inc(count)

    def run(self, model: str, version: int, api: str, seconds: float) -> None:
        latency = self._runtime_latency(model, api, "TF1")  # TF Serving's word for it
        latency.observe(seconds * _MICROSECONDS)

    def batch(self, model: str, size: int, padding: int, requests: int) -> None:
        self._batches.inc()
        self._processed_size.observe(size + padding)
        # Without allowed_batch_sizes nothing is padded, and every size would be a label.
        if padding:
            self._padded_sizes.add(size + padding)
        if size + padding in self._padded_sizes:
            self._padding_size(str(size + padding)).observe(padding)
        self._batch_size(model).observe(size)
        self._batch_requests(model).observe(requests)
        self._batch_padding(model).inc(padding)

    def queued(self, model: str, seconds: float, size: int = 0) -> None:
        self._queuing_latency.observe(seconds * _MICROSECONDS)
        self._queue_delay(model).observe(seconds)
        if size:
            self._input_size.observe(size)

    def queue_full(self, model: str) -> None:
        self._queue_full(model).inc()

    def answers(self, model: str, version: int, outputs: Mapping[str, Array]) -> None:
        self._answers.count(model, version, outputs)

    def in_flight(self, change: int) -> None:
        self._in_flight.inc(change)

    def configured(self, models: Collection[str]) -> None:
        with self._lock:
            gone = self._configured - frozenset(models)
            self._configured = frozenset(models)
            for model in models:
                # From 0 on: Prometheus sees no increase in a series that begins at 1.
                self._queue_full(model)
            for model in (*models, *gone):
                self._show_availability(model)

    def load(
        self, model: str, version: int, status: str, seconds: float, path: str = ""
    ) -> None:
        loaded = status == "OK"
        if path:
            self._load_attempts(path, "success" if loaded else "fail").inc()
        if not loaded:
            self._load_failures(model, status).inc()
            return
        if path:
            self._load_latency(path).inc(seconds * _MICROSECONDS)
            self._answers.loaded(model, version, read_heads(path))

    def warm_up(self, status: str, seconds: float, path: str) -> None:
        self._warm_up(path, status).observe(seconds * _MICROSECONDS)

    def state(self, model: str, version: int, state: str) -> None:
        number = str(version)
        with self._lock:
            states = self._states[model]
            before = states.get(version)
            if before is not None:
                self._version_state(model, number, before).set(0)
            self._version_state(model, number, state).set(1)
            states[version] = state
            self._show_availability(model)
            if state == "END":
                self._forget_old(model, version)

    def _show_availability(self, model: str) -> None:
        available = _AVAILABLE in self._states[model].values()
        missing = model in self._configured and not available
        self._unavailable(model).set(int(missing))

    def _forget_old(self, model: str, version: int) -> None:
        """Leaves the last versions that ended on the page: others come for ever."""
        self._answers.ended(model, version)
        ended = self._ended[model]
        if version in ended:
            ended.remove(version)
        ended.append(version)
        if len(ended) > _MAX_ENDED:
            oldest = ended.popleft()
            if self._states[model].get(oldest) == "END":
                del self._states[model][oldest]
                self._version_state(model, str(oldest), "END").set(0)


def process_ended(pid: int, directory: str) -> None:
    """Takes a worker process that ended out of the gauges; its counts stay."""
    mark_process_dead(pid, directory)
