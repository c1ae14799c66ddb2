"""Runs the requests that came with a model, before it serves."""

import logging
from collections.abc import Callable
from typing import Any

from serving import inference
from serving.predict import predict
from serving.servable import Servable

_log = logging.getLogger(__name__)


def warm_up(servable: Servable, iterations: int = 1) -> int:
    """Runs the PredictionLogs in assets.extra, each `iterations` times.

    A request that fails makes the version fail: it would fail for clients too.

    Returns:
        How many logs there were.

    Raises:
        ServingError: from the request.
    """
    count = 0
    for record in servable.warmup_records():
        kind = record.WhichOneof("log_type")
        run = _RUNS.get(kind)
        if run is None:
            _log.warning(
                "warm-up of %s: a %s is left out; known are %s",
                servable.path,
                kind,
                ", ".join(_RUNS),
            )
            continue
        for _ in range(iterations):
            run(servable, getattr(record, kind).request)
        count += 1
    return count


def _single(method: str) -> Callable[[Servable, Any], None]:
    def run(servable: Servable, request: Any) -> None:
        _run(servable, request, [inference.task(servable, request.model_spec, method)])

    return run


def _multi_inference(servable: Servable, request: Any) -> None:
    for task in request.tasks:  # whatever the model was called where it was made
        task.model_spec.name = servable.name
    _run(servable, request, inference.tasks(servable, request))


def _run(servable: Servable, request: Any, tasks: list[inference.Task]) -> None:
    inputs = {inference.INPUTS: inference.examples(request.input)}
    for task in tasks:
        servable.run(task.signature, inputs, task.outputs)


_RUNS: dict[str, Callable[[Servable, Any], Any]] = {
    "predict_log": predict,
    "classify_log": _single(inference.CLASSIFY),
    "regress_log": _single(inference.REGRESS),
    "multi_inference_log": _multi_inference,
}
