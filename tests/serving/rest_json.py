"""Reads predict calls as the server does, for tests."""

import json
from typing import Any

import grpc
import pytest
from tensorflow.core.protobuf import meta_graph_pb2

from serving import json_inputs
from serving.options import Limits
from serving.status import ServingError
from serving.tensors import Array, tf

# A value that no error may repeat.
SECRET = 77145


def signature(**dtypes: str) -> Any:
    found = meta_graph_pb2.SignatureDef()
    for name, dtype in dtypes.items():
        found.inputs[name].dtype = tf.as_dtype(dtype).as_datatype_enum
    return found


def read(body: Any, limits: Limits | None = None, **dtypes: str) -> dict[str, Array]:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    limits = limits or Limits()
    request = json_inputs.read(text, limits)
    return json_inputs.inputs(request, signature(**dtypes), limits)


def refused(body: Any, limits: Limits | None = None, **dtypes: str) -> str:
    with pytest.raises(ServingError) as caught:
        read(body, limits, **dtypes)
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    return caught.value.message
