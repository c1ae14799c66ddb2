"""What the flags of metrics and request logs do."""

from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    prediction_log_pb2,
)

from serving import command
from tests.serving.conftest import wait_until
from tests.serving.flag_servers import (
    rest_port,
    serve,
    shows,
)


@pytest.fixture
def base(half_base: Path) -> str:
    return f"--model_base_path={half_base}"


class TestWatching:
    @shows("monitoring_config_file")
    def test_metrics(self, base: str, tmp_path: Path) -> None:
        path = tmp_path / "monitoring.config"
        default = "/monitoring/prometheus/metrics"
        for text, where in (
            ("prometheus_config { enable: true }", default),
            ('prometheus_config { enable: true path: "/m" }', "/m"),
        ):
            path.write_text(text)
            with serve(
                base, rest_port(), f"--monitoring_config_file={path}"
            ) as running:
                running.predict()
                status, page, _ = running.rest(where)
                assert status == 200
                count = ':tensorflow:serving:request_count{model_name="half"'
                assert count in page
        path.write_text("")
        with serve(base, rest_port(), f"--monitoring_config_file={path}") as running:
            assert running.rest(default)[0] == 404

    @shows("request_log_prefix", "request_log_redact_inputs")
    def test_request_logs(self, base: str, tmp_path: Path) -> None:
        with serve(
            base,
            f"--request_log_prefix={tmp_path}/logs/half",
            "--request_log_redact_inputs=x,y",
        ) as running:
            running.predict()
        (log,) = logged(tmp_path / "logs")
        assert np.isnan(tf.make_ndarray(log.predict_log.request.inputs["x"])).all()
        assert list(log.predict_log.response.outputs["y"].float_val) == [4.0]

    @shows("request_log_sampling_rate")
    def test_sampling(self, base: str, tmp_path: Path) -> None:
        with serve(
            base,
            f"--request_log_prefix={tmp_path}/half",
            "--request_log_sampling_rate=0.25",
        ) as running:
            for _ in range(400):
                running.predict()
        # 100 with a standard deviation of 9.
        assert 50 <= len(logged(tmp_path)) <= 150

    @shows("request_log_max_file_bytes")
    def test_file_bytes(self, base: str, tmp_path: Path) -> None:
        with serve(
            base,
            f"--request_log_prefix={tmp_path}/half",
            "--request_log_max_file_bytes=1",
        ) as running:
            for _ in range(3):
                running.predict()
            wait_until(lambda: len(list(tmp_path.glob("*.tfrecord"))) == 3)

    @shows("request_log_max_file_seconds")
    def test_file_seconds(self, base: str, tmp_path: Path) -> None:
        with serve(
            base,
            f"--request_log_prefix={tmp_path}/half",
            "--request_log_max_file_seconds=1",
        ) as running:
            running.predict()
            wait_until(lambda: len(list(tmp_path.glob("*.tfrecord"))) == 1)

    @shows("version")
    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert command.main(["--version"]) == 0
        printed = capsys.readouterr().out
        assert f"polymodal model server: {metadata.version('polymodal')}" in printed
        assert f"TensorFlow: {tf.__version__}" in printed


def logged(folder: Path) -> list[Any]:
    files = sorted(str(one) for one in folder.glob("*.tfrecord"))
    return [
        prediction_log_pb2.PredictionLog.FromString(one)
        for one in tf.data.TFRecordDataset(files).as_numpy_iterator()
    ]
