"""The calls that TF Serving's documentation shows, and what it shows as their answers."""

import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.server import ModelServer


class HalfPlusThree(tf.Module):
    """The documentation's model: y = x / 2 + 3, under each method."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def predict(self, x: Any) -> dict[str, Any]:
        return {"y": x / 2 + 3}

    def _read(self, examples: Any) -> Any:
        spec = {"x": tf.io.FixedLenFeature([], tf.float32)}
        return tf.io.parse_example(examples, spec)["x"]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def regress(self, inputs: Any) -> dict[str, Any]:
        return {"outputs": self._read(inputs) / 2 + 3}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classify(self, inputs: Any) -> dict[str, Any]:
        x = self._read(inputs)[:, tf.newaxis]
        classes = tf.repeat([["low", "high"]], tf.shape(x)[0], axis=0)
        return {"classes": classes, "scores": tf.concat([1 - x / 10, x / 10], 1)}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    base = tmp_path_factory.mktemp("half_plus_three")
    model = HalfPlusThree()
    for version in ("122", "123"):
        tf.saved_model.save(
            model,
            str(base / version),
            signatures={
                "serving_default": model.predict,
                "tensorflow/serving/regress": model.regress,
                "classify_x": model.classify,
            },
        )
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse(
        f"""model_config_list {{ config {{
          name: "half_plus_three" base_path: "{base}" model_platform: "tensorflow"
          model_version_policy {{ specific {{ versions: 122 versions: 123 }} }}
          version_labels {{ key: "stable" value: 122 }}
        }} }}""",
        config,
    )
    with ModelServer(
        config=config, rest_api_port=0, allow_unavailable_labels=True
    ) as found:
        yield found


def ask(server: ModelServer, path: str, body: Any = None) -> tuple[int, Any]:
    """A call as curl makes it, without a content type of JSON."""
    assert server.rest_port is not None
    connection = http.client.HTTPConnection("localhost", server.rest_port, timeout=20)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    if body is None:
        connection.request("GET", path)
    else:
        connection.request("POST", path, json.dumps(body), headers)
    found = connection.getresponse()
    answer = found.status, json.loads(found.read())
    connection.close()
    return answer


MODEL = "/v1/models/half_plus_three"
REGRESS = {
    "signature_name": "tensorflow/serving/regress",
    "examples": [{"x": 1.0}, {"x": 2.0}],
}


def available(version: str) -> dict[str, Any]:
    return {
        "version": version,
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }


def test_status(server: ModelServer) -> None:
    both = {"model_version_status": [available("123"), available("122")]}
    assert ask(server, MODEL) == (200, both)
    one = {"model_version_status": [available("122")]}
    assert ask(server, f"{MODEL}/versions/122") == (200, one)
    assert ask(server, f"{MODEL}/labels/stable") == (200, one)


@pytest.mark.parametrize("which", ["", "/versions/122", "/labels/stable"])
def test_predict(server: ModelServer, which: str) -> None:
    found = ask(server, f"{MODEL}{which}:predict", {"instances": [1.0, 2.0, 5.0]})
    assert found == (200, {"predictions": [3.5, 4.0, 5.5]})
    found = ask(server, f"{MODEL}{which}:predict", {"inputs": {"x": [1.0]}})
    assert found == (200, {"outputs": [3.5]})


def test_regress(server: ModelServer) -> None:
    assert ask(server, f"{MODEL}:regress", REGRESS) == (200, {"results": [3.5, 4.0]})
    shared = {**REGRESS, "context": {"x": 5.0}, "examples": [{}, {"x": 1.0}]}
    assert ask(server, f"{MODEL}:regress", shared) == (200, {"results": [5.5, 3.5]})


def test_classify(server: ModelServer) -> None:
    body = {"signature_name": "classify_x", "examples": [{"x": 1.0}, {"x": 5.0}]}
    expected = [[["low", 0.9], ["high", 0.1]], [["low", 0.5], ["high", 0.5]]]
    assert ask(server, f"{MODEL}:classify", body) == (200, {"results": expected})


def test_metadata(server: ModelServer) -> None:
    code, found = ask(server, f"{MODEL}/labels/stable/metadata")
    assert code == 200
    assert found["model_spec"] == {
        "name": "half_plus_three",
        "signature_name": "",
        "version": "122",
    }
    signatures = found["metadata"]["signature_def"]["signature_def"]
    assert signatures["serving_default"]["inputs"]["x"] == {
        "dtype": "DT_FLOAT",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
        "name": "serving_default_x:0",
    }
    assert signatures["serving_default"]["method_name"] == "tensorflow/serving/predict"


@pytest.mark.parametrize(
    ("path", "body", "code", "words"),
    [
        (
            "/v1/models/half:regress",
            REGRESS,
            404,
            "Servable not found for request: Latest(half)",
        ),
        (
            f"{MODEL}/versions/9:regress",
            REGRESS,
            404,
            "Servable not found for request: Specific(half_plus_three, 9)",
        ),
        (f"{MODEL}/labels/none:predict", {"instances": [1]}, 400, "label: none"),
        (f"{MODEL}/labels/none", None, 400, "label: none"),
        (f"{MODEL}:regress", {"examples": [{"x": 1.0}]}, 400, ""),
        (f"{MODEL}:classify", {"signature_name": "x", "examples": [{}]}, 400, "x"),
        (f"{MODEL}:regress", {**REGRESS, "examples": [{"x": 1}]}, 400, ""),
        ("/v1/models", None, 400, "Missing model name in request."),
        ("/v1/models/versions/1", None, 400, "Missing model name in request."),
        ("/v1/", None, 400, "Malformed request: GET /v1/"),
        ("/v1/models/a/b", None, 400, "Malformed request: GET /v1/models/a/b"),
        (f"{MODEL}/versions/a", None, 400, "Malformed request: GET "),
        (f"{MODEL}:predict?x=1", {}, 400, "Malformed request: POST "),
        (f"{MODEL}:reload", {}, 400, "Malformed request: POST "),
        (MODEL, {}, 400, "Malformed request: POST "),
        (
            f"{MODEL}/versions/99999999999999999999",
            None,
            400,
            "Failed to convert version: 99999999999999999999 to numeric.",
        ),
        ("/v1", None, 404, "Not found: /v1"),
        ("/", None, 404, "Not found: /"),
        ("/v2/models/half", None, 404, "Not found: /v2/models/half"),
    ],
)
def test_errors(
    server: ModelServer, path: str, body: Any, code: int, words: str
) -> None:
    found, answer = ask(server, path, body)
    assert list(answer) == ["error"]
    assert (found, words in answer["error"]) == (code, True), answer


@pytest.mark.parametrize(
    "path",
    [
        "/V1/MODELS/half_plus_three/VERSIONS/123:PREDICT",
        "/v1/models/half%5Fplus%5fthree:predict",
        "/v1/models/half_plus_three/versions/00123:predict",
    ],
)
def test_other_spellings(server: ModelServer, path: str) -> None:
    found = ask(server, path, {"instances": [1.0]})
    assert found == (200, {"predictions": [3.5]})


def test_the_calls_in_our_documentation(server: ModelServer) -> None:
    text = (Path(__file__).parents[2] / "docs" / "rest.md").read_text()
    calls = re.findall(
        r"```bash\ncurl (?:-d '([^']*)')?.*?(/v1/\S+)\n```\n```json\n(.*?)\n```",
        text,
        re.DOTALL,
    )
    assert len(calls) == 5
    for body, path, answer in calls:
        found = ask(server, path, json.loads(body) if body else None)
        assert found == (200, json.loads(answer))
