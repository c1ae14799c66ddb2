"""The URLs of TF Serving's REST API."""

import re
import urllib.parse
from dataclasses import dataclass
from typing import Any

import grpc
from tensorflow_serving.apis import model_pb2

from serving.status import ServingError

_MODEL = (
    r"/v1/models/(?P<name>[^/:]+)"
    r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
)
_POST = re.compile(_MODEL + r":(?P<verb>predict|classify|regress)", re.IGNORECASE)
_GET = re.compile(_MODEL + r"(?P<metadata>/metadata)?", re.IGNORECASE)
_NAMELESS = re.compile(
    r"/v1/models(?:/versions/[0-9]+|/labels/[^/:]+)?(?:/metadata)?", re.IGNORECASE
)
_APIS = {"predict": "Predict", "classify": "Classify", "regress": "Regress"}

_HTTP = {
    grpc.StatusCode.OK: 200,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


@dataclass(frozen=True)
class Route:
    """What a URL asks for.

    Attributes:
        api: `Predict`, `Classify`, `Regress`, `GetModelMetadata` or `GetModelStatus`.
        spec: `ModelSpec` with the name, and the version or label where there is one.
    """

    api: str
    spec: Any


def find(method: str, target: str) -> Route:
    """The route of a request under `/v1/`.

    Args:
        method: `GET`, `POST` ...
        target: path and query as sent; as in TF Serving, a query is part of the path.

    Raises:
        ServingError: INVALID_ARGUMENT; there is no "method not allowed".
    """
    found = None
    if method == "POST":
        found = _POST.fullmatch(target)
    elif method == "GET":
        found = _GET.fullmatch(target)
        if found is None and _NAMELESS.fullmatch(target):
            raise ServingError.invalid("Missing model name in request.")
    if found is None:
        raise ServingError.invalid(f"Malformed request: {method} {target}")
    spec = model_pb2.ModelSpec(name=urllib.parse.unquote(found["name"]))
    if found["version"] is not None:
        version = int(found["version"].lstrip("0")[:20] or 0)
        if version >= 2**63:
            raise ServingError.invalid(
                f"Failed to convert version: {found['version']} to numeric."
            )
        spec.version.value = version
    elif found["label"] is not None:
        spec.version_label = urllib.parse.unquote(found["label"])
    if method == "POST":
        return Route(_APIS[found["verb"].lower()], spec)
    return Route("GetModelMetadata" if found["metadata"] else "GetModelStatus", spec)


def http_status(code: grpc.StatusCode) -> int:
    """The HTTP status for a gRPC code; 500 for INTERNAL, UNKNOWN and DATA_LOSS."""
    return _HTTP.get(code, 500)
