"""No input value is in an error or a log line, whatever TensorFlow says of it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.graph_errors import safe_text

ROOT = Path(__file__).parents[2]
TEXT, NUMBER = b"sEcReT-4711", 4711
SHOWN = re.compile(r"sEcReT|c0VjUmVU|4711")  # as it is, in base64, as a number


def assertion(x: Any) -> Any:
    checked = tf.debugging.Assert(tf.reduce_all(x == ""), ["a text is expected", x])
    with tf.control_dependencies([checked]):
        return tf.identity(x)


# What each refuses, quoting it, as TensorFlow 2.16 does.
REFUSING: dict[str, Callable[[Any], Any]] = {
    "to_number": tf.strings.to_number,
    "parse_example": lambda x: tf.io.parse_example(
        x, {"a": tf.io.FixedLenFeature([], tf.float32)}
    )["a"],
    "parse_tensor": lambda x: tf.map_fn(
        lambda one: tf.io.parse_tensor(one, tf.string), x
    ),
    "decode_json": tf.io.decode_json_example,
    "decode_csv": lambda x: tf.io.decode_csv(x, [[1.0]])[0],
    "substr": lambda x: tf.strings.substr(x, 99, 1),
    "assertion": assertion,
    "decode_base64": lambda x: tf.io.decode_base64(tf.strings.join([x, "*"])),
    "decode_image": lambda x: tf.map_fn(
        lambda one: tf.io.decode_image(one, expand_animations=False),
        x,
        fn_output_signature=tf.uint8,
    ),
    "gather": lambda x: tf.gather(
        x, tf.strings.to_number(tf.strings.substr(x, 7, 4), tf.int32)
    ),
}


def signature(function: Callable[[Any], Any]) -> Any:
    spec = tf.TensorSpec([None], tf.string, name="x")
    return tf.function(lambda x: {"y": function(x)}, input_signature=[spec])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("refusing")
    module = tf.Module()
    signatures = {name: signature(function) for name, function in REFUSING.items()}
    module.kept = signatures
    tf.saved_model.save(module, str(base / "1"), signatures=signatures)
    return base


@pytest.fixture(scope="module", params=[False, True], ids=["", "batching"])
def log_and_channel(
    request: pytest.FixtureRequest, base: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, grpc.Channel]]:
    """A server as a user starts it, and the file of all that it prints."""
    log = tmp_path_factory.mktemp("log") / "server.log"
    environment = dict(os.environ)
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    command = [sys.executable, "-m", "serving.server", "--port=0", "--model_name=m"]
    command += [f"--model_base_path={base}", f"--enable_batching={request.param}"]
    with (
        log.open("w") as file,
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=file
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline().decode()
            found = re.search(r"gRPC ModelServer at 0.0.0.0:(\d+)", line)
            assert found, log.read_text()
            with grpc.insecure_channel(f"localhost:{found[1]}") as channel:
                yield log, channel
        finally:
            process.send_signal(signal.SIGTERM)


def refused(call: Callable[[], Any]) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("signature", REFUSING)
def test_what_a_graph_refuses(
    log_and_channel: tuple[Path, grpc.Channel], signature: str
) -> None:
    log, channel = log_and_channel
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.model_spec.signature_name = signature
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([TEXT]))
    error = refused(lambda: stub.Predict(request))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error.details()
    assert not SHOWN.search(error.details())
    assert not SHOWN.search(log.read_text())
    if signature == "assertion":
        assert "[a text is expected] [...]" in error.details()
    if signature == "decode_image":
        assert error.details().startswith("Unknown image file format.")
    if signature == "parse_example":
        assert error.details().startswith("Could not parse example input")


PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256))


@pytest.mark.parametrize(
    ("signature", "value"),
    [
        ("parse_example", PNG),
        ("to_number", b"\xff\xfe" + TEXT),
        ("parse_tensor", b"\x80" + TEXT),
        ("decode_json", b"\xc3" + TEXT),
        ("decode_csv", b"\xff" + TEXT),
        ("assertion", b"\xed\xa0\x80" + TEXT),
    ],
)
def test_bytes_that_are_no_text_are_refused_as_others_are(
    log_and_channel: tuple[Path, grpc.Channel], signature: str, value: bytes
) -> None:
    """TensorFlow's message quotes them, and is then no text itself."""
    log, channel = log_and_channel
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.model_spec.signature_name = signature
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([value]))
    error = refused(lambda: stub.Predict(request))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error.details()
    assert not SHOWN.search(error.details())
    if signature == "parse_example":
        assert error.details().startswith("Could not parse example input")
    assert "UnicodeDecodeError" not in log.read_text()
    assert not SHOWN.search(log.read_text())


def test_features_unlike_the_models_are_named() -> None:
    wrong = "Name: <unknown>, Key: x, Index: 0.  Data types don't match. "
    assert safe_text(
        f"{wrong}Data type: int64 but expected type: float{{{{node P}}}}"
    ) == ("Data types don't match. Data type: int64 but expected type: float at node P")
    few = "Key: x.  Number of float values != expected.  Values size: 1 but output shape: [2]"
    assert safe_text(few) == (
        "Number of float values != expected.  Values size: 1 but output shape: [2]"
    )


def test_what_is_refused_before_a_graph(
    log_and_channel: tuple[Path, grpc.Channel],
) -> None:
    log, channel = log_and_channel
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    wrong = predict_pb2.PredictRequest()
    wrong.model_spec.name = "m"
    wrong.model_spec.signature_name = "to_number"
    for tensor in (
        tf.make_tensor_proto([NUMBER]),
        tf.make_tensor_proto([[TEXT]]),
        tf.make_tensor_proto([NUMBER], tf.int32),
    ):
        wrong.inputs["x"].CopyFrom(tensor)
        error = refused(lambda: stub.Predict(wrong))
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert not SHOWN.search(error.details())
    wrong.inputs["x"].tensor_shape.dim[0].size = 9
    wrong.inputs["x"].tensor_content = TEXT
    assert not SHOWN.search(refused(lambda: stub.Predict(wrong)).details())
    # An `Example` that is none: protobuf's own parser sees it first.
    raw = channel.unary_unary("/tensorflow.serving.PredictionService/Classify")
    spec = classification_pb2.ClassificationRequest()
    spec.model_spec.name = "m"
    example = b"\x0a" + bytes([len(TEXT)]) + TEXT
    listed = b"\x0a" + bytes([len(example)]) + example
    request = spec.SerializeToString() + b"\x12" + bytes([len(listed)]) + listed
    error = refused(lambda: raw(request))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == "the request is not a ClassificationRequest"
    assert not SHOWN.search(log.read_text())


def test_a_value_cannot_pass_for_the_models_words() -> None:
    words = frozenset({"", "too long"})
    message = "assertion failed: [too long] [x] [too long] [] [4711 [ x] [y]]"
    assert safe_text(message, words) == (
        "assertion failed: [too long] [...] [too long] [] [...] [...]"
    )
    hidden = safe_text("{{node a/B}} could not convert 4711", words)
    assert hidden.startswith("the graph refused its input at node a/B;")
    assert "4711" not in hidden


def test_shapes_are_no_values() -> None:
    text = "{{node add}} Incompatible shapes: [2,3] vs. [4] and 4711"
    assert safe_text(text) == "Incompatible shapes: [2,3] vs. [4] at node add"
