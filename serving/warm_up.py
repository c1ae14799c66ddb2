"""Runs the requests that came with a model, before it serves."""

import logging
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


def _classify(servable: Servable, request: Any) -> None:
    name, definition = inference.signature(
        servable, request.model_spec, "No signature was found with the name: "
    )
    outputs = inference.classify_outputs(definition)
    _run(servable, request, name, outputs)


def _regress(servable: Servable, request: Any) -> None:
    name, definition = inference.signature(
        servable, request.model_spec, "No signature was found with the name: "
    )
    outputs = inference.regress_outputs(definition)
    _run(servable, request, name, outputs)


def _multi_inference(servable: Servable, request: Any) -> None:
    for task in request.tasks:  # whatever the model was called where it was made
        task.model_spec.name = servable.name
    for task in inference.tasks(servable, request):
        _run(servable, request, task.signature, task.outputs)


def _run(servable: Servable, request: Any, name: str, outputs: list[str]) -> None:
    inputs = {inference.INPUTS: inference.examples(request.input)}
    servable.run(name, inputs, outputs)


_RUNS = {
    "predict_log": predict,
    "classify_log": _classify,
    "regress_log": _regress,
    "multi_inference_log": _multi_inference,
}
