"""What the flags of running, of TensorFlow and of safety do."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
)

from tests.serving import test_tls
from tests.serving.conftest import wait_until
from tests.serving.flag_servers import (
    request,
    rest_port,
    serve,
    shows,
    slow,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def base(half_base: Path) -> str:
    return f"--model_base_path={half_base}"


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
