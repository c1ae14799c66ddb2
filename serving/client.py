"""Asks a model server, or a SavedModel in this process, with raw values.

    with Client("localhost:8500/emoji") as client:
        client.predict([{"image": "cat.png", "caption": "a cat", "age": 3}])

Works unchanged against this project's server and the stock TF Serving: all that it
knows of a model it learns from GetModelMetadata.
"""

import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
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

from serving import tensors  # noqa: E402
from serving.rows import (  # noqa: E402
    RAW,
    Contract,
    OnBadMedia,
    Row,
    RowError,
    batches,
    decode,
)
from serving.servable import Servable  # noqa: E402
from serving.status import ServingError  # noqa: E402
from serving.tensors import Array  # noqa: E402
from serving.version_files import find_versions  # noqa: E402

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


class ClientError(RuntimeError):
    """A request that a model did not answer.

    Attributes:
        code: gRPC status code.
        details: the server's words.
        target: which server and model were asked.
    """

    def __init__(self, code: grpc.StatusCode, details: str, target: str) -> None:
        self.code = code
        self.details = details
        self.target = target
        super().__init__(f"{target}: {code.name}: {details}")


class _Model(ABC):
    """What asking does, apart from the transport."""

    target: str

    def __init__(self, max_batch_size: int) -> None:
        if max_batch_size < 1:
            raise ValueError(f"max_batch_size must be at least 1, got {max_batch_size}")
        self._max_batch_size = max_batch_size
        self._contract: Contract | None = None

    def contract(self) -> Contract:
        """What the model takes; asked for once.

        Raises:
            ClientError: where the model cannot be asked, or is not of this kind.
        """
        if self._contract is None:
            signatures = self._signatures()
            try:
                self._contract = Contract.of(signatures)
            except ValueError as error:
                raise ClientError(
                    grpc.StatusCode.FAILED_PRECONDITION, str(error), self.target
                ) from error
        return self._contract

    def predict(
        self,
        rows: Iterable[Row],
        base: str | Path = "",
        on_bad_media: OnBadMedia = "raise",
    ) -> list[dict[str, Any]]:
        """Asks the model.

        Args:
            rows: input name -> value. An image or a sound is bytes (a file's content)
                or a path, URL or `archive.zip!member`; an image may also be a uint8
                array. A text or category is a str, a numeric input a number. None, or
                no key at all, means that the input is absent.
            base: folder or URL that relative paths start from.
            on_bad_media: "raise", or "absent" to go on without a file that cannot be
                read or transcoded.

        Returns:
            One dict a row, in order: `H` the answer of head H, `H_scores` its class ->
            score, `H_abstained` whether it was too unsure (of a head that can
            abstain), `N_present` whether input N was there, `model_version`.

        Raises:
            RowError: a row that cannot be sent.
            ClientError: the model's refusal, or a server out of reach.
        """
        rows = list(rows)
        answers: list[dict[str, Any]] = []
        if not rows:
            return answers
        contract = self.contract()
        contract.check_keys(rows)
        for start, batch in batches(rows, self._max_batch_size):
            inputs = contract.encode(batch, os.fspath(base), on_bad_media, start)
            try:
                outputs, version = self._run(inputs)
            except ClientError as error:
                if error.code == grpc.StatusCode.INVALID_ARGUMENT:
                    self._contract = None  # a new version may take other inputs
                raise
            answers.extend(decode(outputs, version))
        return answers

    @abstractmethod
    def _signatures(self) -> Mapping[str, Any]:
        """Signature name -> `SignatureDef`."""

    @abstractmethod
    def _run(self, inputs: Mapping[str, Array]) -> tuple[Mapping[str, Array], int]:
        """Outputs of `serving_raw`, and the version that gave them."""


class Client(_Model):
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
    """

    def read(path: str | Path | None) -> bytes | None:
        return None if path is None else Path(path).read_bytes()

    return grpc.ssl_channel_credentials(
        read(ca_cert), read(client_key), read(client_cert)
    )


class LocalModel(_Model):
    """A SavedModel in this process, asked as a server is.

    Args:
        path: the SavedModel's directory, whose name is the version where it is a number
            (otherwise 0), or a folder of version directories, of which the newest is
            taken.
        max_batch_size: rows run at a time.

    Raises:
        ValueError: where there is no SavedModel that can be loaded.
    """

    def __init__(self, path: str | Path, max_batch_size: int = 32) -> None:
        super().__init__(max_batch_size)
        self.target = os.fspath(path)
        name = os.path.basename(os.path.normpath(self.target))
        version = int(name) if re.fullmatch(r"[0-9]+", name) else 0
        try:
            found = find_versions(self.target)
            if found:
                version = max(found)
                self.target = found[version]
            self._servable = Servable("local", version, self.target)
        except Exception as error:  # whatever a damaged export raises
            raise ValueError(
                f"{self.target}: no SavedModel that can be loaded "
                f"({type(error).__name__}: {error})"
            ) from error

    def close(self) -> None:
        """Does nothing; so that it can stand for a `Client`."""

    def __enter__(self) -> "LocalModel":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _signatures(self) -> Mapping[str, Any]:
        return self._servable.signature_defs

    def _run(self, inputs: Mapping[str, Array]) -> tuple[Mapping[str, Array], int]:
        try:
            return self._servable.run(RAW, inputs), self._servable.version
        except ServingError as error:
            raise ClientError(error.code, error.message, self.target) from error


def local(path: str | Path, max_batch_size: int = 32) -> LocalModel:
    """A `LocalModel` over the SavedModel at `path`."""
    return LocalModel(path, max_batch_size)
