"""What is logged of requests, and what is not."""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)
from tensorflow_serving.config import logging_config_pb2

from serving import model_config
from serving.record_files import LogFiles, RecordFiles
from serving.request_log import RequestLogs, logging_config
from serving.server import ModelServer
from serving.status import ServingError
from tests.serving.conftest import wait_until
from tests.serving.prediction_protos import example, predict_request

SECRET = "hunter2"


def read(folder: Path) -> list[Any]:
    """The logs in the complete files, in the order of their names."""
    files = sorted(str(one) for one in folder.glob("*.tfrecord"))
    records = tf.data.TFRecordDataset(files).as_numpy_iterator()
    return [prediction_log_pb2.PredictionLog.FromString(one) for one in records]


def predict_response(version: int = 3) -> Any:
    response = predict_pb2.PredictResponse()
    response.model_spec.name = "m"
    response.model_spec.version.value = version
    response.model_spec.signature_name = "serving_raw"
    response.outputs["age_present"].CopyFrom(tf.make_tensor_proto([True, False]))
    return response


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[RequestLogs]:
    """Logs every request of `m` to `tmp_path`/m-*."""
    found = RequestLogs()
    found.configure({"m": logging_config(str(tmp_path / "m"), 1.0)})
    yield found
    found.close()


def test_a_log_says_what_was_asked_and_answered(
    logs: RequestLogs, tmp_path: Path
) -> None:
    assert logs.sample("m")
    assert not logs.sample("other")
    request, response = (
        predict_request(age=np.array([3, 4], np.float32)),
        predict_response(),
    )
    logs.write("m", "predict", request.SerializeToString(), response)
    logs.close()
    (log,) = read(tmp_path)
    assert log.predict_log.request == request
    assert log.predict_log.response == response
    metadata = log.log_metadata
    assert metadata.model_spec.name == "m"
    assert metadata.model_spec.version.value == 3
    assert metadata.model_spec.signature_name == "serving_raw"
    assert metadata.sampling_config.sampling_rate == 1.0
    assert list(metadata.saved_model_tags) == ["serve"]
    assert metadata.timestamp_secs > 1_700_000_000


def test_every_method_has_its_log(logs: RequestLogs, tmp_path: Path) -> None:
    classify = classification_pb2.ClassificationRequest()
    classify.input.example_list.examples.append(example(x=[1.0]))
    classified = classification_pb2.ClassificationResponse()
    classified.model_spec.version.value = 4
    regress = regression_pb2.RegressionRequest()
    regressed = regression_pb2.RegressionResponse()
    regressed.result.regressions.add().value = 0.5
    both = inference_pb2.MultiInferenceRequest()
    both.tasks.add().method_name = "tensorflow/serving/regress"
    inferred = inference_pb2.MultiInferenceResponse()
    inferred.results.add().model_spec.version.value = 5
    logs.write("m", "classify", classify, classified)
    logs.write("m", "regress", regress, regressed.SerializeToString())
    logs.write("m", "multi_inference", both, inferred)
    logs.close()
    one, two, three = read(tmp_path)
    assert one.classify_log.request == classify
    assert one.log_metadata.model_spec.version.value == 4
    assert two.regress_log.response == regressed
    assert three.multi_inference_log.request == both
    assert three.log_metadata.model_spec.version.value == 5
    assert three.log_metadata.model_spec.name == "m"


def test_the_share_that_is_sampled(tmp_path: Path) -> None:
    logs = RequestLogs()
    for rate, least, most in ((0.0, 0, 0), (0.2, 300, 500), (1.0, 2000, 2000)):
        logs.configure({"m": logging_config(str(tmp_path / "m"), rate)})
        # 0.2 of 2,000: 400 with a standard deviation of 18.
        assert least <= sum(logs.sample("m") for _ in range(2000)) <= most
    logs.close()


def test_files_are_complete_by_size_and_by_age(tmp_path: Path) -> None:
    files = RecordFiles(str(tmp_path / "m"), LogFiles(max_bytes=100, max_seconds=3600))
    files.write(b"a" * 40)
    (partial,) = tmp_path.iterdir()
    assert partial.name.endswith(".tfrecord.partial")
    files.write(b"b" * 40)  # 2 * (40 + 16) are more than 100
    (complete,) = tmp_path.iterdir()
    assert complete.suffix == ".tfrecord"
    files.write(b"c")
    assert not files.is_old()
    files.close()
    assert len(list(tmp_path.glob("*.tfrecord"))) == 2
    young = RecordFiles(str(tmp_path / "m"), LogFiles(max_seconds=0))
    assert not young.is_old()  # there is no file yet
    young.write(b"d")
    assert young.is_old()
    young.close()


