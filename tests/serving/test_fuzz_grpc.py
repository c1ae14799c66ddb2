"""Property-based tests of the gRPC front: right status, own answer, never a crash."""

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given, note
from hypothesis import strategies as st
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    predict_pb2,
    regression_pb2,
)

from benchmarks.server_process import ServerProcess
from tests.serving.fuzz_targets import messages
from tests.serving.fuzz_targets.messages import FORBIDDEN, Verdict
from tests.serving.fuzz_targets.server import Bystanders
from tests.serving.fuzz_targets.settings import fuzz

SERVICE = "/tensorflow.serving.PredictionService/"
REFUSALS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNIMPLEMENTED,
}


@pytest.fixture(scope="module")
def channel(fuzzed: ServerProcess) -> Iterator[grpc.Channel]:
    """Open while two bystanders ask and check their answers."""
    with grpc.insecure_channel(fuzzed.address) as opened, Bystanders(fuzzed):
        yield opened
    assert fuzzed.alive()


def check(call: Any, verdict: Verdict) -> None:
    """The future of a Predict call ends as it must."""
    code = call.code()  # waits
    assert code in verdict.codes, (code, call.details(), verdict.codes)
    if code != grpc.StatusCode.OK:
        assert len(call.details()) <= 1024
        if not verdict.names_marked:
            assert not [word for word in FORBIDDEN if word in call.details()]
        return
    answer = predict_pb2.PredictResponse.FromString(call.result())
    assert answer.model_spec.version.value == messages.VERSION
    assert set(answer.outputs) == set(verdict.outputs)
    for name, expected in verdict.outputs.items():
        proto = answer.outputs[name]
        assert [dim.size for dim in proto.tensor_shape.dim] == [len(expected)]
        if proto.dtype == 7:
            assert list(proto.string_val) == list(expected)
        else:
            found = np.array(proto.float_val, np.float32)
            # TensorFlow takes denormal numbers for zero.
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-37)


@fuzz(120)
@given(batch=st.lists(messages.anything(), min_size=1, max_size=6))
def test_each_of_several_calls_gets_its_own_answer(
    channel: grpc.Channel, batch: list[messages.Message]
) -> None:
    """Sent at once, so that the server puts good and bad ones into one batch."""
    predict = channel.unary_unary(SERVICE + "Predict")
    calls = [predict.future(message.data, timeout=30) for message in batch]
    for message, call in zip(batch, calls, strict=True):
        note(f"{message}: {messages.told(message.data)}")
        check(call, messages.judge(message.data))


@fuzz(60)
@given(
    method=st.sampled_from(
        [
            "PredictionService/Predict",
            "PredictionService/Classify",
            "PredictionService/Regress",
            "PredictionService/MultiInference",
            "PredictionService/GetModelMetadata",
            "ModelService/GetModelStatus",
            "ModelService/HandleReloadConfigRequest",
            "SessionService/SessionRun",
            "PredictionService/Nothing",
        ]
    ),
    data=st.binary(max_size=80),
)
def test_random_bytes_are_refused_by_every_method(
    channel: grpc.Channel, method: str, data: bytes
) -> None:
    # Cut off in the middle of a field: no message of any type.
    data = messages.MARKER.encode() + data + b"\x0a\xff\xff"
    call = channel.unary_unary(f"/tensorflow.serving.{method}").future(data, timeout=30)
    known = not method.startswith("Session") and not method.endswith("Nothing")
    expected = grpc.StatusCode.INVALID_ARGUMENT
    assert call.code() == (expected if known else grpc.StatusCode.UNIMPLEMENTED)
    assert messages.MARKER not in call.details()


def _examples(draw: Any, input_proto: Any) -> None:
    """Fills an `Input` with some Examples, marked and of any type."""
    for _ in range(draw(st.integers(0, 3))):
        example = input_proto.example_list.examples.add()
        for name in draw(st.lists(st.sampled_from(["x", "y", ""]), max_size=2)):
            feature = example.features.feature[name]
            kind = draw(st.integers(0, 3))
            if kind == 0:
                feature.bytes_list.value.append(messages.MARKER.encode())
            elif kind == 1:
                feature.float_list.value.append(messages.MARKED_NUMBER)
            elif kind == 2:
                feature.int64_list.value.append(messages.MARKED_NUMBER)


@st.composite
def other_requests(draw: Any) -> tuple[str, bytes]:
    """Well-formed requests of the other methods, of a model that fits none of them."""
    method = draw(
        st.sampled_from(
            ["Classify", "Regress", "MultiInference", "GetModelMetadata", "Status"]
        )
    )
    request: Any
    if method == "MultiInference":
        request = inference_pb2.MultiInferenceRequest()
        for _ in range(draw(st.integers(0, 3))):
            task = request.tasks.add()
            task.model_spec.name = draw(st.sampled_from(["half", "halb", ""]))
            task.method_name = draw(
                st.sampled_from(["", "tensorflow/serving/classify", "other"])
            )
        _examples(draw, request.input)
        return "PredictionService/MultiInference", request.SerializeToString()
    types = {
        "Classify": classification_pb2.ClassificationRequest,
        "Regress": regression_pb2.RegressionRequest,
        "GetModelMetadata": get_model_metadata_pb2.GetModelMetadataRequest,
        "Status": get_model_status_pb2.GetModelStatusRequest,
    }
    request = types[method]()
    spec = request.model_spec
    spec.name = draw(
        st.sampled_from(["halb", ""] if method == "Status" else ["half", ""])
    )
    spec.signature_name = draw(st.sampled_from(["", "pair", "strict", "no"]))
    if method in ("Classify", "Regress"):
        _examples(draw, request.input)
    if method == "GetModelMetadata":
        request.metadata_field.append("other")
    service = "ModelService/GetModelStatus" if method == "Status" else None
    return service or f"PredictionService/{method}", request.SerializeToString()


@fuzz(80)
@given(other_requests())
def test_what_a_model_cannot_answer_is_refused(
    channel: grpc.Channel, request: tuple[str, bytes]
) -> None:
    method, data = request
    call = channel.unary_unary(f"/tensorflow.serving.{method}").future(data, timeout=30)
    assert call.code() in REFUSALS, (call.code(), call.details())
    assert not [word for word in FORBIDDEN if word in call.details()]


def test_calls_given_up_leave_no_trace(
    channel: grpc.Channel, fuzzed: ServerProcess
) -> None:
    """Cancelled at once, or with deadlines that have passed before they arrive."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "half"
    request.inputs["x"].dtype = 1
    request.inputs["x"].tensor_shape.dim.add().size = 3
    request.inputs["x"].float_val.append(1.0)
    data = request.SerializeToString()
    predict = channel.unary_unary(SERVICE + "Predict")
    for _ in range(50):
        calls = [predict.future(data, timeout=30) for _ in range(4)]
        for call in calls[:2]:
            call.cancel()
        late = predict.future(data, timeout=0.0001)
        assert {call.code() for call in calls[2:]} == {grpc.StatusCode.OK}
        assert late.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.OK)
    check(predict.future(data, timeout=30), messages.judge(data))
