"""What the flags of the models do."""

import contextlib
import os
import threading
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
    prediction_log_pb2,
)

from serving import loading
from serving.servable import Servable
from serving.status import ServingError
from tests.serving.conftest import wait_until
from tests.serving.flag_servers import (
    config_file,
    request,
    serve,
    shows,
)
from tests.serving.saved_models import save_half


@pytest.fixture
def base(half_base: Path) -> str:
    return f"--model_base_path={half_base}"


class TestModels:
    @shows("model_config_file", "model_config_file_poll_wait_seconds")
    def test_a_config_that_changes(self, half_base: Path, tmp_path: Path) -> None:
        path = config_file(tmp_path, a=half_base)
        with (
            serve(
                f"--model_config_file={path}", "--model_config_file_poll_wait_seconds=1"
            ) as polled,
            serve(f"--model_config_file={path}") as once,
        ):
            assert polled.predict("a")
            config_file(tmp_path, b=half_base)

            def is_served(name: str) -> bool:
                with contextlib.suppress(grpc.RpcError):
                    return bool(polled.predict(name))
                return False

            wait_until(lambda: is_served("b"))
            wait_until(lambda: not is_served("a"))
            assert once.predict("a")
            assert once.refusal(lambda: once.predict("b"))[0] == "NOT_FOUND"

    @shows("file_system_poll_wait_seconds")
    def test_looks_for_versions(self, half_base: Path, tmp_path: Path) -> None:
        os.symlink(half_base / "0007", tmp_path / "1")
        where = f"--model_base_path={tmp_path}"
        with (
            serve(where, "--file_system_poll_wait_seconds=0") as once,
            serve(where, "--file_system_poll_wait_seconds=1") as polling,
        ):
            os.symlink(half_base / "0007", tmp_path / "2")
            wait_until(lambda: polling.states() == {2: 30, 1: 50})
            assert once.states() == {1: 30}

    @shows("allow_version_labels_for_unavailable_models")
    def test_labels_at_the_start(self, half_base: Path, tmp_path: Path) -> None:
        path = config_file(tmp_path, a=half_base)
        text = path.read_text().replace(
            'name: "a"', 'name: "a" version_labels { key: "stable" value: 7 }'
        )
        path.write_text(text)
        with pytest.raises(ServingError, match="Request to assign label"):  # noqa: SIM117
            with serve(f"--model_config_file={path}"):
                pass
        with serve(
            f"--model_config_file={path}",
            "--allow_version_labels_for_unavailable_models",
        ) as running:
            labelled = request({"x": np.array([4], np.float32)}, "a")
            labelled.model_spec.version_label = "stable"
            assert running.stub.Predict(labelled).model_spec.version.value == 7

    @shows("saved_model_tags")
    def test_tags(self, tmp_path: Path) -> None:
        file = save_half(tmp_path, "1", 2.0) / "saved_model.pb"
        model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
        model.meta_graphs[0].meta_info_def.tags.append("blue")
        file.write_bytes(model.SerializeToString())
        where = f"--model_base_path={tmp_path}"
        with serve(where, "--max_num_load_retries=0") as running:
            assert running.states() == {1: 50}
        with serve(where, "--saved_model_tags=serve,blue") as running:
            assert running.predict()

    @shows("num_load_threads")
    def test_load_threads(
        self, half_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        together = threading.Barrier(2)
        real = loading.load

        def load(*arguments: Any) -> Any:
            together.wait(20)  # breaks unless two are loaded at a time
            return real(*arguments)

        monkeypatch.setattr(loading, "load", load)
        path = config_file(tmp_path, a=half_base, b=half_base)
        with serve(f"--model_config_file={path}", "--num_load_threads=2") as running:
            assert running.predict("a")
            assert running.predict("b")

    @shows("max_num_load_retries", "load_retry_interval_micros")
    def test_retries(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        (tmp_path / "1").mkdir()
        where = f"--model_base_path={tmp_path}"
        with serve(
            where, "--max_num_load_retries=2", "--load_retry_interval_micros=-1"
        ) as running:
            wait_until(lambda: running.states() == {1: 50})
        assert "attempt 3 of 3" in caplog.text
        with serve(where, "--max_num_load_retries=0") as running:
            assert running.states() == {1: 50}
        with serve(where) as running:  # the next try is in a minute
            assert running.states() == {1: 20}

    @shows("enable_model_warmup", "num_request_iterations_for_warmup")
    def test_warm_up(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        extra = save_half(tmp_path, "1", 2.0) / "assets.extra"
        extra.mkdir()
        log = prediction_log_pb2.PredictionLog()
        log.predict_log.request.CopyFrom(
            request({"n": np.array([3], np.int64)}, signature="strict")
        )
        with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as writer:
            writer.write(log.SerializeToString())
        runs: list[str] = []
        real = Servable.run

        def run(servable: Servable, signature: str, *rest: Any) -> Any:
            runs.append(signature)
            return real(servable, signature, *rest)

        monkeypatch.setattr(Servable, "run", run)
        where = f"--model_base_path={tmp_path}"
        for more, times in (
            ([], 1),
            (["--num_request_iterations_for_warmup=3"], 3),
            (["--enable_model_warmup=false"], 0),
        ):
            runs.clear()
            with serve(where, *more) as running:
                assert running.states() == {1: 30}
                assert runs == ["strict"] * times
