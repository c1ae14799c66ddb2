"""Every flag has an effect: one test or more for each, and a test that none is left out.

`shows` names the flags that a test is for. The servers run in this process, as the
command makes them.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import (
    health_pb2,
    health_pb2_grpc,
)
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from serving import command, configured, flags, loading
from serving.flag_table import ABSENT, FLAGS
from serving.model_server import ModelServer
from serving.servable import Servable
from serving.status import ServingError
from tests.serving import test_tls
from tests.serving.conftest import wait_until
from tests.serving.saved_models import save_half

ROOT = Path(__file__).parents[2]
Test = TypeVar("Test", bound=Callable[..., None])

# Flag -> the tests that show what it does.
SHOWN: dict[str, list[str]] = {
    # In a process of their own, where the others are threads of this one.
    "worker_processes": [
        "test_workers.py: test_two_servers_behind_one_port_and_one_is_killed"
    ],
}


def shows(*names: str) -> Callable[[Test], Test]:
    def note(test: Test) -> Test:
        for name in names:
            SHOWN.setdefault(name, []).append(test.__name__)
        return test

    return note


def test_every_flag_is_shown_to_work() -> None:
    assert sorted(SHOWN) == sorted(FLAGS)
    workers = (Path(__file__).parent / "test_workers.py").read_text()
    assert f"def {SHOWN['worker_processes'][0].split()[1]}(" in workers


class Running:
    """A server and the calls that the tests make."""

    def __init__(self, server: ModelServer, *options: tuple[str, Any]) -> None:
        self.server = server
        self.channel = grpc.insecure_channel(f"localhost:{server.port}", options)
        self.stub = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)

    def predict(self, name: str = "half", **more: Any) -> Any:
        return self.stub.Predict(
            request({"x": np.array([4], np.float32)}, name), **more
        )

    def refusal(self, call: Callable[[], Any]) -> tuple[str, str]:
        with pytest.raises(grpc.RpcError) as caught:
            call()
        error: Any = caught.value
        return error.code().name, error.details()

    def states(self, name: str = "half") -> dict[int, int]:
        asked = get_model_status_pb2.GetModelStatusRequest()
        asked.model_spec.name = name
        service = model_service_pb2_grpc.ModelServiceStub(self.channel)
        found = service.GetModelStatus(asked).model_version_status
        return {one.version: one.state for one in found}

    def rest(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
        asked = urllib.request.Request(
            f"http://localhost:{self.server.rest_port}{path}",
            None if body is None else json.dumps(body).encode(),
            headers,
        )
        try:
            with urllib.request.urlopen(asked) as answer:
                return answer.status, answer.read().decode(), answer.headers
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), error.headers


def request(inputs: dict[str, Any], name: str = "half", signature: str = "") -> Any:
    found = predict_pb2.PredictRequest()
    found.model_spec.name = name
    found.model_spec.signature_name = signature
    for key, value in inputs.items():
        found.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return found


def slow(loops: int) -> Any:
    return request({"loops": np.int32(loops)}, signature="slow")


@contextlib.contextmanager
def serve(*arguments: str) -> Iterator[Running]:
    """A server on a free port, as `python -m serving.server` makes it."""
    words = ["--port=0", "--model_name=half", *arguments]
    values = flags.parse(words)
    command.check(values)
    with configured.model_server(values, "127.0.0.1") as server:
        watch = configured.model_config_watch(values, server)
        if watch is not None:
            watch.start()
        running = Running(server)
        try:
            yield running
        finally:
            running.channel.close()
            if watch is not None:
                watch.stop()


@pytest.fixture
def base(half_base: Path) -> str:
    return f"--model_base_path={half_base}"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def rest_port() -> str:
    return f"--rest_api_port={free_port()}"


def config_file(folder: Path, **models: Path) -> Path:
    path = folder / "models.config"
    listed = "".join(
        f'config {{ name: "{name}" base_path: "{where}" model_platform: "tensorflow" }}'
        for name, where in models.items()
    )
    path.write_text(f"model_config_list {{ {listed} }}")
    return path


class TestPorts:
    @shows("port", "model_name", "model_base_path")
    def test_port_name_and_path(self, half_base: Path) -> None:
        port = free_port()
        with serve(
            f"--port={port}", "--model_name=other", f"--model_base_path={half_base}"
        ) as running:
            assert running.server.port == port
            assert list(running.predict("other").outputs["y"].float_val) == [4.0]

    @shows("grpc_socket_path")
    def test_a_unix_socket(self, base: str, tmp_path: Path) -> None:
        path = tmp_path / "socket"
        with (
            serve(base, f"--grpc_socket_path={path}") as running,
            grpc.insecure_channel(f"unix:{path}") as channel,
        ):
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            stub.Predict(request({"x": np.array([4], np.float32)}))
            assert running.predict()

    @shows("rest_api_port")
    def test_rest(self, base: str) -> None:
        port = free_port()
        with serve(base, f"--rest_api_port={port}") as running:
            assert running.server.rest_port == port
            body = {"instances": [4.0]}
            status, text, _ = running.rest("/v1/models/half:predict", body)
            assert (status, json.loads(text)) == (
                200,
                {"predictions": [{"x2": 8.0, "y": 4.0}]},
            )
        with serve(base) as running:
            assert running.server.rest_port is None

    @shows("rest_api_timeout_in_ms")
    def test_rest_timeout(self, base: str) -> None:
        with serve(base, rest_port(), "--rest_api_timeout_in_ms=50") as running:
            body = {"signature_name": "slow", "inputs": 10**8}
            assert running.rest("/v1/models/half:predict", body)[0] == 504

    @shows("rest_api_enable_cors_support")
    def test_cors(self, base: str) -> None:
        for flag, allowed in (("true", "*"), ("false", None)):
            with serve(
                base, rest_port(), f"--rest_api_enable_cors_support={flag}"
            ) as running:
                headers = running.rest("/v1/models/half")[2]
                assert headers["Access-Control-Allow-Origin"] == allowed

    @shows("grpc_channel_arguments")
    def test_channel_arguments(self, base: str) -> None:
        arguments = "grpc.max_receive_message_length=500,grpc.optimization_target=blend"
        with serve(base, f"--grpc_channel_arguments={arguments}") as running:
            large = request({"x": np.zeros(500, np.float32)})
            code, _ = running.refusal(lambda: running.stub.Predict(large))
            assert code == "RESOURCE_EXHAUSTED"
            assert running.predict()

    @shows("grpc_max_threads")
    def test_threads(self, base: str) -> None:
        for threads, code in ((1, grpc.StatusCode.DEADLINE_EXCEEDED), (2, None)):
            with serve(base, f"--grpc_max_threads={threads}") as running:
                running.predict()
                long = running.stub.Predict.future(slow(10**8), timeout=1.0)
                second = running.stub.Predict.future(
                    request({"x": np.array([4], np.float32)}), timeout=0.5
                )
                assert second.code() in (code, grpc.StatusCode.OK)
                assert (second.code() == grpc.StatusCode.OK) == (threads == 2)
                long.cancel()

    @shows("enable_grpc_healthcheck_service")
    def test_health(self, base: str) -> None:
        asked = health_pb2.HealthCheckRequest()
        with serve(base) as running:
            health = health_pb2_grpc.HealthStub(running.channel)
            assert running.refusal(lambda: health.Check(asked))[0] == "UNIMPLEMENTED"
        with serve(base, "--enable_grpc_healthcheck_service") as running:
            health = health_pb2_grpc.HealthStub(running.channel)
            assert health.Check(asked).status == 1
            asked.service = "no.such.Service"
            assert running.refusal(lambda: health.Check(asked))[0] == "NOT_FOUND"


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


class TestRunning:
    @shows("enable_batching")
    def test_batching(self, base: str) -> None:
        scalar = slow(1)  # cannot be put together with others
        with serve(base) as running:
            assert running.stub.Predict(scalar)
        with serve(base, "--enable_batching") as running:
            code, words = running.refusal(lambda: running.stub.Predict(scalar))
            assert code == "INVALID_ARGUMENT"
            assert "at least one dimension" in words
            assert running.predict()

    @shows("batching_parameters_file")
    def test_batching_parameters(self, base: str, tmp_path: Path) -> None:
        path = tmp_path / "batching.config"
        path.write_text("max_batch_size { value: 2 } num_batch_threads { value: 1 }")
        three = request({"x": np.array([1, 2, 3], np.float32)})
        with serve(
            base, "--enable_batching", f"--batching_parameters_file={path}"
        ) as running:
            code, words = running.refusal(lambda: running.stub.Predict(three))
            assert code == "INVALID_ARGUMENT"
            assert "3" in words

    @shows(
        "tensorflow_session_parallelism",
        "tensorflow_intra_op_parallelism",
        "tensorflow_inter_op_parallelism",
        "xla_cpu_compilation_enabled",
    )
    def test_tensorflow(self, half_base: Path, tmp_path: Path) -> None:
        """Each in a process of its own, forked before TensorFlow has begun."""
        code = """
