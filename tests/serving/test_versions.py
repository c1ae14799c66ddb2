"""Versions that come, fail and go, under load."""

import shutil
import threading
from pathlib import Path

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from serving.server import ModelServer
from serving.status import ServingError
from serving.tensorflow_core import tensorflow
from serving.version_files import find_versions
from serving.versions import LoadPolicy, ModelVersions, State
from tests.serving.conftest import wait_until
from tests.serving.saved_models import save_half

tf = tensorflow()


def states(model: ModelVersions) -> dict[int, State]:
    return {one.version: one.state for one in model.statuses()}


def ask(model: ModelVersions, x: float = 4.0) -> float:
    with model.use() as servable:
        return float(servable.run("", {"x": np.array([x], np.float32)})["y"][0])


def test_only_integer_directories_count(tmp_path: Path) -> None:
    for name in ("1", "002", "10", "tmp", "1.5", "-3", "3x", "9" * 19):
        (tmp_path / name).mkdir()
    (tmp_path / "11").write_text("a file")
    assert sorted(find_versions(str(tmp_path))) == [1, 2, 10]
    assert find_versions(str(tmp_path))[2] == str(tmp_path / "002")


def test_swap_under_load_fails_no_request(tmp_path: Path, quick: LoadPolicy) -> None:
    save_half(tmp_path, "9", offset=9.0)
    answers: list[tuple[float, int]] = []
    errors: list[grpc.RpcError] = []
    done = threading.Event()
    with (
        ModelServer(str(tmp_path), "half", policy=quick) as server,
        grpc.insecure_channel(f"localhost:{server.port}") as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        service = model_service_pb2_grpc.ModelServiceStub(channel)
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "half"
        request.inputs["x"].CopyFrom(tf.make_tensor_proto([4.0]))
        asked = get_model_status_pb2.GetModelStatusRequest()
        asked.model_spec.name = "half"

        def load() -> None:
            while not done.is_set():
                try:
                    found = stub.Predict(request)
                except grpc.RpcError as error:
                    errors.append(error)
                else:
                    (y,) = found.outputs["y"].float_val
                    answers.append((y, found.model_spec.version.value))

        def states_are(expected: list[tuple[int, int]]) -> bool:
            found = service.GetModelStatus(asked).model_version_status
            return [(one.version, one.state) for one in found] == expected

        threads = [threading.Thread(target=load) for _ in range(3)]
        for thread in threads:
            thread.start()
        # 10 comes after 9 as a number, before it as a text.
        save_half(tmp_path, "10", offset=10.0)
        wait_until(lambda: states_are([(10, 30), (9, 50)]))
        save_half(tmp_path, "11", offset=11.0)
        wait_until(lambda: states_are([(11, 30), (10, 50), (9, 50)]))
        done.set()
        for thread in threads:
            thread.join()
    assert errors == []
    # 4 / 2 + version: every answer is whole and says rightly which version gave it.
    assert set(answers) == {(11.0, 9), (12.0, 10), (13.0, 11)}
    assert len(answers) > 100


def test_a_request_in_flight_keeps_its_version(
    tmp_path: Path, quick: LoadPolicy
) -> None:
    save_half(tmp_path, "1", offset=1.0)
    model = ModelVersions("half", str(tmp_path), quick)
    model.start()
    assert model.wait_first_look(20)
    with model.use() as servable:
        save_half(tmp_path, "2", offset=2.0)
        wait_until(lambda: states(model) == {2: State.AVAILABLE, 1: State.UNLOADING})
        threading.Event().wait(0.4)  # some polls later it is still held
        assert states(model)[1] == State.UNLOADING
        assert ask(model, 0.0) == 2.0
        with pytest.raises(ServingError, match=r"Specific\(half, 1\)"), model.use(1):
            pass
        found = servable.run("", {"x": np.array([0.0], np.float32)})
        assert found["y"].tolist() == [1.0]
    wait_until(lambda: states(model)[1] == State.END)
    model.stop()


def test_a_corrupt_version_leaves_the_old_one_serving(
    tmp_path: Path, quick: LoadPolicy
) -> None:
    save_half(tmp_path, "1", offset=1.0)
    model = ModelVersions("half", str(tmp_path), quick)
    model.start()
    assert model.wait_first_look(20)
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "saved_model.pb").write_bytes(b"\xff no protobuf")
    wait_until(lambda: states(model) == {2: State.END, 1: State.AVAILABLE})
    failed = model.statuses()[0]
    assert failed.error_code != 0
    assert "saved_model.pb" in failed.error_message
    assert ask(model, 0.0) == 1.0
    # Rolled back by deleting it: nothing changes. Replaced by a whole one: it loads.
    shutil.rmtree(tmp_path / "2")
    save_half(tmp_path, "2", offset=5.0)
    wait_until(lambda: states(model) == {2: State.AVAILABLE, 1: State.END})
    assert model.statuses()[0].error_message == ""
    assert ask(model, 0.0) == 5.0
    model.stop()


