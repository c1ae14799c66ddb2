"""Property-based tests of the request decoder: whatever the bytes, a verdict."""

import struct
from typing import Any
from unittest import mock

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_serving.apis import predict_pb2

from serving import wire
from serving.status import ServingError
from tests.serving.fuzz_targets import messages
from tests.serving.fuzz_targets.settings import fuzz


def read(data: bytes) -> Any:
    """What the decoder says: model, inputs and outputs asked for, or its error."""
    refusal = None
    try:
        found = wire.Request(data)
        inputs = found.inputs()
    except ServingError as error:
        refusal = error
    if refusal is not None:
        assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
        quoted = [word for word in messages.FORBIDDEN if word in refusal.message]
        assert not quoted or messages.judge(data).names_marked
        return refusal.message
    spec = None if found.model_spec is None else found.model_spec.SerializeToString()
    return spec, inputs, list(found.output_filter)


def scanned(data: bytes) -> Any:
    """The same with the decoder that reads views of large requests."""
    with mock.patch.object(wire, "_SMALL", 0):
        return read(data)


@fuzz(400)
@given(messages.anything())
def test_the_scanner_gives_what_protobuf_gives(message: messages.Message) -> None:
    by_protobuf, by_scanner = read(message.data), scanned(message.data)
    if isinstance(by_protobuf, str) or isinstance(by_scanner, str):
        # Which of two mistakes is told first may differ.
        assert isinstance(by_protobuf, str)
        assert isinstance(by_scanner, str)
        return
    assert by_scanner[0] == by_protobuf[0]
    assert by_scanner[2] == by_protobuf[2]
    assert by_scanner[1].keys() == by_protobuf[1].keys()
    for name, array in by_protobuf[1].items():
        np.testing.assert_array_equal(by_scanner[1][name], array)
        assert by_scanner[1][name].dtype == array.dtype


@fuzz(200)
@given(st.binary(max_size=200))
def test_random_bytes_never_break_the_scanner(data: bytes) -> None:
    assert (isinstance(scanned(data), str)) == (isinstance(read(data), str))


@pytest.mark.parametrize(
    "shape",
    [[2**62], [2**32, 2**32], [2**31, 2**31, 4], [3, -1], [-(2**63)], [2**27 + 1]],
)
@pytest.mark.parametrize("decode", [read, scanned])
@pytest.mark.parametrize("packed", [True, False])
def test_claims_beyond_any_memory_are_refused(
    shape: list[int], decode: Any, packed: bool
) -> None:
    request = predict_pb2.PredictRequest()
    proto = request.inputs["x"]
    proto.dtype = 1
    for size in shape:
        proto.tensor_shape.dim.add().size = size
    if packed:
        proto.float_val.append(1.0)
    else:
        proto.tensor_content = struct.pack("<f", 1.0)
    answer = decode(request.SerializeToString())
    assert isinstance(answer, str)
    assert answer.startswith("tensor parsing error: x: its shape ")
