"""What the server's methods do, whatever protocol asks: both fronts call these."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from tensorflow_serving.apis import (
    model_management_pb2,
    predict_pb2,
    status_pb2,
)

from serving import predict as answers
from serving import wire
from serving.engine import Engine
from serving.metrics import Metrics
from serving.models import Models
from serving.options import Limits
from serving.servable import DEFAULT_SIGNATURE, Servable
from serving.status import ServingError
from serving.tensors import Array


@dataclass
class Call:
    """One request in the server.

    Attributes:
        api: the method: `Predict`, `Classify` ...
        entrypoint: `GRPC` or `REST`.
        model: the model's name once it was found, for the metrics.
        status: gRPC's name of the code that it was answered with.
    """

    api: str
    entrypoint: str
    model: str = ""
    status: str = "OK"


class Handlers:
    """The API methods over protos and arrays.

    Every method takes the `Call` that `admit` gave, and raises `ServingError`.
    """

    def __init__(
        self,
        models: Models,
        engine: Engine,
        limits: Limits | None = None,
        metrics: Metrics | None = None,
        request_log: Any = None,
    ) -> None:
        self.models = models
        self.engine = engine
        self.limits = limits or Limits()
        self.metrics = metrics or Metrics()
        self.request_log = request_log
        self._in_flight = 0

    @contextlib.contextmanager
    def admit(self, api: str, entrypoint: str) -> Iterator[Call]:
        """A request's stay in the server: counted, timed, and refused when too many.

        Raises:
            ServingError: RESOURCE_EXHAUSTED.
        """
        call = Call(api, entrypoint)
        began = time.perf_counter()
        self._in_flight += 1
        self.metrics.in_flight(1)
        try:
            if self._in_flight > self.limits.max_concurrent_requests:
                raise ServingError(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"{self.limits.max_concurrent_requests} requests are in the "
                    "server, which is its limit; try again later",
                )
            yield call
        except ServingError as error:
            call.status = error.code.name
            raise
        except Exception:
            call.status = "INTERNAL"
            raise
        except BaseException:
            call.status = "CANCELLED"
            raise
        finally:
            self._in_flight -= 1
            self.metrics.in_flight(-1)
            self.metrics.request(
                call.model, api, entrypoint, call.status, time.perf_counter() - began
            )

    async def predict(self, request: Any, call: Call) -> Any:
        """Answers a `PredictRequest` with a `PredictResponse`."""
        with self.models.use(request) as servable:
            call.model = servable.name
            name = request.model_spec.signature_name or DEFAULT_SIGNATURE
            definition = servable.signature(name)
            inputs = wire.inputs(request)
            found = await self.engine.run(servable, name, inputs, request.output_filter)
            return answers.response(servable, name, definition, found)

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
        request = predict_pb2.PredictRequest(model_spec=spec)
        with self.models.use(request) as servable:
            call.model = servable.name
            name = spec.signature_name or DEFAULT_SIGNATURE
            inputs = make_inputs(servable.signature(name))
            return servable, await self.engine.run(servable, name, inputs, outputs)

    def metadata(self, request: Any, call: Call) -> Any:
        """Answers a `GetModelMetadataRequest`."""
        with self.models.use(request) as servable:
            call.model = servable.name
            return answers.metadata(servable, list(request.metadata_field))

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
