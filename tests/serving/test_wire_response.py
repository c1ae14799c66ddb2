"""The bytes of an answer are those of the message that protobuf would write."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tensorflow_serving.apis import predict_pb2

from serving import wire_response

DTYPES = {
    "float32": 1,
    "float64": 2,
    "int32": 3,
    "uint8": 4,
    "int16": 5,
    "int8": 6,
    "complex64": 8,
    "int64": 9,
    "bool": 10,
    "uint16": 17,
    "complex128": 18,
    "float16": 19,
    "uint32": 22,
    "uint64": 23,
}


def written(array: Any, dtype: int, content: bool = False) -> Any:
    data = wire_response.write("m", 3, "s", {"y": array}, {"y": dtype}, content)
    message = predict_pb2.PredictResponse.FromString(data)
    assert message.model_spec.name == "m"
    assert message.model_spec.version.value == 3
    assert message.model_spec.signature_name == "s"
    assert list(message.outputs) == ["y"]
    return message.outputs["y"]


@pytest.mark.parametrize("content", [False, True])
@pytest.mark.parametrize("name", DTYPES)
@settings(deadline=None, max_examples=25)  # the machine may be busy
@given(data=st.data())
def test_every_dtype(name: str, content: bool, data: Any) -> None:
    shapes = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
    array = data.draw(arrays.arrays(np.dtype(name), shapes))
    proto = written(array, DTYPES[name], content)
    # TensorFlow's own reader is the judge.
    np.testing.assert_array_equal(tf.make_ndarray(proto), array)
    assert proto.dtype == DTYPES[name]
    assert [dim.size for dim in proto.tensor_shape.dim] == list(array.shape)
    assert proto.HasField("tensor_shape")
    assert bool(proto.tensor_content) == (content and array.size > 0)


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.binary(max_size=300), max_size=5))
def test_strings(texts: list[bytes]) -> None:
    array = np.empty(len(texts), object)
    array[:] = texts
    for content in (False, True):  # strings have no tensor_content here
        proto = written(array, 7, content)
        assert list(proto.string_val) == texts
        assert proto.tensor_content == b""


def test_typed_fields_by_hand() -> None:
    proto = written(np.array([[1.5, -2.0]], np.float32), 1)
    assert list(proto.float_val) == [1.5, -2.0]
    assert list(written(np.array([True, False]), 10).bool_val) == [True, False]
    assert list(written(np.array([-1, 2**40]), 9).int64_val) == [-1, 2**40]
    bfloat = written(np.array([1.0], tf.bfloat16.as_numpy_dtype), 14)
    assert list(bfloat.half_val) == [0x3F80]  # the upper half of float32's 1.0
    every_other = np.arange(6, dtype=np.float32)[::2]  # a view with gaps
    assert list(written(every_other, 1).float_val) == [0.0, 2.0, 4.0]


def test_several_outputs_and_long_ones() -> None:
    outputs: dict[str, Any] = {"a": np.zeros(100_000, np.float32)}
    outputs["b" * 200] = np.ones(1)
    data = wire_response.write("m", 1, "s", outputs, {"a": 1, "b" * 200: 2})
    message = predict_pb2.PredictResponse.FromString(data)
    assert len(message.outputs["a"].float_val) == 100_000
    assert list(message.outputs["b" * 200].double_val) == [1.0]
