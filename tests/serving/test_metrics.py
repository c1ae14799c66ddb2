"""The page of metrics, event by event."""

import threading
import timeit
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.prometheus import PrometheusMetrics

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read(metrics: PrometheusMetrics) -> Samples:
    """Sample name and sorted labels -> value."""
    page = metrics.page().decode()
    # This parser appends `_total` to what it is told is a counter; Prometheus does not.
    bare = "".join(x for x in page.splitlines(True) if not x.startswith("# TYPE"))
    families = text_string_to_metric_families(bare)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def value(metrics: PrometheusMetrics, name: str, **labels: str) -> float | None:
    return read(metrics).get((name, tuple(sorted(labels.items()))))


def lines(metrics: PrometheusMetrics, *starts: str) -> list[str]:
    return [x for x in metrics.page().decode().splitlines() if x.startswith(starts)]


@pytest.fixture
def metrics() -> PrometheusMetrics:
    return PrometheusMetrics()


def test_a_counter_stands_on_the_page_as_tf_serving_writes_it(
    metrics: PrometheusMetrics,
) -> None:
    for _ in range(2):
        metrics.request("clinic", "Predict", "GRPC", "OK", 0.001)
    metrics.request("clinic", "Predict", "REST", "INVALID_ARGUMENT", 0.001)
    name = ":tensorflow:serving:request_count"
    assert lines(metrics, name, f"# TYPE {name} ") == [
        f"# TYPE {name} counter",
        f'{name}{{model_name="clinic",status="OK"}} 2',
        f'{name}{{model_name="clinic",status="INVALID_ARGUMENT"}} 1',
    ]


def test_a_latency_is_a_histogram_of_microseconds(metrics: PrometheusMetrics) -> None:
    metrics.request("clinic", "Predict", "GRPC", "OK", 0.000_250)
    name = ":tensorflow:serving:request_latency"
    labels = 'model_name="clinic",API="Predict",entrypoint="GRPC"'
    found = lines(metrics, name)
    # 10 * 1.8^i microseconds for i = 0 ... 32, written to six digits.
    assert found[:8] == [
        f'{name}_bucket{{{labels},le="{bound}"}} {count}'
        for bound, count in (
            ("10", 0), ("18", 0), ("32.4", 0), ("58.32", 0),
            ("104.976", 0), ("188.957", 0), ("340.122", 1), ("612.22", 1),
        )
    ]  # fmt: skip
    assert found[32:] == [
        f'{name}_bucket{{{labels},le="1.47476e+09"}} 1',
        f'{name}_bucket{{{labels},le="+Inf"}} 1',
        f"{name}_count{{{labels}}} 1",
        f"{name}_sum{{{labels}}} 250",
    ]


def test_only_answers_count_into_the_latency(metrics: PrometheusMetrics) -> None:
    metrics.request("clinic", "Predict", "GRPC", "DEADLINE_EXCEEDED", 30.0)
    assert not lines(metrics, ":tensorflow:serving:request_latency")


def test_status_and_metadata_are_not_among_tf_servings_requests(
    metrics: PrometheusMetrics,
) -> None:
    metrics.request("clinic", "GetModelStatus", "REST", "OK", 0.001)
    assert not lines(metrics, ":tensorflow:serving:request_count")
    labels = {"api": "GetModelStatus", "entrypoint": "REST", "status": "OK"}
    name = "polymodal_requests_total"
    assert value(metrics, name, model_name="clinic", **labels) == 1