import json, os, sys
from pathlib import Path
import numpy as np
from serving import configured, flags
base, folder = sys.argv[1:3]
for number, words in enumerate(json.loads(sys.argv[3])):
    if os.fork() == 0:
        os.environ["XLA_FLAGS"] = f"--xla_dump_to={folder}/{number}"
        os.environ["TF_XLA_FLAGS"] = ""
        values = flags.parse(["--port=0", "--model_name=half", *words, base])
        with configured.model_server(values, "127.0.0.1") as server:
            from tensorflow_serving.apis import predict_pb2
            request = predict_pb2.PredictRequest()
            request.model_spec.name = "half"
            with server.models.use(request) as servable:
                servable.run("slow", {"loops": np.array(3, np.int32)})
            threading = configured.tf.config.threading
            print(json.dumps([
                number,
                threading.get_intra_op_parallelism_threads(),
                threading.get_inter_op_parallelism_threads(),
                len(list(Path(folder).glob(f"{number}/*"))) > 0,
            ]), flush=True)
        os._exit(0)
for _ in json.loads(sys.argv[3]):
    os.wait()
"""
        cases = [
            [],
            ["--tensorflow_session_parallelism=3"],
            [
                "--tensorflow_intra_op_parallelism=1",
                "--tensorflow_inter_op_parallelism=2",
                "--xla_cpu_compilation_enabled",
            ],
        ]
        done = subprocess.run(
            [
                sys.executable, "-W", "ignore", "-c", code,
                f"--model_base_path={half_base}", str(tmp_path), json.dumps(cases),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )  # fmt: skip
        found = [json.loads(line) for line in done.stdout.splitlines()]
        assert sorted(found) == [
            [0, 0, 0, False],
            [1, 3, 3, False],
            [2, 1, 2, True],
        ], done.stderr

    @shows("enable_serialization_as_tensor_content")
    def test_tensor_content(self, base: str) -> None:
        for flag, content in (
            ("true", np.array([4], np.float32).tobytes()),
            ("false", b""),
        ):
            with serve(
                base, f"--enable_serialization_as_tensor_content={flag}"
            ) as running:
                assert running.predict().outputs["y"].tensor_content == content

    @shows("enable_signature_method_name_check")
    def test_method_names(self, tmp_path: Path) -> None:
        class Scores(tf.Module):
            @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
            def score(self, inputs: Any) -> dict[str, Any]:
                return {"scores": tf.ones([tf.size(inputs), 2])}

        model = Scores()
        signatures = {"serving_default": model.score}
        tf.saved_model.save(model, str(tmp_path / "1"), signatures=signatures)
        asked = classification_pb2.ClassificationRequest()
        asked.model_spec.name = "half"
        asked.input.example_list.examples.add()
        where = f"--model_base_path={tmp_path}"
        with serve(where) as running:
            (row,) = running.stub.Classify(asked).result.classifications
            assert [one.score for one in row.classes] == [1.0, 1.0]
        with serve(where, "--enable_signature_method_name_check") as running:
            assert running.refusal(lambda: running.stub.Classify(asked)) == (
                "INVALID_ARGUMENT",
                "Expected classification signature method_name to be "
                "tensorflow/serving/classify. Was: tensorflow/serving/predict",
            )


class TestSafety:
    @shows("ssl_config_file")
    def test_tls(self, base: str, tmp_path: Path) -> None:
        path = test_tls.config_file(
            tmp_path,
            server_key=test_tls.SERVER.key_pem(),
            server_cert=test_tls.SERVER.certificate_pem(),
        )
        with serve(base, rest_port(), f"--ssl_config_file={path}") as running:
            authority = test_tls.AUTHORITY
            assert test_tls.over_grpc(running.server, authority, None) == "OK"
            assert test_tls.over_rest(running.server, authority, None, tmp_path) == 200

    @shows("auth_tokens_file")
    def test_tokens(self, base: str, tmp_path: Path) -> None:
        path = tmp_path / "tokens"
        path.write_text("abc\n")
        with serve(base, rest_port(), f"--auth_tokens_file={path}") as running:
            assert running.refusal(running.predict)[0] == "UNAUTHENTICATED"
            assert running.predict(metadata=[("authorization", "Bearer abc")])
            assert running.rest("/v1/models/half")[0] == 401
            header = {"Authorization": "Bearer abc"}
            assert running.rest("/v1/models/half", **header)[0] == 200

    @shows("max_request_bytes")
    def test_request_bytes(self, base: str) -> None:
        with serve(base, "--max_request_bytes=500") as running:
            large = request({"x": np.zeros(500, np.float32)})
            code, _ = running.refusal(lambda: running.stub.Predict(large))
            assert code == "RESOURCE_EXHAUSTED"
            assert running.predict()

    @shows("max_tensor_elements")
    def test_tensor_elements(self, base: str) -> None:
        with serve(base, "--max_tensor_elements=2") as running:
            three = request({"x": np.array([1, 2, 3], np.float32)})
            code, _ = running.refusal(lambda: running.stub.Predict(three))
            assert code == "INVALID_ARGUMENT"
            assert running.stub.Predict(request({"x": np.array([1, 2], np.float32)}))

    @shows("max_json_bytes")
    def test_json_bytes(self, base: str) -> None:
        with serve(base, rest_port(), "--max_json_bytes=40") as running:
            path = "/v1/models/half:predict"
            assert running.rest(path, {"instances": [4.0]})[0] == 200
            assert running.rest(path, {"instances": [4.0] * 40})[0] == 413

    @shows("max_json_depth")
    def test_json_depth(self, base: str) -> None:
        with serve(base, rest_port(), "--max_json_depth=3") as running:
            path = "/v1/models/half:predict"
            assert running.rest(path, {"instances": [4.0]})[0] == 200
            deep = {"instances": [[[[[4.0]]]]]}
            status, text, _ = running.rest(path, deep)
            assert status == 400
            assert "3" in json.loads(text)["error"]

    @shows("max_concurrent_requests")
    def test_concurrent_requests(self, base: str) -> None:
        with serve(base, "--max_concurrent_requests=1") as running:
            running.predict()
            long = running.stub.Predict.future(slow(10**8), timeout=10)

            def refused() -> bool:
                try:
                    running.predict()
                except grpc.RpcError as error:
                    failed: Any = error
                    return bool(failed.code() == grpc.StatusCode.RESOURCE_EXHAUSTED)
                return False

            wait_until(refused)
            long.cancel()
            wait_until(lambda: not refused())


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


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (
                ["--rest_port=1"],
                "unknown flag --rest_port. Did you mean --rest_api_por",
            ),
            (["--zzz"], "unknown flag --zzz. Known: --port, "),
            (["--port=x"], "--port expects a port number, got 'x'"),
            (["--port=65536"], "--port expects a port number, got '65536'"),
            (["--port"], "--port expects a port number after it"),
            (["model"], "expected a flag like --port=8500, got 'model'"),
            (
                ["--request_log_sampling_rate=2"],
                "expects a number from 0 to 1, got '2'",
            ),
            (["--grpc_channel_arguments=a"], "expects name=value,name=value, got 'a'"),
            ([], "--model_base_path is required"),
            (
                ["--model_base_path=/m", "--batching_parameters_file=/b"],
                "--batching_parameters_file is set without --enable_batching",
            ),
            (
                ["--model_base_path=/m", "--port=80", "--rest_api_port=80"],
                "--rest_api_port cannot be the same as --port",
            ),
            (
                [
                    "--model_base_path=/m",
                    "--tensorflow_session_parallelism=1",
                    "--tensorflow_intra_op_parallelism=1",
                    "--tensorflow_inter_op_parallelism=1",
                ],
                "can be given, not all",
            ),
            (
                ["--model_config_file=/m", "--request_log_prefix=/p"],
                "write a logging_config for each model there",
            ),
            (
                ["--model_base_path=/m", "--worker_processes=2", "--port=0"],
                "--worker_processes needs a --port of its own, not 0",
            ),
            (
                [
                    "--model_base_path=/m",
                    "--worker_processes=2",
                    "--grpc_socket_path=/s",
                ],
                "--worker_processes cannot share --grpc_socket_path",
            ),
        ],
    )
    def test_they_end_it_with_a_reason(
        self, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert command.main(arguments) == 1
        assert words in capsys.readouterr().err

    @pytest.mark.parametrize("name", ABSENT)
    def test_flags_that_only_tensorflow_serving_has(self, name: str) -> None:
        assert name not in FLAGS
        words = f"--{name} is a flag of tensorflow_model_server that this server does"
        with pytest.raises(flags.FlagError, match=words):
            flags.parse([f"--{name}=1"])

    @pytest.mark.parametrize(
        ("file", "text", "words"),
        [
            ("model_config_file", "model_config_list {", "is not a text ModelServerC"),
            (
                "batching_parameters_file",
                "max_batch_size { value: 8 } allowed_batch_sizes: 4",
                "the last of allowed_batch_sizes [4] is expected to equal "
                "max_batch_size 8",
            ),
            (
                "batching_parameters_file",
                "allowed_batch_sizes: 4 allowed_batch_sizes: 2",
                "are expected to be positive and to increase, got [4, 2]",
            ),
            (
                "batching_parameters_file",
                "max_batch_size { value: 0 }",
                "max_batch_size is expected to be at least 1, got 0",
            ),
            (
                "batching_parameters_file",
                "max_batch_size { value: 8 } max_execution_batch_size { value: 9 }",
                "max_execution_batch_size 9 is larger than max_batch_size 8",
            ),
            (
                "batching_parameters_file",
                "max_batch_sise { value: 8 }",
                'has no field named "max_batch_sise"',
            ),
            (
                "monitoring_config_file",
                'prometheus_config { enable: true path: "m" }',
                "prometheus_config.path is expected to begin with /, got 'm'",
            ),
            ("ssl_config_file", "", "server_key is missing"),
            ("auth_tokens_file", "", "holds no token"),
            (
                "model_config_file",
                'model_config_list { config { name: "a" base_path: "m" } }',
                "INVALID_ARGUMENT: Expected model a to have an absolute path or URI",
            ),
        ],
    )
    def test_unusable_files_end_it_with_a_reason(
        self,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        file: str,
        text: str,
        words: str,
    ) -> None:
        monkeypatch.setattr("signal.signal", lambda *_: None)
        path = tmp_path / "file"
        path.write_text(text)
        arguments = ["--port=0", "--enable_batching", f"--{file}={path}"]
        if file != "model_config_file":
            arguments.append(f"--model_base_path={tmp_path}")
        assert command.main(arguments) == 1
        printed = capsys.readouterr().err
        assert words in printed
        assert "Failed to start server. Error: " in printed
        assert f"--{file}=/nowhere" not in printed

    def test_a_file_that_is_not_there(self, capsys: pytest.CaptureFixture[str]) -> None:
        arguments = ["--port=0", "--model_config_file=/nowhere/models.config"]
        assert command.main(arguments) == 1
        assert "cannot read /nowhere/models.config" in capsys.readouterr().err


def test_both_spellings_and_booleans() -> None:
    values = flags.parse(["--port=1", "--model_name", "m", "--enable_batching"])
    assert (values["port"], values["model_name"]) == (1, "m")
    assert values["enable_batching"] is True
    for text, value in (("false", False), ("0", False), ("True", True), ("1", True)):
        assert flags.parse([f"--enable_batching={text}"])["enable_batching"] is value


def test_defaults_are_tensorflow_servings() -> None:
    defaults = flags.parse([])
    expected = {
        "port": 8500,
        "rest_api_port": 0,
        "grpc_socket_path": "",
        "rest_api_timeout_in_ms": 30_000,
        "rest_api_enable_cors_support": False,
        "model_name": "default",
        "model_config_file_poll_wait_seconds": 0,
        "file_system_poll_wait_seconds": 1,
        "max_num_load_retries": 5,
        "load_retry_interval_micros": 60_000_000,
        "num_load_threads": 0,
        "enable_batching": False,
        "enable_model_warmup": True,
        "num_request_iterations_for_warmup": 0,
        "allow_version_labels_for_unavailable_models": False,
        "enable_grpc_healthcheck_service": False,
        "saved_model_tags": ("serve",),
        "tensorflow_intra_op_parallelism": 0,
    }
    assert {name: defaults[name] for name in expected} == expected


def test_help_and_docs_list_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--help"]) == 0
    printed = capsys.readouterr().out
    for name in FLAGS:
        assert f"--{name} (default " in printed
    # `python -c "from serving import flags; print(flags.table())"` makes the table.
    assert flags.table() in (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
