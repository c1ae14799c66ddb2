"""HandleReloadConfigRequest and the polled config file, over gRPC."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

from serving.model_config import ConfigFileWatch
from serving.models import Models
from serving.server import ModelServer
from serving.status import ServingError
from serving.version_state import LoadPolicy
from tests.serving.conftest import wait_until
from tests.serving.saved_models import save_half

QUICK = LoadPolicy(poll_seconds=0.05, max_retries=0, retry_seconds=0.05)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`one`/1 answers 1.5 to 0, `two`/1 answers 2.5, `three`/1 cannot be loaded."""
    folder = tmp_path_factory.mktemp("stored")
    for name, offset in (("one", 1.5), ("two", 2.5)):
        (folder / name).mkdir()
        save_half(folder / name, "1", offset)
    (folder / "three" / "1").mkdir(parents=True)
    return folder


class Ask:
    """A server's gRPC methods, in short."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self.service = model_service_pb2_grpc.ModelServiceStub(channel)

    def predict(self, name: str) -> float:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = name
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.zeros(1, np.float32)))
        return float(self.prediction.Predict(request).outputs["y"].float_val[0])

    def reload(self, text: str, timeout: float = 30) -> Any:
        request = model_management_pb2.ReloadConfigRequest()
        text_format.Parse(text, request.config)
        return self.service.HandleReloadConfigRequest(request, timeout=timeout)

    def refused(self, call: Any, *arguments: Any) -> tuple[str, str]:
        with pytest.raises(grpc.RpcError) as caught:
            call(*arguments)
        error: Any = caught.value
        return error.code().name, error.details()

    def states(self, name: str) -> list[int]:
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = name
        found = self.service.GetModelStatus(request).model_version_status
        return [one.state for one in found]


def model(name: str, base: Path | str, platform: str = "tensorflow") -> str:
    return (
        f'config {{ name: "{name}" base_path: "{base}" model_platform: "{platform}" }}'
    )


def listed(*models: str) -> str:
    return f"model_config_list {{ {' '.join(models)} }}"


@pytest.fixture
def ask(stored: Path) -> Iterator[Ask]:
    with (
        ModelServer(str(stored / "one"), "one", policy=QUICK) as server,
        grpc.insecure_channel(f"localhost:{server.port}") as channel,
    ):
        yield Ask(channel)


def test_a_reload_replaces_the_whole_config(ask: Ask, stored: Path) -> None:
    assert ask.predict("one") == 1.5
    found = ask.reload(listed(model("two", stored / "two")))
    assert found.status.error_code == 0
    # It waited: the new model answers at once, and the old one is gone.
    assert ask.predict("two") == 2.5
    assert ask.refused(ask.predict, "one") == (
        "NOT_FOUND",
        "Servable not found for request: Latest(one)",
    )
    wait_until(lambda: ask.states("one") == [50])
    ask.reload(listed(model("one", stored / "one"), model("two", stored / "two")))
    assert (ask.predict("one"), ask.predict("two")) == (1.5, 2.5)
    ask.reload(listed())
    assert ask.refused(ask.predict, "two")[0] == "NOT_FOUND"


def test_another_base_path_swaps_without_a_gap(ask: Ask, stored: Path) -> None:
    done = threading.Event()
    found: set[float] = set()
    errors: list[Exception] = []

    def load() -> None:
        while not done.is_set():
            try:
                found.add(ask.predict("one"))
            except grpc.RpcError as error:
                errors.append(error)

    thread = threading.Thread(target=load)
    thread.start()
    wait_until(lambda: bool(found))
    ask.reload(listed(model("one", stored / "two")))  # also a version 1
    wait_until(lambda: 2.5 in found)
    done.set()
    thread.join()
    assert errors == []
    assert found == {1.5, 2.5}
    assert ask.states("one") == [30]


INVALID = [
    ("", "Only ModelConfigList is currently supported"),
    (
        listed(model("two", "/m/a"), model("two", "/m/b")),
        "Illegal to list model two multiple times in config list",
    ),
    (
        listed(model("two", "m/two")),
        "Expected model two to have an absolute path or URI; got base_path()=m/two",
    ),
    (listed(model("two", "")), "to have an absolute path or URI; got base_path()="),
    (listed(model("", "/m/two")), "a model of the config list has no name"),
    (
        listed(model("two", "/m/two", "torch")),
        "Model two requests unsupported platform torch",
    ),
    (
        listed(model("two", "/m/two", "")),
        "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
        "ModelServerConfig::model_platform.",
    ),
    (
        listed('config { name: "t" base_path: "/m" model_type: OTHER }'),
        "ModelServerConfig::model_type choice 2 not supported.",
    ),
    (
        listed(
            'config { name: "t" base_path: "/m" model_type: TENSORFLOW '
            'model_platform: "tensorflow" }'
        ),
        "Illegal setting both ModelServerConfig::model_type (deprecated)",
    ),
]


def test_an_invalid_config_changes_nothing(ask: Ask, stored: Path) -> None:
    for text, words in INVALID:
        code, details = ask.refused(ask.reload, text)
        assert code == "INVALID_ARGUMENT"
        assert words in details
        assert ask.predict("one") == 1.5
    # Nor does what was wrong stand in the way of the next.
    ask.reload(listed(model("two", stored / "two")))
    assert ask.predict("two") == 2.5


def test_a_model_that_cannot_be_loaded_is_said(ask: Ask, stored: Path) -> None:
    one = model("one", stored / "one")
    code, details = ask.refused(ask.reload, listed(one, model("bad", stored / "three")))
    assert code == "UNKNOWN"
    assert details.startswith("model bad did not become available: version 1: ")
    assert "SavedModel file does not exist" in details
    assert ask.predict("one") == 1.5
    ask.reload(listed(one))


def test_a_reload_that_waits_blocks_no_other(ask: Ask, stored: Path) -> None:
    one, two = model("one", stored / "one"), model("two", stored / "two")
    nowhere = model("later", stored / "nowhere")
    # TF Serving waits for what may still come, and so for the caller's deadline.
    assert ask.refused(ask.reload, listed(one, nowhere), 0.5)[0] == "DEADLINE_EXCEEDED"
    request = model_management_pb2.ReloadConfigRequest()
    text_format.Parse(listed(two, model("never", stored / "nowhere")), request.config)
    waiting = ask.service.HandleReloadConfigRequest.future(request, timeout=30)
    wait_until(lambda: answers(ask, "two"))
    assert not waiting.done()
    ask.reload(listed(one))
    assert ask.predict("one") == 1.5
    assert waiting.code() == grpc.StatusCode.UNKNOWN
    assert waiting.details() == (
        "model never did not become available: it is not to be served any more"
    )


def answers(ask: Ask, name: str) -> bool:
    try:
        return ask.predict(name) > 0
    except grpc.RpcError:
        return False


class TestFile:
    def config(self, text: str) -> Any:
        return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())

    def test_the_file_is_read_again_and_again(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        file = tmp_path / "models.config"
        file.write_text(listed(model("a", "/m/a")))
        heard: list[Any] = []
        refuse = threading.Event()

        def apply(config: Any) -> None:
            if refuse.is_set():
                raise ServingError.failed_precondition("not yet")
            heard.append([one.name for one in config.model_config_list.config])

        watch = ConfigFileWatch(str(file), 0.02, apply)
        watch.start()
        wait_until(lambda: heard[-2:] == [["a"], ["a"]])
        file.write_text("model_config_list {")
        wait_until(lambda: "is not applied" in caplog.text)
        file.write_text(listed(model("b", "/m/b")))
        wait_until(lambda: heard[-1:] == [["b"]])
        refuse.set()
        wait_until(lambda: "not yet" in caplog.text)
        refuse.clear()
        before = len(heard)
        wait_until(lambda: len(heard) > before)
        watch.stop()
        # Said once, not at each poll.
        assert caplog.text.count("is not applied") == 2

    def test_an_empty_config_serves_nothing_yet(self, stored: Path) -> None:
        models = Models(self.config(""), QUICK)
        models.start()
        assert models.wait_first_look(1)
        models.reload(self.config(listed(model("one", stored / "one"))))
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "one"
        with models.use(request) as servable:
            assert servable.version == 1
        models.stop()