def test_a_slow_copy_is_loaded_once_it_is_whole(tmp_path: Path) -> None:
    whole = save_half(tmp_path / "elsewhere", "3", offset=3.0)
    base = tmp_path / "base"
    (base / "3").mkdir(parents=True)
    shutil.copy(whole / "saved_model.pb", base / "3")
    # The default policy: a minute between tries, which a copy need not wait for.
    model = ModelVersions("half", str(base), LoadPolicy(poll_seconds=0.1))
    model.start()
    assert model.wait_first_look(20)
    assert states(model) == {3: State.LOADING}
    assert model.statuses()[0].error_code != 0
    shutil.copytree(whole, base / "3", dirs_exist_ok=True)
    wait_until(lambda: states(model) == {3: State.AVAILABLE})
    model.stop()


def test_rollback_and_removal(tmp_path: Path, quick: LoadPolicy) -> None:
    base = tmp_path / "base"
    base.mkdir()
    model = ModelVersions("half", str(base), quick)
    model.start()
    assert model.wait_first_look(20)
    with pytest.raises(ServingError, match=r"Latest\(half\)"), model.use():
        pass
    save_half(base, "1", offset=1.0)
    save_half(base, "2", offset=2.0)
    wait_until(lambda: states(model).get(2) == State.AVAILABLE)
    shutil.rmtree(base / "2")
    wait_until(lambda: states(model).get(2) == State.END)
    assert ask(model, 0.0) == 1.0
    # The whole folder gone is a lost mount, not an order to unload.
    base.rename(tmp_path / "away")
    threading.Event().wait(0.4)
    assert ask(model, 0.0) == 1.0
    (tmp_path / "away").rename(base)
    shutil.rmtree(base / "1")
    wait_until(lambda: states(model)[1] == State.END)
    save_half(base, "2", offset=8.0)
    wait_until(lambda: states(model)[2] == State.AVAILABLE)
    assert ask(model, 0.0) == 8.0
    model.stop()


@pytest.mark.parametrize(("value", "state"), [(1, State.AVAILABLE), (-1, State.END)])
def test_warm_up_requests_are_run_before_serving(
    tmp_path: Path, value: int, state: State
) -> None:
    path = save_half(tmp_path, "1", offset=1.0)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "half"
    request.model_spec.signature_name = "strict"  # refuses what is not positive
    request.inputs["n"].CopyFrom(tf.make_tensor_proto([value], tf.int64))
    log = prediction_log_pb2.PredictionLog(
        predict_log=prediction_log_pb2.PredictLog(request=request)
    )
    (path / "assets.extra").mkdir()
    file = str(path / "assets.extra" / "tf_serving_warmup_requests")
    with tf.io.TFRecordWriter(file) as writer:
        writer.write(log.SerializeToString())
    model = ModelVersions("half", str(tmp_path), LoadPolicy(0.1, max_retries=0))
    model.start()
    assert model.wait_first_look(20)
    assert states(model) == {1: state}
    assert (model.statuses()[0].error_code == 3) == (value < 0)
    model.stop()
