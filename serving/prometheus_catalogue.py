"""Every metric that the server shows, in the order of its page.

Those that start with `:tensorflow:` have TF Serving 2.16's names, labels, units and
buckets, read out of its sources (`servables/tensorflow/util.cc`,
`batching/batching_session.cc`, `batching/batching_util.h`,
`servables/tensorflow/saved_model_warmup_util.cc`, and TensorFlow's
`cc/saved_model/loader.cc`), so that a dashboard made for it reads this server too.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        kind: as the page says it.
        labels: their names, in order.
        help: meaning and unit, as the page and docs/monitoring.md say it.
        buckets: upper bounds of a histogram, without the infinite one.
        sparse: a gauge's zeros are left out of the page.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()
    sparse: bool = False


def exponential(scale: float, growth: float, count: int) -> tuple[float, ...]:
    """Bounds `scale * growth**i`, as TensorFlow's `Buckets::Exponential` has them."""
    return tuple(scale * growth**i for i in range(count))


def _symmetric(low: int, high: int) -> tuple[float, ...]:
    """Bounds for numbers of any unit: 1 and 3 of each power of ten, both signs, and 0."""
    up = [digit * 10.0**power for power in range(low, high) for digit in (1, 3)]
    up.append(10.0**high)
    return (*(-bound for bound in reversed(up)), 0.0, *up)


_LATENCY = exponential(10, 1.8, 33)  # 10 microseconds to 25 minutes
_SIZES = exponential(1, 2, 14)
_TF, _SERVING = ":tensorflow:cc:saved_model:", ":tensorflow:serving:"
_BATCHING = f"{_SERVING}batching_session:"

CATALOGUE = (
    Metric(
        f"{_SERVING}request_count",
        "counter",
        ("model_name", "status"),
        "Predict, Classify, Regress and MultiInference requests, by gRPC status.",
    ),
    Metric(
        f"{_SERVING}request_latency",
        "histogram",
        ("model_name", "API", "entrypoint"),
        "Time from a request's arrival to its answer, of those answered OK,"
        " in microseconds.",
        _LATENCY,
    ),
    Metric(
        f"{_SERVING}runtime_latency",
        "histogram",
        ("model_name", "API", "runtime"),
        "Time that the graph ran, in microseconds.",
        _LATENCY,
    ),
    Metric(
        f"{_SERVING}request_example_counts",
        "histogram",
        ("model",),
        "Examples in a request.",
        exponential(1, 2, 15),
    ),
    Metric(
        f"{_SERVING}request_example_count_total",
        "counter",
        ("model",),
        "Examples in all requests.",
    ),
    Metric(
        f"{_BATCHING}queuing_latency",
        "histogram",
        ("thread_pool_name",),
        "Time that a request waited for its batch, or without batching for a thread,"
        " in microseconds.",
        exponential(100, 1.2, 52),
    ),
    Metric(
        f"{_BATCHING}wrapped_run_count",
        "counter",
        (),
        "Batches that were run.",
    ),
    Metric(
        f"{_BATCHING}input_batch_size",
        "histogram",
        (),
        "Examples in a request that was put into a batch.",
        _SIZES,
    ),
    Metric(
        f"{_BATCHING}processed_batch_size",
        "histogram",
        (),
        "Examples in a batch, padding included.",
        _SIZES,
    ),
    Metric(
        f"{_BATCHING}padding_size",
        "histogram",
        ("execution_batch_size",),
        "Examples of padding in a batch of that size.",
        _SIZES,
    ),
    Metric(
        f"{_SERVING}model_warmup_latency",
        "histogram",
        ("model_path", "status"),
        "Time of a version's warm-up, in microseconds.",
        _LATENCY,
    ),
    Metric(
        f"{_TF}load_attempt_count",
        "counter",
        ("model_path", "status"),
        "Attempts to load a version; status is success or fail.",
    ),
    Metric(
        f"{_TF}load_latency",
        "counter",
        ("model_path",),
        "Time spent in loading, in microseconds.",
    ),
    Metric(
        "polymodal_requests_total",
        "counter",
        ("model_name", "api", "entrypoint", "status"),
        "Requests of every API, GetModelMetadata and GetModelStatus included;"
        " model_name is empty where no such model exists.",
    ),
    Metric(
        "polymodal_requests_in_flight",
        "gauge",
        (),
        "Requests in the server now.",
    ),
    Metric(
        "polymodal_queue_full_total",
        "counter",
        ("model_name",),
        "Requests refused because the batching queue was full.",
    ),
    Metric(
        "polymodal_queue_delay_seconds",
        "histogram",
        ("model_name",),
        "Time that a request waited for its batch, or without batching for a thread,"
        " in seconds.",
        exponential(0.0001, 2, 15),
    ),
    Metric(
        "polymodal_batch_size",
        "histogram",
        ("model_name",),
        "Examples in a batch, without padding.",
        _SIZES,
    ),
    Metric(
        "polymodal_batch_requests",
        "histogram",
        ("model_name",),
        "Requests put together into a batch.",
        _SIZES,
    ),
    Metric(
        "polymodal_batch_padding_total",
        "counter",
        ("model_name",),
        "Examples of padding that were run.",
    ),
    Metric(
        "polymodal_inputs_total",
        "counter",
        ("model_name", "input", "presence"),
        "Examples whose input was present, or absent: left out or unreadable.",
    ),
    Metric(
        "polymodal_predictions_total",
        "counter",
        ("model_name", "head", "class"),
        "Examples for which a class was answered; of several labels, each counts.",
    ),
    Metric(
        "polymodal_top_score",
        "histogram",
        ("model_name", "head"),
        "Highest score of an example, 0 to 1.",
        (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0),
    ),
    Metric(
        "polymodal_abstentions_total",
        "counter",
        ("model_name", "head", "abstained"),
        "Examples whose top score was below the head's abstain_below (true) or not"
        " (false).",
    ),
    Metric(
        "polymodal_prediction_value",
        "histogram",
        ("model_name", "head"),
        "Number that a regression head answered, in the label's own unit.",
        _symmetric(-3, 6),
    ),
    Metric(
        "polymodal_prediction_magnitude_total",
        "counter",
        ("model_name", "head", "sign"),
        "Sum of the numbers answered, without their sign, apart for either sign:"
        " their difference over the count is the mean.",
    ),
    Metric(
        "polymodal_predictions_not_finite_total",
        "counter",
        ("model_name", "head"),
        "Examples answered with NaN or an infinite number.",
    ),
    Metric(
        "polymodal_version_state",
        "gauge",
        ("model_name", "version", "state"),
        "1 for the state that a version is in (START, LOADING, AVAILABLE, UNLOADING,"
        " END); of several worker processes, how many have it there.",
        sparse=True,
    ),
    Metric(
        "polymodal_model_unavailable",
        "gauge",
        ("model_name",),
        "1 while a configured model has no available version; of several worker"
        " processes, how many lack one.",
    ),
    Metric(
        "polymodal_load_failures_total",
        "counter",
        ("model_name", "status"),
        "Attempts to load a version that failed, by gRPC status.",
    ),
)
