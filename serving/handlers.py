"""What the server's methods do, whatever protocol asks: both fronts call these."""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
    status_pb2,
)

from serving import explanations, inference, predict, tensors, wire, wire_response
from serving.calls import Call, Calls
from serving.engine import Engine
from serving.metrics import Metrics
from serving.models import Models
from serving.options import Limits
from serving.request_log import RequestLogs
from serving.servable import DEFAULT_SIGNATURE, Servable
from serving.tensors import Array

__all__ = ["Call", "Handlers"]


class Handlers:
    """The API methods over protos and arrays.

    Every method takes the `Call` that `admit` gave, and raises `ServingError`.

    Args:
        models: the models that are served.
        engine: runs them.
        limits: what is refused before any work is spent on it.
        metrics: hears of every request.
        request_log: keeps a sample of the requests.
        tensor_content: answer Predict in `tensor_content` rather than typed fields.
        check_methods: Classify and Regress want the signatures' method names to be
            theirs.
    """

    def __init__(
        self,
        models: Models,
        engine: Engine,
        limits: Limits | None = None,
        metrics: Metrics | None = None,
        request_log: RequestLogs | None = None,
        tensor_content: bool = False,
        check_methods: bool = False,
    ) -> None:
        self.models = models
        self.engine = engine
        self.limits = limits or Limits()
        self.metrics = metrics or Metrics()
        self.request_log = request_log or RequestLogs()
        self._content = tensor_content
        self._check_methods = check_methods
        self._calls = Calls(self.limits, self.metrics)

    def admit(self, api: str, entrypoint: str) -> Call:
        """A request's stay in the server, for a `with`: counted, timed, limited.

        Raises:
            ServingError: RESOURCE_EXHAUSTED where there are too many, on entering.
        """
        return Call(self._calls, api, entrypoint)

    async def predict(self, data: bytes, call: Call) -> bytes:
        """Answers the bytes of a `PredictRequest` with those of a `PredictResponse`."""
        request = wire.Request(data)
        with self.models.use(request) as servable:
            call.model = servable.name
            name = request.model_spec.signature_name or DEFAULT_SIGNATURE
            servable.signature(name)
            inputs = request.inputs(self.limits.max_tensor_elements)
            if call.api == explanations.API and not explanations.are_subsets(inputs):
                call.api = "Predict"  # whatever it is marked as
            found = await self._run(servable, name, inputs, call, request.output_filter)
            dtypes = servable.output_dtypes(name)
            answer = wire_response.write(
                servable.name, servable.version, name, found, dtypes, self._content
            )
            if call.api == "Predict" and self.request_log.sample(servable.name):
                self.request_log.write(servable.name, "predict", data, answer)
            return answer

    async def predict_arrays(
        self,
        spec: Any,
        make_inputs: Callable[[Any], Mapping[str, Array]],
        outputs: Sequence[str] = (),
        *,
        call: Call,
    ) -> tuple[Servable, dict[str, Array]]:
        """Predict for a front that needs the signature to read its request.

        Args:
            spec: `ModelSpec` of the request.
            make_inputs: `SignatureDef` -> an array for each input; called on the
                event loop.
            outputs: names of the outputs to return; all when empty.
            call: as `admit` gave it.

        Returns:
            The version that answered, and its outputs by name.
        """
        request = predict_pb2.PredictRequest(model_spec=spec, output_filter=outputs)
        with self.models.use(request) as servable:
            call.model = servable.name
            name = spec.signature_name or DEFAULT_SIGNATURE
            definition = servable.signature(name)
            inputs = make_inputs(definition)
            found = await self._run(servable, name, inputs, call, outputs)
            if self.request_log.sample(servable.name):
                for key, array in inputs.items():
                    dtype = definition.inputs[key].dtype
                    tensors.to_proto(array, request.inputs[key], dtype)
                answer = predict.response(servable, name, definition, found)
                self.request_log.write(servable.name, "predict", request, answer)
            return servable, found

    async def classify(self, request: Any, call: Call) -> Any:
        """Answers a `ClassificationRequest` with a `ClassificationResponse`."""
        response = classification_pb2.ClassificationResponse()
        return await self._infer(
            request, response, inference.CLASSIFY, "classify", call
        )

    async def regress(self, request: Any, call: Call) -> Any:
        """Answers a `RegressionRequest` with a `RegressionResponse`."""
        response = regression_pb2.RegressionResponse()
        return await self._infer(request, response, inference.REGRESS, "regress", call)

    async def _infer(
        self, request: Any, response: Any, method: str, kind: str, call: Call
    ) -> Any:
        with self.models.use(request) as servable:
            call.model = servable.name
            spec, check = request.model_spec, self._check_methods
            task = inference.task(servable, spec, method, check)
            examples = inference.examples(request.input)
            inputs = {inference.INPUTS: examples}
            found = await self._run(
                servable, task.signature, inputs, call, task.outputs
            )
            response.result.CopyFrom(task.result(found, len(examples)))
            inference.fill_spec(response.model_spec, servable, task.signature)
            if self.request_log.sample(servable.name):
                self.request_log.write(servable.name, kind, request, response)
        return response

    async def multi_inference(self, request: Any, call: Call) -> Any:
        """Answers a `MultiInferenceRequest`; every task sees the same examples."""
        response = inference_pb2.MultiInferenceResponse()
        with self.models.use(inference.first_task(request)) as servable:
            call.model = servable.name
            tasks = inference.tasks(servable, request, self._check_methods)
            examples = inference.examples(request.input)
            self.metrics.examples(servable.name, len(examples))
            inputs = {inference.INPUTS: examples}
            api, deadline = call.api, call.deadline
            runs = [
                asyncio.ensure_future(
                    self.engine.run(
                        servable, one.signature, inputs, one.outputs, api, deadline
                    )
                )
                for one in tasks
            ]
            try:
                found = await asyncio.gather(*runs)
            finally:  # one that failed, or a caller that has gone, stops the others
                for run in runs:
                    run.cancel()
            for task, outputs in zip(tasks, found, strict=True):
                result = task.result(outputs, len(examples))
                entry = response.results.add()
                if task.method == inference.CLASSIFY:
                    entry.classification_result.CopyFrom(result)
                else:
                    entry.regression_result.CopyFrom(result)
                inference.fill_spec(entry.model_spec, servable, task.signature)
            if self.request_log.sample(servable.name):
                kind = "multi_inference"
                self.request_log.write(servable.name, kind, request, response)
        return response

    async def _run(
        self,
        servable: Servable,
        signature: str,
        inputs: Mapping[str, Array],
        call: Call,
        outputs: Sequence[str],
    ) -> dict[str, Array]:
        first = next(iter(inputs.values()), None)
        if first is not None and call.api != explanations.API:
            self.metrics.examples(servable.name, len(first) if first.ndim else 1)
        return await self.engine.run(
            servable, signature, inputs, outputs, call.api, call.deadline
        )

    def metadata(self, request: Any, call: Call) -> Any:
        """Answers a `GetModelMetadataRequest`."""
        with self.models.use(request) as servable:
            call.model = servable.name
            return predict.metadata(servable, list(request.metadata_field))

    async def reload(self, request: Any, call: Call) -> Any:
        """Answers a `ReloadConfigRequest` once the models that are new are served."""
        loop, cancelled = asyncio.get_running_loop(), threading.Event()
        job = loop.run_in_executor(None, self.models.reload, request.config, cancelled)
        # Nobody asks for the result of one whose caller has gone.
        job.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            await asyncio.shield(job)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return model_management_pb2.ReloadConfigResponse(
            status=status_pb2.StatusProto()
        )

    def status(self, request: Any, call: Call) -> Any:
        """Answers a `GetModelStatusRequest`."""
        response = self.models.status(request)
        call.model = request.model_spec.name
        return response
