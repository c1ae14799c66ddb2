"""What the dashboard shows; scripts/grafana_dashboard.py writes it for Grafana."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scripts.grafana_queries import mean, quantiles, rate_sum, share


@dataclass(frozen=True)
class Panel:
    """One panel; `queries` are how its lines are called -> PromQL.

    In a query `MODEL` stands for the chosen models, `RATE` for the step of the graph.
    """

    title: str
    meaning: str
    unit: str
    queries: Mapping[str, str]
    kind: str = "timeseries"
    line: float | None = None
    """Drawn as a threshold."""
    most: float | None = None


_SERVING = ":tensorflow:serving:"
REQUESTS = f"{_SERVING}request_count"
_FAULTS = (
    'status=~"UNKNOWN|INTERNAL|DATA_LOSS|UNAVAILABLE|RESOURCE_EXHAUSTED'
    '|DEADLINE_EXCEEDED|ABORTED"'
)
_VALUE = "polymodal_prediction_value"
_MAGNITUDE = "polymodal_prediction_magnitude_total"
_HEAD = "model_name, head"

ROWS: dict[str, Sequence[Panel]] = {
    "Requests": (
        Panel(
            "Requests by status",
            "gRPC's codes; REST's are mapped to them.",
            "reqps",
            {"{{status}}": rate_sum("status", REQUESTS)},
        ),
        Panel(
            "Requests by API",
            "Metadata and status requests included.",
            "reqps",
            {
                "{{api}} {{entrypoint}}": rate_sum(
                    "api, entrypoint", "polymodal_requests_total"
                )
            },
        ),
        Panel(
            "Share that the server failed",
            "Not those refused for what the caller sent. PolymodalErrorRate: 1 %.",
            "percentunit",
            {"{{model_name}}": share("model_name", REQUESTS, _FAULTS)},
            line=0.01,
        ),
        Panel(
            "Requests in flight",
            "In the servers now.",
            "short",
            {"{{instance}}": "sum by (instance) (polymodal_requests_in_flight)"},
        ),
    ),
    "Latency": (
        Panel(
            "Time to an answer, by API",
            "From the request's arrival, of those answered OK. PolymodalSlowAnswers:"
            " p99 of a second.",
            "µs",
            quantiles("API", f"{_SERVING}request_latency", 0.5, 0.95, 0.99),
            line=1e6,
        ),
        Panel(
            "Time in the graph, by API",
            "The rest of the time to an answer is queue, decoding and encoding.",
            "µs",
            quantiles("API", f"{_SERVING}runtime_latency", 0.5, 0.95, 0.99),
        ),
    ),
    "Batching": (
        Panel(
            "Wait for a batch",
            "What batching costs a request.",
            "s",
            quantiles("model_name", "polymodal_queue_delay_seconds", 0.5, 0.99),
        ),
        Panel(
            "Batch size",
            "Examples and requests in a batch, mean.",
            "short",
            {
                "{{model_name}} examples": mean("model_name", "polymodal_batch_size"),
                "{{model_name}} requests": mean(
                    "model_name", "polymodal_batch_requests"
                ),
            },
        ),
        Panel(
            "Padding",
            "Share of what is run that is padding up to an allowed batch size.",
            "percentunit",
            {
                "{{model_name}}": f"{rate_sum('model_name', 'polymodal_batch_padding_total')} / ("
                f"{rate_sum('model_name', 'polymodal_batch_padding_total')} + "
                f"{rate_sum('model_name', 'polymodal_batch_size_sum')})"
            },
        ),
        Panel(
            "Refused for a full queue",
            "PolymodalQueueFull: any for five minutes.",
            "reqps",
            {"{{model_name}}": rate_sum("model_name", "polymodal_queue_full_total")},
        ),
    ),
    "Inputs": (
        Panel(
            "Presence of each input",
            "Share of the examples that have it. PolymodalInputMissing: half of the"
            " day's before.",
            "percentunit",
            {
                "{{model_name}} {{input}}": share(
                    "model_name, input",
                    "polymodal_inputs_total",
                    'presence="present"',
                )
            },
            most=1,
        ),
        Panel(
            "Examples in a request",
            "Mean.",
            "short",
            {
                "{{model}}": f"sum by (model) (rate({_SERVING}request_example_counts_sum"
                '{model=~"$model_name"}[RATE])) / '
                f"sum by (model) (rate({_SERVING}request_example_counts_count"
                '{model=~"$model_name"}[RATE]))'
            },
        ),
    ),
    "Answers": (
        Panel(
            "Predicted classes",
            "Share of each. PolymodalPredictionShift compares it with the day before.",
            "percentunit",
            {
                "{{head}} {{class}}": f"{rate_sum(f'{_HEAD}, class', 'polymodal_predictions_total')}"
                f" / on ({_HEAD}) group_left () "
                f"{rate_sum(_HEAD, 'polymodal_predictions_total')}"
            },
            most=1,
        ),
        Panel(
            "Top score",
            "A median that sinks is a model that grows less sure.",
            "short",
            quantiles(_HEAD, "polymodal_top_score", 0.1, 0.5),
            most=1,
        ),
        Panel(
            "Abstentions",
            "Share of the examples whose top score is below the head's abstain_below.",
            "percentunit",
            {
                "{{model_name}} {{head}}": share(
                    _HEAD, "polymodal_abstentions_total", 'abstained="true"'
                )
            },
        ),
        Panel(
            "Predicted numbers",
            "Mean and median of a regression head; the median is as coarse as the"
            " histogram's bounds.",
            "short",
            {
                "{{model_name}} {{head}} mean": "("
                + rate_sum(_HEAD, _MAGNITUDE, 'sign="positive"')
                + " - "
                + rate_sum(_HEAD, _MAGNITUDE, 'sign="negative"')
                + f") / {rate_sum(_HEAD, f'{_VALUE}_count')}",
                **quantiles(_HEAD, _VALUE, 0.5),
            },
        ),
        Panel(
            "NaN and infinite answers",
            "PolymodalNotFinite: any.",
            "cps",
            {
                "{{model_name}} {{head}}": rate_sum(
                    _HEAD, "polymodal_predictions_not_finite_total"
                )
            },
        ),
    ),
    "Versions": (
        Panel(
            "State of each version",
            "How many server processes have it there.",
            "short",
            {
                "{{model_name}} {{version}} {{state}}": "sum by (model_name, version, state)"
                " (polymodal_version_state{MODEL})"
            },
        ),
        Panel(
            "Models without an available version",
            "PolymodalModelUnavailable: for two minutes.",
            "short",
            {
                "{{model_name}}": "sum by (model_name) (polymodal_model_unavailable{MODEL})"
            },
        ),
        Panel(
            "Load attempts",
            "PolymodalLoadFailed: any that failed.",
            "short",
            {
                "{{model_path}} {{status}}": "sum by (model_path, status)"
                " (:tensorflow:cc:saved_model:load_attempt_count)"
            },
        ),
        Panel(
            "Warm-up",
            "Mean time of a version's warm-up requests.",
            "µs",
            {
                "{{model_path}}": f"sum by (model_path) ({_SERVING}model_warmup_latency_sum) / "
                f"sum by (model_path) ({_SERVING}model_warmup_latency_count)"
            },
        ),
    ),
    "Drift": (
        Panel(
            "Distance from the training data, over its threshold",
            "Above 1 PolymodalDrift fires. From `polymodal monitor`.",
            "short",
            {
                "{{feature}} {{kind}}": "polymodal_drift_value{MODEL} / polymodal_drift_threshold{MODEL}"
            },
            line=1,
        ),
        Panel(
            "What has drifted",
            "Nothing is well.",
            "short",
            {
                "{{model_name}} {{feature}} {{kind}}": "polymodal_drift_alert{MODEL} == 1"
            },
            kind="stat",
        ),
        Panel(
            "Since the last check",
            "PolymodalDriftCheckStale: two days.",
            "s",
            {
                "{{model_name}}": "time() - max by (model_name)"
                " (polymodal_drift_last_run_timestamp_seconds{MODEL})"
            },
            kind="stat",
        ),
    ),
}