def test_a_quiet_log_is_completed_by_its_age(tmp_path: Path) -> None:
    logs = RequestLogs(files=LogFiles(max_seconds=0.1))
    logs.configure({"m": logging_config(str(tmp_path / "m"), 1.0)})
    logs.write("m", "predict", predict_request(), predict_response())
    wait_until(lambda: len(read(tmp_path)) == 1)
    logs.close()


def test_a_model_that_logs_no_more_completes_its_file(
    logs: RequestLogs, tmp_path: Path
) -> None:
    logs.write("m", "predict", predict_request(), predict_response())
    logs.configure({})
    logs.write("m", "predict", predict_request(), predict_response())
    wait_until(lambda: len(read(tmp_path)) == 1)


class TestFull:
    """The writer is held up, and requests do not wait for it."""

    @pytest.fixture
    def held(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
        go = threading.Event()
        real = RecordFiles.write

        def write(files: RecordFiles, data: bytes) -> None:
            go.wait(20)
            real(files, data)

        monkeypatch.setattr(RecordFiles, "write", write)
        yield go
        go.set()

    @pytest.mark.parametrize(
        "files", [LogFiles(queue_records=3), LogFiles(queue_bytes=200)]
    )
    def test_what_is_too_much_is_dropped_and_said(
        self,
        held: threading.Event,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
        files: LogFiles,
    ) -> None:
        logs = RequestLogs(files=files)
        logs.configure({"m": logging_config(str(tmp_path / "m"), 1.0)})
        for _ in range(50):
            logs.write("m", "predict", predict_request(), predict_response())
        assert 40 <= logs.dropped < 50
        dropped = logs.dropped
        held.set()
        logs.close()
        assert len(read(tmp_path)) == 50 - dropped
        assert f"{dropped} records were dropped" in caplog.text


def test_a_failing_disk_is_survived(
    logs: RequestLogs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    real = RecordFiles.write

    def fail(files: RecordFiles, data: bytes) -> None:
        raise OSError(f"no space for {data!r}")

    monkeypatch.setattr(RecordFiles, "write", fail)
    logs.write("m", "predict", predict_request(note=[SECRET]), predict_response())
    wait_until(lambda: logs.dropped == 1)
    monkeypatch.setattr(RecordFiles, "write", real)
    logs.write("m", "predict", predict_request(), predict_response())
    logs.close()
    assert len(read(tmp_path)) == 1
    assert "a record is lost: OSError" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            'log_collector_config { type: "kafka" filename_prefix: "/tmp/x" }',
            "log_collector_config.type is expected to be \"tfrecord\", got 'kafka'",
        ),
        ("", "log_collector_config.filename_prefix is missing"),
        (
            'log_collector_config { filename_prefix: "/tmp/x" } '
            "sampling_config { sampling_rate: 1.5 }",
            "sampling_rate is expected to be from 0 to 1, got 1.5",
        ),
        (
            'log_collector_config { filename_prefix: "/dev/null/x" }',
            "the folder of /dev/null/x cannot be made",
        ),
    ],
)
def test_an_unusable_config_is_refused(text: str, words: str) -> None:
    from google.protobuf import text_format

    config = text_format.Parse(text, logging_config_pb2.LoggingConfig())
    logs = RequestLogs()
    with pytest.raises(ServingError) as caught:
        logs.configure({"m": config})
    assert caught.value.code == grpc.StatusCode.INVALID_ARGUMENT
    assert words in caught.value.message
    assert "logging_config of model m" in caught.value.message
    assert not logs.sample("m")


def test_two_models_cannot_share_a_prefix(tmp_path: Path) -> None:
    config = logging_config(str(tmp_path / "m"), 1.0)
    with pytest.raises(ServingError, match="Duplicate LogCollectorConfig"):
        RequestLogs().configure({"a": config, "b": config})


def test_a_server_logs_and_leaves_no_input_in_its_text_log(
    half_base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    config = model_config.single_model(
        "half", str(half_base), logging_config(str(tmp_path / "half"), 1.0)
    )
    with (
        ModelServer(config=config, request_logs=RequestLogs(["b"])) as server,
        grpc.insecure_channel(f"localhost:{server.port}") as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = predict_request(a=np.ones([1, 3], np.float32), b=[SECRET])
        request.model_spec.name = "half"
        request.model_spec.signature_name = "pair"
        answer = stub.Predict(request)
        request.inputs["a"].dtype = 3  # an error is not logged
        with pytest.raises(grpc.RpcError):
            stub.Predict(request)
    (log,) = read(tmp_path)
    logged = log.predict_log
    assert tf.make_ndarray(logged.request.inputs["b"]).tolist() == [b""]
    assert tf.make_ndarray(logged.request.inputs["a"]).tolist() == [[1, 1, 1]]
    assert logged.response == answer
    assert list(logged.response.outputs["loud"].string_val) == [b"HUNTER2"]
    assert SECRET not in caplog.text
