"""Predict and GetModelMetadata over one servable: protos in, protos out."""

from collections.abc import Mapping
from typing import Any

from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2

from serving import tensors, wire
from serving.graph_function import Cancellation
from serving.servable import DEFAULT_SIGNATURE, Servable
from serving.status import ServingError
from serving.tensors import Array


def predict(
    servable: Servable, request: Any, cancellation: Cancellation | None = None
) -> Any:
    """Answers a `PredictRequest` with a `PredictResponse`.

    Raises:
        ServingError: see `Servable.run`; INVALID_ARGUMENT for a malformed tensor.
    """
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    definition = servable.signature(name)
    found = servable.run(
        name, wire.inputs(request), request.output_filter, cancellation
    )
    return response(servable, name, definition, found)


def response(
    servable: Servable, signature: str, definition: Any, outputs: Mapping[str, Array]
) -> Any:
    """The `PredictResponse` that carries a signature's outputs."""
    message = predict_pb2.PredictResponse()
    message.model_spec.name = servable.name
    message.model_spec.version.value = servable.version
    message.model_spec.signature_name = signature
    for key, array in outputs.items():
        dtype = definition.outputs[key].dtype
        tensors.to_proto(array, message.outputs[key], dtype)
    return message


def metadata(servable: Servable, fields: list[str]) -> Any:
    """The `GetModelMetadataResponse` of a servable.

    Raises:
        ServingError: INVALID_ARGUMENT for anything but the field `signature_def`.
    """
    if not fields:
        raise ServingError.invalid(
            "GetModelMetadataRequest must specify at least one metadata_field"
        )
    for field in fields:
        if field != "signature_def":
            raise ServingError.invalid(f"Metadata field {field} is not supported")
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for key, definition in servable.signature_defs.items():
        signatures.signature_def[key].CopyFrom(definition)
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = servable.name
    response.model_spec.version.value = servable.version
    response.metadata["signature_def"].Pack(signatures)
    return response
