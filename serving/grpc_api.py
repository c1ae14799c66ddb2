"""TF Serving's gRPC services, on the event loop."""

import asyncio
import logging
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    regression_pb2,
)

from serving import explanations
from serving.handlers import Call, Handlers
from serving.service_descriptors import MODEL_SERVICE, PREDICTION_SERVICE
from serving.status import MAX_DETAILS, ServingError

_log = logging.getLogger(__name__)

# From a request's bytes to the answer's.
_Handle = Callable[[bytes, Call], Awaitable[bytes]]


def register(server: grpc.aio.Server, handlers: Handlers) -> None:
    """Adds the services to a server that has not started."""
    prediction: dict[str, _Handle] = {
        "Predict": handlers.predict,
        "Classify": _parsed(
            classification_pb2.ClassificationRequest, handlers.classify
        ),
        "Regress": _parsed(regression_pb2.RegressionRequest, handlers.regress),
        "MultiInference": _parsed(
            inference_pb2.MultiInferenceRequest, handlers.multi_inference
        ),
        "GetModelMetadata": _parsed(
            get_model_metadata_pb2.GetModelMetadataRequest, _async(handlers.metadata)
        ),
    }
    model: dict[str, _Handle] = {
        "GetModelStatus": _parsed(
            get_model_status_pb2.GetModelStatusRequest, _async(handlers.status)
        ),
        "HandleReloadConfigRequest": _parsed(
            model_management_pb2.ReloadConfigRequest, handlers.reload
        ),
    }
    for service, methods in (PREDICTION_SERVICE, prediction), (MODEL_SERVICE, model):
        server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    service,
                    {
                        name: grpc.unary_unary_rpc_method_handler(
                            _method(handlers, name, handle)
                        )
                        for name, handle in methods.items()
                    },
                ),
            )
        )


def _async(handle: Callable[[Any, Call], Any]) -> Callable[[Any, Call], Awaitable[Any]]:
    async def answer(request: Any, call: Call) -> Any:
        return handle(request, call)

    return answer


def _parsed(
    request_type: Any, handle: Callable[[Any, Call], Awaitable[Any]]
) -> _Handle:
    """A method over protos as one over bytes."""

    async def answer(data: bytes, call: Call) -> bytes:
        try:
            request = request_type.FromString(data)
        except Exception as error:  # DecodeError, of whichever protobuf
            raise ServingError.invalid(
                f"the request is not a {request_type.DESCRIPTOR.name}"
            ) from error
        response = await handle(request, call)
        return bytes(response.SerializeToString())

    return answer


def _method(
    handlers: Handlers, api: str, handle: _Handle
) -> Callable[[bytes, Any], Awaitable[bytes]]:
    """A gRPC method, with the status codes of what `handle` raises."""

    async def answer(data: bytes, context: Any) -> bytes:
        try:
            with handlers.admit(api, "GRPC") as call:
                remaining = context.time_remaining()
                if remaining is not None:
                    call.deadline = time.monotonic() + remaining
                if api == "Predict" and explanations.is_marked(
                    context.invocation_metadata()
                ):
                    call.api = explanations.API
                return await handle(data, call)
        except ServingError as error:
            code, message = error.code, error.message
        except Exception as error:
            # Its text may quote input values: only where it happened is told.
            stack = "".join(traceback.format_tb(error.__traceback__))
            _log.error("%s failed: %s\n%s", api, type(error).__name__, stack)
            code, message = grpc.StatusCode.INTERNAL, type(error).__name__
        try:
            await context.abort(code, message[:MAX_DETAILS])
        except grpc.aio.AbortError:
            raise
        except Exception:  # the call is over: there is nobody to tell
            _log.debug("%s: answered too late", api)
        raise asyncio.CancelledError

    return answer
