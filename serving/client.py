"""Asks a model server, or a SavedModel in this process, with raw values.

    with Client("localhost:8500/emoji") as client:
        client.predict([{"image": "cat.png", "caption": "a cat", "age": 3}])

Works unchanged against this project's server and the stock TF Serving: all that it
knows of a model it learns from GetModelMetadata.
"""

import copy
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import grpc

from serving.tensorflow_core import tensorflow

tensorflow()  # without Keras, before the protos below import it with

from tensorflow_serving.apis import (  # noqa: E402
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving import explanations, tensors  # noqa: E402
from serving.client_base import AskedModel, ClientError  # noqa: E402
from serving.local_model import LocalModel, local  # noqa: E402
from serving.rows import RAW, RowError  # noqa: E402
from serving.tensors import Array  # noqa: E402

__all__ = [
    "Client",
    "ClientError",
    "LocalModel",
    "RowError",
    "local",
    "tls_credentials",
]

# Only what never reached a model is asked again: four more times within some seconds,
# enough for a server that restarts behind a load balancer. gRPC's own cap is five.
_SERVICE_CONFIG = {
    # Of all servers that a name stands for, not the first alone: behind a headless
    # Kubernetes Service each has its own address.
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{"service": "tensorflow.serving.PredictionService"}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.2s",
                "maxBackoff": "3s",
                "backoffMultiplier": 2.5,
                # CANCELLED by the server, that is: a call that came in on a connection
                # which a stopping server had just given up.
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ],
}
_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    # A request larger than this buffer, 256 KiB by default, is never retried.
    ("grpc.per_rpc_retry_buffer_size", 256 * 2**20),
]


class Client(AskedModel):
    """A connection to a model server, safe among threads.

    Args:
        target: `HOST:PORT/NAME` or `grpc://HOST:PORT/NAME`.
        model_name: the model's name where the target has none; "default" if neither.
        timeout_s: deadline of each batch, in seconds, retries included.
        max_batch_size: rows sent at a time; 32 is where batches stop to pay.
        version, label: one version of the model; None = the highest.
        credentials: of TLS, see `tls_credentials`; None = no TLS.
        token: the bearer token that the server asks for.
    """

    def __init__(
        self,
        target: str,
        model_name: str | None = None,
        timeout_s: float = 30.0,
        max_batch_size: int = 32,
        *,
        version: int | None = None,
        label: str | None = None,
        credentials: Any = None,
        token: str | None = None,
    ) -> None:
        super().__init__(max_batch_size)
        found = re.fullmatch(r"(?:grpc://)?([^/]+:\d+)(?:/([^/]*))?", target)
        if found is None:
            raise ValueError(
                f"target {target!r} is not HOST:PORT/NAME or grpc://HOST:PORT/NAME"
            )
        address, name = found.groups()
        self.model_name = model_name or name or "default"
        self.target = f"{address}/{self.model_name}"
        self._timeout_s = timeout_s
        if version is not None and label is not None:
            raise ValueError("give a version or a label, not both")
        self._version, self._label = version, label
        self._metadata = [("authorization", f"Bearer {token}")] if token else []
        if credentials is None:
            self._channel = grpc.insecure_channel(address, options=_OPTIONS)
        else:
            self._channel = grpc.secure_channel(address, credentials, options=_OPTIONS)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def explaining(self) -> "Client":
        """The same connection, for rows that only explain the answer to another one.

        This project's server counts requests of it apart, see `serving.explanations`.
        """
        other = copy.copy(self)
        other._metadata = [*self._metadata, explanations.METADATA]
        return other

    def close(self) -> None:
        """Ends the connection."""
        self._channel.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, method: Callable[..., Any], request: Any) -> Any:
        try:
            return method(request, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise ClientError(error.code(), error.details(), self.target) from error

    def _specify(self, spec: Any) -> None:
        spec.name = self.model_name
        if self._version is not None:
            spec.version.value = self._version
        if self._label is not None:
            spec.version_label = self._label

    def _signatures(self) -> Mapping[str, Any]:
        request = get_model_metadata_pb2.GetModelMetadataRequest()
        self._specify(request.model_spec)
        request.metadata_field.append("signature_def")
        answer = self._call(self._stub.GetModelMetadata, request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(signatures)
        return dict(signatures.signature_def)

    def _run(self, inputs: Mapping[str, Array]) -> tuple[Mapping[str, Array], int]:
        request = predict_pb2.PredictRequest()
        self._specify(request.model_spec)
        request.model_spec.signature_name = RAW
        for name, array in inputs.items():
            dtype = tensors.tf.string if array.dtype == object else array.dtype
            number = tensors.tf.as_dtype(dtype).as_datatype_enum
            tensors.to_proto(array, request.inputs[name], number)
        answer = self._call(self._stub.Predict, request)
        outputs = {name: tensors.to_array(p) for name, p in answer.outputs.items()}
        return outputs, int(answer.model_spec.version.value)


def tls_credentials(
    ca_cert: str | Path | None = None,
    client_key: str | Path | None = None,
    client_cert: str | Path | None = None,
) -> Any:
    """gRPC's channel credentials from PEM files.

    Args:
        ca_cert: whom the server's certificate is checked against; None = gRPC's roots.
        client_key, client_cert: the client's own, where the server asks for them.

    Raises:
        ValueError: a file is not PEM; gRPC itself says only that nobody answers.
    """

    def read(path: str | Path | None) -> bytes | None:
        if path is None:
            return None
        data = Path(path).read_bytes()
        if b"-----BEGIN " not in data:
            raise ValueError(f"{path}: not a PEM file (no line '-----BEGIN ...')")
        return data

    return grpc.ssl_channel_credentials(
        read(ca_cert), read(client_key), read(client_cert)
    )
