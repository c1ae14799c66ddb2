"""What each method of the REST API does with a request."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
import orjson
from aiohttp import web
from google.protobuf import json_format
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    predict_pb2,
    regression_pb2,
)

from serving import json_examples, json_inputs, json_outputs, rest_body
from serving.handlers import Call, Handlers
from serving.json_parser import Text
from serving.rest_routes import Route
from serving.servable import DEFAULT_SIGNATURE, Servable
from serving.status import ServingError
from serving.tensors import Array

_Result = TypeVar("_Result")

# What is larger is converted in a thread: about a millisecond of work.
_SMALL_BYTES = 64 * 1024
_SMALL_ELEMENTS = 8 * 1024
# More would only wait for each other: Python runs one of them at a time.
_THREADS = 2


@dataclass(frozen=True)
class _Predict:
    """A predict call that was read."""

    spec: Any
    rows: bool
    inputs: Mapping[str, Array]


class Methods:
    """The API's methods: an HTTP request in, the text of its answer out.

    Args:
        handlers: the methods without a protocol.
        timeout_ms: how long a run may take; 0 sets no limit.
    """

    def __init__(self, handlers: Handlers, timeout_ms: int) -> None:
        self._handlers = handlers
        self._limits = handlers.limits
        self._timeout_ms = timeout_ms
        self._threads = ThreadPoolExecutor(_THREADS, "rest-json")

    def close(self) -> None:
        """Lets the threads end."""
        self._threads.shutdown(wait=False)

    async def answer(self, route: Route, request: web.BaseRequest) -> Text:
        """The JSON text that answers a request.

        Raises:
            ServingError: with the code that the HTTP status comes from.
        """
        with self._handlers.admit(route.api, "REST") as call:
            if route.api == "GetModelStatus":
                asked = get_model_status_pb2.GetModelStatusRequest(
                    model_spec=route.spec
                )
                return _printed(_plain(self._handlers.status(asked, call)))
            if route.api == "GetModelMetadata":
                return self._metadata(route.spec, call)
            # Without the model there is no need to read megabytes.
            with self._handlers.models.use(_asking(route.spec)) as servable:
                call.model = servable.name
            body = await rest_body.read(request, self._limits.max_json_bytes)
            gzip = "gzip" in request.headers.get("Content-Encoding", "").lower()
            small = len(body) <= _SMALL_BYTES and not gzip

            def content() -> Text:
                if gzip:
                    return rest_body.decompress(body, self._limits.max_json_bytes)
                return body

            if route.api == "Predict":
                return await self._predict(route.spec, content, small, call)
            if route.api == "Classify":
                return await self._classify(route.spec, content, small, call)
            return await self._regress(route.spec, content, small, call)

    def _metadata(self, spec: Any, call: Call) -> bytes:
        """As TF Serving prints it: the packed signatures without their type's URL."""
        asked = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=spec, metadata_field=["signature_def"]
        )
        found = self._handlers.metadata(asked, call)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        found.metadata["signature_def"].Unpack(signatures)
        return _printed(
            {
                "model_spec": _plain(found.model_spec),
                "metadata": {"signature_def": _plain(signatures)},
            }
        )

    async def _predict(
        self, spec: Any, content: Callable[[], Text], small: bool, call: Call
    ) -> Text:
        def read() -> _Predict:
            request = json_inputs.read(content(), self._limits)
            asked = _asking(spec)
            asked.model_spec.signature_name = request.signature
            with self._handlers.models.use(asked) as servable:
                definition = _definition(servable, request.signature)
            inputs = json_inputs.inputs(request, definition, self._limits)
            return _Predict(asked.model_spec, request.rows, inputs)

        read_request = await self._run(read, small)
        _, found = await self._within_time(
            self._handlers.predict_arrays(
                read_request.spec, lambda _: read_request.inputs, call=call
            )
        )
        return await self._run(
            lambda: json_outputs.answer(found, read_request.rows),
            sum(map(_size, found.values())) <= _SMALL_ELEMENTS,
        )

    async def _classify(
        self, spec: Any, content: Callable[[], Text], small: bool, call: Call
    ) -> Text:
        request = classification_pb2.ClassificationRequest(model_spec=spec)
        await self._fill(request, content, small)
        response = await self._within_time(self._handlers.classify(request, call))
        return json_examples.classifications(response)

    async def _regress(
        self, spec: Any, content: Callable[[], Text], small: bool, call: Call
    ) -> Text:
        request = regression_pb2.RegressionRequest(model_spec=spec)
        await self._fill(request, content, small)
        response = await self._within_time(self._handlers.regress(request, call))
        return json_examples.regressions(response)

    async def _fill(
        self, request: Any, content: Callable[[], Text], small: bool
    ) -> None:
        await self._run(
            lambda: json_examples.fill_request(request, content(), self._limits), small
        )

    async def _run(self, work: Callable[[], _Result], small: bool) -> _Result:
        """Runs a conversion, beside the event loop where it is not small."""
        if small:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _within_time(self, work: Awaitable[_Result]) -> _Result:
        """Waits for a run; `asyncio.wait_for` would start a task for it."""
        if not self._timeout_ms:
            return await work
        loop, task, late = asyncio.get_running_loop(), asyncio.current_task(), False
        assert task is not None

        def give_up() -> None:
            nonlocal late
            late = True
            task.cancel()

        timer = loop.call_later(self._timeout_ms / 1000, give_up)
        try:
            return await work
        except asyncio.CancelledError as error:
            if not late:
                raise
            raise ServingError(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                f"not answered within {self._timeout_ms} ms (rest_api_timeout_in_ms)",
            ) from error
        finally:
            timer.cancel()


def _definition(servable: Servable, signature: str) -> Any:
    name = signature or DEFAULT_SIGNATURE
    if not servable.has_signature(name):
        known = ", ".join(
            sorted(filter(servable.has_signature, servable.signature_defs))
        )
        raise ServingError.invalid(
            f'Serving signature name: "{json_inputs.shown(name)}" not found in '
            f"signature def; the model has: {known}"
        )
    return servable.signature(name)


def _asking(spec: Any) -> Any:
    return predict_pb2.PredictRequest(model_spec=spec)


def _size(array: Array) -> int:
    """What an array costs to print, in elements."""
    if array.dtype != object:
        return array.size
    return array.size + sum(map(len, array.ravel().tolist())) // 16


def _plain(message: Any) -> dict[str, Any]:
    plain: dict[str, Any] = json_format.MessageToDict(
        message, including_default_value_fields=True, preserving_proto_field_name=True
    )
    if message.DESCRIPTOR.name == "ModelSpec":
        plain.setdefault("signature_name", "")
    return plain


def _printed(plain: dict[str, Any]) -> bytes:
    return orjson.dumps(plain, option=orjson.OPT_INDENT_2)
