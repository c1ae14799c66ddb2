"""TF Serving's gRPC services, on the event loop."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    predict_pb2,
)

from serving.handlers import Call, Handlers
from serving.status import MAX_DETAILS, ServingError

_log = logging.getLogger(__name__)

Method = Callable[[bytes, Any], Awaitable[bytes]]


def register(server: grpc.aio.Server, handlers: Handlers) -> None:
    """Adds the services to a server that has not started."""

    async def metadata(request: Any, call: Call) -> Any:
        return handlers.metadata(request, call)

    async def status(request: Any, call: Call) -> Any:
        return handlers.status(request, call)

    def method(api: str, request_type: Any, handle: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(
            _method(handlers, api, request_type, handle)
        )

    prediction = {
        "Predict": method("Predict", predict_pb2.PredictRequest, handlers.predict),
        "GetModelMetadata": method(
            "GetModelMetadata", get_model_metadata_pb2.GetModelMetadataRequest, metadata
        ),
    }
    model = {
        "GetModelStatus": method(
            "GetModelStatus", get_model_status_pb2.GetModelStatusRequest, status
        ),
        "HandleReloadConfigRequest": method(
            "HandleReloadConfigRequest",
            model_management_pb2.ReloadConfigRequest,
            handlers.reload,
        ),
    }
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                "tensorflow.serving.PredictionService", prediction
            ),
            grpc.method_handlers_generic_handler(
                "tensorflow.serving.ModelService", model
            ),
        )
    )


def _method(
    handlers: Handlers,
    api: str,
    request_type: Any,
    handle: Callable[[Any, Call], Awaitable[Any]],
) -> Method:
    """A gRPC method over bytes, with the status codes of what `handle` raises."""

    async def answer(data: bytes, context: Any) -> bytes:
        try:
            with handlers.admit(api, "GRPC") as call:
                try:
                    request = request_type.FromString(data)
                except Exception as error:  # DecodeError, of whichever protobuf
                    raise ServingError.invalid(
                        f"the request is not a {request_type.DESCRIPTOR.name}"
                    ) from error
                response = await handle(request, call)
                return bytes(response.SerializeToString())
        except ServingError as error:
            await context.abort(error.code, error.message[:MAX_DETAILS])
        except Exception as error:
            _log.exception("request failed")
            message = f"{type(error).__name__}: {error}"
            await context.abort(grpc.StatusCode.INTERNAL, message[:MAX_DETAILS])
        raise AssertionError("abort raises")

    return answer
