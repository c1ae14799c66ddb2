"""Warm-up requests of every method, from assets.extra."""

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.servable import Servable
from serving.status import ServingError
from serving.warm_up import warm_up

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


class Counter(tf.Module):
    """Counts the examples that each signature has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = {name: tf.Variable(0) for name in ("scores", "outputs", "x")}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def classify(self, inputs: Any) -> dict[str, Any]:
        count = self.seen["scores"].assign_add(tf.size(inputs))
        with tf.control_dependencies([count]):
            return {"scores": tf.ones([tf.size(inputs), 2])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def regress(self, inputs: Any) -> dict[str, Any]:
        count = self.seen["outputs"].assign_add(tf.size(inputs))
        with tf.control_dependencies([count]):
            return {"outputs": tf.ones([tf.size(inputs)])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def predict(self, x: Any) -> dict[str, Any]:
        count = self.seen["x"].assign_add(tf.size(x))
        with tf.control_dependencies([count]):
            return {"y": x}

    @tf.function(input_signature=[])
    def counts(self) -> dict[str, Any]:
        return {name: one.read_value() for name, one in self.seen.items()}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = Counter()
    path = tmp_path_factory.mktemp("counter") / "1"
    names = ("classify", "regress", "predict", "counts")
    signatures = {name: getattr(model, name) for name in names}
    tf.saved_model.save(model, str(path), signatures=signatures)
    (path / "assets.extra").mkdir()
    return path


def load(path: Path, *logs: Any) -> Servable:
    file = str(path / "assets.extra" / "tf_serving_warmup_requests")
    with tf.io.TFRecordWriter(file) as writer:
        for log in logs:
            writer.write(log.SerializeToString())
    return Servable("counter", 1, str(path))


def counts(servable: Servable) -> dict[str, int]:
    return {name: int(one) for name, one in servable.run("counts", {}).items()}


def log(kind: str, examples: int, *tasks: tuple[str, str]) -> Any:
    """One of Classify, Regress or MultiInference about so many empty examples."""
    found = prediction_log_pb2.PredictionLog()
    request = getattr(found, f"{kind}_log").request
    for _ in range(examples):
        request.input.example_list.examples.add()
    for signature, method in tasks:
        task = request.tasks.add(method_name=method)
        task.model_spec.name = "another name"
        task.model_spec.signature_name = signature
    if not tasks:
        request.model_spec.name = "another name"
        request.model_spec.signature_name = kind
    return found


def test_every_method(path: Path) -> None:
    predict = prediction_log_pb2.PredictionLog()
    predict.predict_log.request.model_spec.signature_name = "predict"
    tensor = tf.make_tensor_proto([1.0])
    predict.predict_log.request.inputs["x"].CopyFrom(tensor)
    both = log("multi_inference", 3, ("classify", CLASSIFY), ("regress", REGRESS))
    logs = [log("classify", 2), log("regress", 4), both, predict]
    servable = load(path, *logs)
    assert warm_up(servable) == 4
    assert counts(servable) == {"scores": 2 + 3, "outputs": 4 + 3, "x": 1}
    servable = load(path, *logs)
    assert warm_up(servable, iterations=2) == 4
    assert counts(servable) == {"scores": 10, "outputs": 14, "x": 2}


def test_one_that_fails(path: Path) -> None:
    with pytest.raises(ServingError, match="No classification inputs found"):
        warm_up(load(path, log("multi_inference", 1, ("predict", CLASSIFY))))
    with pytest.raises(ServingError, match="Input is empty"):
        warm_up(load(path, log("classify", 0)))


def test_what_cannot_be_run_is_left_out(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = prediction_log_pb2.PredictionLog()
    session.session_run_log.SetInParent()
    assert warm_up(load(path, session, log("regress", 1))) == 1
    assert "a session_run_log is left out; known are predict_log, " in caplog.text
