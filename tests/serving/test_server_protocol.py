"""Predict, GetModelMetadata and GetModelStatus through real gRPC."""

from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
)

from serving.server import ModelServer


def ask(
    inputs: dict[str, Any], signature: str = "", model: str = "half", **more: Any
) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest(**more)
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        if not isinstance(value, TensorProto):
            value = tf.make_tensor_proto(value)
        request.inputs[name].CopyFrom(value)
    return request


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_answer_carries_values_and_model_spec(stub: Any) -> None:
    answer = stub.Predict(ask({"x": floats(1, 2, 5)}))
    assert list(answer.outputs["y"].float_val) == [2.5, 3.0, 4.5]
    assert answer.outputs["y"].tensor_content == b""
    assert answer.outputs["y"].dtype == 1
    assert [d.size for d in answer.outputs["y"].tensor_shape.dim] == [3]
    assert sorted(answer.outputs) == ["x2", "y"]
    assert answer.model_spec.name == "half"
    assert answer.model_spec.version.value == 7
    assert answer.model_spec.signature_name == "serving_default"


def test_typed_fields_fill_and_content_is_read(stub: Any) -> None:
    typed = TensorProto(dtype=1, float_val=[4.0])
    typed.tensor_shape.dim.add().size = 3
    content = TensorProto(dtype=1, tensor_content=floats(8, 6).tobytes())
    content.tensor_shape.dim.add().size = 2
    assert list(stub.Predict(ask({"x": typed})).outputs["y"].float_val) == [4.0] * 3
    assert list(stub.Predict(ask({"x": content})).outputs["y"].float_val) == [6.0, 5.0]
    empty = TensorProto(dtype=1)
    empty.tensor_shape.dim.add().size = 2
    assert list(stub.Predict(ask({"x": empty})).outputs["y"].float_val) == [2.0, 2.0]


def test_strings_in_both_spellings(stub: Any) -> None:
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    answer = stub.Predict(ask({"a": a, "b": [b"ab", b"c"]}, "pair"))
    assert list(answer.outputs["loud"].string_val) == [b"AB", b"C"]
    assert list(answer.outputs["sum"].float_val) == [3.0, 12.0]
    packed = TensorProto(dtype=7, tensor_content=b"\x02\x01abc")
    packed.tensor_shape.dim.add().size = 2
    answer = stub.Predict(ask({"a": a, "b": packed}, "pair"))
    assert list(answer.outputs["loud"].string_val) == [b"AB", b"C"]


def test_output_filter(stub: Any) -> None:
    answer = stub.Predict(ask({"x": floats(3)}, output_filter=["x2"]))
    assert {k: list(v.float_val) for k, v in answer.outputs.items()} == {"x2": [6.0]}


def versioned(request: Any, version: int) -> Any:
    request.model_spec.version.value = version
    return request


def labelled(request: Any) -> Any:
    request.model_spec.version_label = "stable"
    return request


def malformed() -> Any:
    proto = TensorProto(dtype=1, tensor_content=b"abc")
    proto.tensor_shape.dim.add().size = 2
    return proto


def bomb() -> Any:
    proto = TensorProto(dtype=1, float_val=[1.0])
    proto.tensor_shape.dim.add().size = 10**12
    return proto