# Each event, and the samples that it alone must give.
EVENTS: list[tuple[Callable[[PrometheusMetrics], Any], dict[str, float]]] = [
    (
        lambda m: m.run("clinic", 3, "Predict", 0.5),
        {
            ':tensorflow:serving:runtime_latency_sum{model_name="clinic",'
            'API="Predict",runtime="TF1"}': 500_000,
        },
    ),
    (
        lambda m: m.examples("clinic", 5),
        {
            ':tensorflow:serving:request_example_counts_bucket{model="clinic",le="4"}': 0,
            ':tensorflow:serving:request_example_counts_bucket{model="clinic",le="8"}': 1,
            ':tensorflow:serving:request_example_count_total{model="clinic"}': 5,
        },
    ),
    (
        lambda m: m.queued("clinic", 0.002, 3),
        {
            ":tensorflow:serving:batching_session:queuing_latency_sum"
            '{thread_pool_name=""}': 2000,
            ":tensorflow:serving:batching_session:input_batch_size_sum": 3,
            'polymodal_queue_delay_seconds_sum{model_name="clinic"}': 0.002,
            'polymodal_queue_delay_seconds_bucket{model_name="clinic",le="0.0032"}': 1,
            'polymodal_queue_delay_seconds_bucket{model_name="clinic",le="0.0016"}': 0,
        },
    ),
    (
        lambda m: m.batch("clinic", 6, 2, 4),
        {
            ":tensorflow:serving:batching_session:wrapped_run_count": 1,
            ":tensorflow:serving:batching_session:processed_batch_size_sum": 8,
            ":tensorflow:serving:batching_session:padding_size_sum"
            '{execution_batch_size="8"}': 2,
            'polymodal_batch_size_sum{model_name="clinic"}': 6,
            'polymodal_batch_requests_sum{model_name="clinic"}': 4,
            'polymodal_batch_padding_total{model_name="clinic"}': 2,
        },
    ),
    (
        lambda m: m.queue_full("clinic"),
        {'polymodal_queue_full_total{model_name="clinic"}': 1},
    ),
    (
        lambda m: list(map(m.in_flight, (1, 1, -1))),
        {"polymodal_requests_in_flight": 1},
    ),
    (
        lambda m: m.load("clinic", 3, "OK", 1.5, "/models/clinic/3"),
        {
            ":tensorflow:cc:saved_model:load_attempt_count"
            '{model_path="/models/clinic/3",status="success"}': 1,
            ':tensorflow:cc:saved_model:load_latency{model_path="/models/clinic/3"}':
                1_500_000,
        },
    ),
    (
        lambda m: m.load("clinic", 4, "DATA_LOSS", 0.1, "/models/clinic/4"),
        {
            ":tensorflow:cc:saved_model:load_attempt_count"
            '{model_path="/models/clinic/4",status="fail"}': 1,
            'polymodal_load_failures_total{model_name="clinic",status="DATA_LOSS"}': 1,
        },
    ),
    (
        lambda m: m.warm_up("OK", 0.25, "/models/clinic/3"),
        {
            ':tensorflow:serving:model_warmup_latency_sum'
            '{model_path="/models/clinic/3",status="OK"}': 250_000,
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(("event", "wanted"), EVENTS)
def test_an_event_is_counted(
    metrics: PrometheusMetrics, event: Callable[[Any], Any], wanted: dict[str, float]
) -> None:
    event(metrics)
    found = {}
    for line in lines(metrics, ":", "polymodal_"):
        series, number = line.rsplit(" ", 1)
        found[series] = float(number)
    assert {name: found.get(name) for name in wanted} == wanted


def test_batches_that_are_never_padded_make_no_series_for_each_size(
    metrics: PrometheusMetrics,
) -> None:
    name = ":tensorflow:serving:batching_session:padding_size_count"
    for size in range(1, 50):
        metrics.batch("clinic", size, 0, size)
    assert not lines(metrics, name)
    metrics.batch("clinic", 6, 2, 6)
    metrics.batch("clinic", 8, 0, 8)
    assert lines(metrics, name) == [f'{name}{{execution_batch_size="8"}} 2']


def states(metrics: PrometheusMetrics) -> set[tuple[str, str]]:
    return {
        (dict(labels)["version"], dict(labels)["state"])
        for (name, labels), value in read(metrics).items()
        if name == "polymodal_version_state" and value == 1
    }


def test_a_version_has_one_state(metrics: PrometheusMetrics) -> None:
    for state in ("START", "LOADING", "AVAILABLE"):
        metrics.state("clinic", 3, state)
        assert states(metrics) == {("3", state)}
    metrics.state("clinic", 4, "START")
    assert states(metrics) == {("3", "AVAILABLE"), ("4", "START")}
    # What it was is not on the page: a version would have five lines.
    assert len(lines(metrics, "polymodal_version_state")) == 2


def test_versions_that_ended_do_not_pile_up(metrics: PrometheusMetrics) -> None:
    for version in range(100):
        for state in ("START", "LOADING", "AVAILABLE", "UNLOADING", "END"):
            metrics.state("clinic", version, state)
    assert states(metrics) == {(str(v), "END") for v in range(68, 100)}
    # One that comes back is there again.
    metrics.state("clinic", 99, "START")
    assert ("99", "START") in states(metrics)
    assert ("99", "END") not in states(metrics)


def test_a_model_without_an_available_version_shows(metrics: PrometheusMetrics) -> None:
    name = "polymodal_model_unavailable"

    def unavailable() -> dict[str, float]:
        return {
            dict(labels)["model_name"]: value
            for (sample, labels), value in read(metrics).items()
            if sample == name
        }

    metrics.configured(["clinic", "emoji"])
    assert unavailable() == {"clinic": 1, "emoji": 1}
    metrics.state("clinic", 3, "LOADING")
    assert unavailable()["clinic"] == 1
    metrics.state("clinic", 3, "AVAILABLE")
    assert unavailable() == {"clinic": 0, "emoji": 1}
    metrics.state("clinic", 3, "UNLOADING")
    assert unavailable()["clinic"] == 1
    # A model that is taken out of the config is missed by nobody.
    metrics.configured(["emoji"])
    assert unavailable() == {"clinic": 0, "emoji": 1}


def test_refusals_count_from_zero(metrics: PrometheusMetrics) -> None:
    metrics.configured(["clinic"])
    assert value(metrics, "polymodal_queue_full_total", model_name="clinic") == 0


def test_labels_are_escaped(metrics: PrometheusMetrics) -> None:
    path = 'C:\\models\n"x"'
    metrics.warm_up("OK", 1.0, path)
    name = ":tensorflow:serving:model_warmup_latency_count"
    assert value(metrics, name, model_path=path, status="OK") == 1


def test_threads_lose_no_event(metrics: PrometheusMetrics) -> None:
    def work() -> None:
        for number in range(500):
            metrics.request("clinic", "Predict", "GRPC", "OK", 0.001)
            metrics.queue_full(f"model-{number}")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = read(metrics)
    assert (
        found[
            ":tensorflow:serving:request_count",
            (("model_name", "clinic"), ("status", "OK")),
        ]
        == 4 * 500
    )
    for number in range(500):
        key = "polymodal_queue_full_total", (("model_name", f"model-{number}"),)
        assert found[key] == 4


def test_an_event_costs_microseconds(metrics: PrometheusMetrics) -> None:
    def request() -> None:
        metrics.in_flight(1)
        metrics.run("clinic", 3, "Predict", 0.002)
        metrics.request("clinic", "Predict", "GRPC", "OK", 0.003)
        metrics.in_flight(-1)

    # 6 microseconds on two shared cores; the least of many, for the cores are shared.
    seconds = min(timeit.repeat(request, number=200, repeat=25)) / 200
    assert seconds < 60e-6