ERRORS: list[tuple[str, Callable[[], Any], str, str]] = [
    ("no spec", predict_pb2.PredictRequest, "INVALID_ARGUMENT", "Missing ModelSpec"),
    ("no name", lambda: ask({}, model=""), "INVALID_ARGUMENT", "no name"),
    (
        "model",
        lambda: ask({}, model="m"),
        "NOT_FOUND",
        "Servable not found for request: Latest(m)",
    ),
    (
        "version",
        lambda: versioned(ask({}), 9),
        "NOT_FOUND",
        "Servable not found for request: Specific(half, 9)",
    ),
    (
        "label",
        lambda: labelled(ask({})),
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: stable",
    ),
    (
        "signature",
        lambda: ask({}, "s"),
        "FAILED_PRECONDITION",
        'Serving signature key "s" not found.',
    ),
    (
        "missing",
        lambda: ask({"a": np.zeros((1, 3), np.float32)}, "pair"),
        "INVALID_ARGUMENT",
        "input size does not match signature: 1!=2 len({a}) != len({a,b}). "
        "Sent extra: {}. Missing but required: {b}.",
    ),
    (
        "extra",
        lambda: ask({"x": floats(1), "z": floats(1)}),
        "INVALID_ARGUMENT",
        "Sent extra: {z}. Missing but required: {}.",
    ),
    (
        "misnamed",
        lambda: ask({"z": floats(1)}),
        "INVALID_ARGUMENT",
        "input tensor alias not found in signature: z. "
        "Inputs expected to be in the set {x}.",
    ),
    (
        "dtype",
        lambda: ask({"x": np.array([1.0])}),
        "INVALID_ARGUMENT",
        "input x: expected a tensor of float32, got float64",
    ),
    (
        "shape",
        lambda: ask({"a": np.zeros((1, 2), np.float32), "b": [b""]}, "pair"),
        "INVALID_ARGUMENT",
        "input a: expected shape (None, 3), got (1, 2)",
    ),
    ("malformed", lambda: ask({"x": malformed()}), "INVALID_ARGUMENT", "3 bytes"),
    (
        "bomb",
        lambda: ask({"x": bomb()}),
        "INVALID_ARGUMENT",
        "tensor parsing error: x: its shape announces 1000000000000 values",
    ),
    (
        "output",
        lambda: ask({"x": floats(1)}, output_filter=["q"]),
        "INVALID_ARGUMENT",
        "output tensor alias not found in signature: q "
        "Outputs expected to be in the set {x2,y}.",
    ),
    (
        "output twice",
        lambda: ask({"x": floats(1)}, output_filter=["y", "y"]),
        "INVALID_ARGUMENT",
        "duplicate output tensor alias: y",
    ),
    (
        "graph",
        lambda: ask({"n": np.array([-1])}, "strict"),
        "INVALID_ARGUMENT",
        "assert",
    ),
]


@pytest.mark.parametrize(
    ("make", "code", "words"), [e[1:] for e in ERRORS], ids=[e[0] for e in ERRORS]
)
def test_predict_errors(
    stub: Any, make: Callable[[], Any], code: str, words: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(make())
    error: Any = caught.value
    assert error.code() == grpc.StatusCode[code]
    assert words in error.details()
    assert len(error.details()) <= 1024


def test_sessions_are_unimplemented(half_server: ModelServer) -> None:
    with grpc.insecure_channel(f"localhost:{half_server.port}") as channel:
        run = channel.unary_unary("/tensorflow.serving.SessionService/SessionRun")
        with pytest.raises(grpc.RpcError) as caught:
            run(b"")
    error: Any = caught.value
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_deadline_stops_the_work(stub: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(ask({"loops": np.int32(10**8)}, "slow"), timeout=0.3)
    error: Any = caught.value
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    # Eight threads answer: were they still at work, the next call would have to wait.
    endless = ask({"loops": np.int32(10**8)}, "slow")
    calls = [stub.Predict.future(endless, timeout=0.3) for _ in range(8)]
    assert {call.code() for call in calls} == {grpc.StatusCode.DEADLINE_EXCEEDED}
    assert list(stub.Predict(ask({"x": floats(0)}), timeout=5).outputs["y"].float_val)


def test_metadata(stub: Any) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest()
    request.model_spec.name = "half"
    request.metadata_field.append("signature_def")
    answer = stub.GetModelMetadata(request)
    assert answer.model_spec.version.value == 7
    assert answer.model_spec.signature_name == ""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    pair = signatures.signature_def["pair"]
    assert sorted(pair.inputs) == ["a", "b"]
    assert [d.size for d in pair.inputs["a"].tensor_shape.dim] == [-1, 3]
    assert sorted(pair.outputs) == ["loud", "sum"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [([], "at least one metadata_field"), (["x"], "Metadata field x is not supported")],
)
def test_metadata_errors(stub: Any, fields: list[str], words: str) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = "half"
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetModelMetadata(request)
    error: Any = caught.value
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert words in error.details()


def test_status(half_server: ModelServer) -> None:
    request = get_model_status_pb2.GetModelStatusRequest()
    with grpc.insecure_channel(f"localhost:{half_server.port}") as channel:
        service = model_service_pb2_grpc.ModelServiceStub(channel)
        request.model_spec.name = "half"
        (only,) = service.GetModelStatus(request).model_version_status
        assert (only.version, only.state) == (7, 30)
        assert (only.status.error_code, only.status.error_message) == (0, "")
        for version, words in (
            (9, "Could not find version 9 of model half"),
            (None, "Could not find any versions of model other"),
        ):
            if version is None:
                request = get_model_status_pb2.GetModelStatusRequest()
                request.model_spec.name = "other"
            else:
                request.model_spec.version.value = version
            with pytest.raises(grpc.RpcError) as caught:
                service.GetModelStatus(request)
            error: Any = caught.value
            assert error.code() == grpc.StatusCode.NOT_FOUND
            assert error.details() == words
