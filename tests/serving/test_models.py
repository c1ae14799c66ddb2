"""Which version a ModelSpec gets: policies, labels, several models, statuses."""

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import get_model_status_pb2, predict_pb2
from tensorflow_serving.config import model_server_config_pb2

from serving import loading
from serving.metrics import Metrics
from serving.models import Models
from serving.status import ServingError
from serving.version_state import LoadPolicy, State, VersionPolicy
from serving.versions import ModelVersions
from tests.serving.conftest import wait_until
from tests.serving.saved_models import save_half

QUICK = LoadPolicy(poll_seconds=0.05, max_retries=0, retry_seconds=0.05)


def config(*models: str) -> Any:
    text = f"model_config_list {{ {' '.join(models)} }}"
    return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())


def model(name: str, base: Path, more: str = "") -> str:
    return (
        f'config {{ name: "{name}" base_path: "{base}" '
        f'model_platform: "tensorflow" {more} }}'
    )


def specific(*versions: int) -> str:
    listed = "".join(f"versions: {one} " for one in versions)
    return f"model_version_policy {{ specific {{ {listed} }} }} "


def label(name: str, version: int) -> str:
    return f'version_labels {{ key: "{name}" value: {version} }} '


def spec(name: str, version: int | None = None, label: str | None = None) -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    if version is not None:
        request.model_spec.version.value = version
    if label is not None:
        request.model_spec.version_label = label
    return request


def answer(models: Models, request: Any) -> float:
    """0 / 2 + offset: which model and version it came from."""
    with models.use(request) as servable:
        found = servable.run("", {"x": np.zeros(1, np.float32)})
        return float(found["y"][0])


def refusal(models: Models, request: Any) -> tuple[str, str]:
    with pytest.raises(ServingError) as caught, models.use(request):
        pass
    return caught.value.code.name, caught.value.message


def states(models: Models, name: str) -> dict[int, str]:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = name
    found = models.status(request).model_version_status
    return {one.version: State(one.state).name for one in found}


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`a` with the versions 1, 2 and 10, and `b` with 1; y(0) is 0.5 more than that."""
    folder = tmp_path_factory.mktemp("stored")
    for version in ("1", "2", "10"):
        (folder / "a").mkdir(exist_ok=True)
        save_half(folder / "a", version, offset=int(version) + 0.5)
    (folder / "b").mkdir()
    save_half(folder / "b", "1", offset=101.5)
    return folder


@pytest.fixture
def start() -> Iterator[Any]:
    """Starts `Models`, waits for its first look, and stops it in the end."""
    running: list[Models] = []

    def started(*texts: str, **more: Any) -> Models:
        models = Models(config(*texts), QUICK, **more)
        running.append(models)
        models.start()
        assert models.wait_first_look(30)
        return models

    yield started
    for models in running:
        models.stop()


def link(base: Path, stored: Path, *versions: int, model: str = "a") -> None:
    base.mkdir(exist_ok=True)
    for version in versions:
        os.symlink(stored / model / str(version), base / str(version))


class TestVersionPolicy:
    FOUND = {1: "b/1", 2: "b/2", 10: "b/0010"}

    @pytest.mark.parametrize(
        ("policy", "chosen"),
        [
            (VersionPolicy(), {10}),
            (VersionPolicy(latest=2), {2, 10}),
            (VersionPolicy(latest=9), {1, 2, 10}),
            (VersionPolicy(latest=None), {1, 2, 10}),
            (VersionPolicy(specific=(1, 7)), {1}),
            (VersionPolicy(specific=()), set()),
        ],
    )
    def test_choice(self, policy: VersionPolicy, chosen: set[int]) -> None:
        found = policy.choose(self.FOUND)
        assert set(found) == chosen
        assert all(found[number] == self.FOUND[number] for number in found)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("", {10}),
        ("model_version_policy { latest { } }", {10}),
        ("model_version_policy { latest { num_versions: 2 } }", {2, 10}),
        ("model_version_policy { all { } }", {1, 2, 10}),
        (specific(1), {1}),
    ],
)
def test_policies_of_the_config(
    stored: Path, start: Any, policy: str, expected: set[int]
) -> None:
    models = start(model("a", stored / "a", policy))
    assert states(models, "a") == dict.fromkeys(expected, "AVAILABLE")
    assert answer(models, spec("a")) == max(expected) + 0.5
    for version in (1, 2, 10):
        if version in expected:
            assert answer(models, spec("a", version)) == version + 0.5
        else:
            assert refusal(models, spec("a", version)) == (
                "NOT_FOUND",
                f"Servable not found for request: Specific(a, {version})",
            )


def test_a_deleted_version_of_several_is_unloaded_alone(
    stored: Path, start: Any, tmp_path: Path
) -> None:
    link(tmp_path / "m", stored, 1, 2)
    models = start(model("m", tmp_path / "m", "model_version_policy { all { } }"))
    os.unlink(tmp_path / "m" / "1")
    wait_until(lambda: states(models, "m") == {1: "END", 2: "AVAILABLE"})
    link(tmp_path / "m", stored, 10)
    wait_until(lambda: states(models, "m").get(10) == "AVAILABLE")
    assert answer(models, spec("m", 2)) == 2.5
    assert answer(models, spec("m")) == 10.5


def test_a_corrupt_version_among_several_disturbs_none(
    stored: Path, start: Any, tmp_path: Path
) -> None:
    link(tmp_path / "m", stored, 1, 2)
    two = "model_version_policy { latest { num_versions: 2 } }"
    models = start(model("m", tmp_path / "m", two))
    (tmp_path / "m" / "3").mkdir()
    (tmp_path / "m" / "3" / "saved_model.pb").write_bytes(b"\xff no protobuf")
    # 1 is not wanted any more, and goes once 3 has had its try; 2 is and stays.
    wait_until(lambda: states(models, "m") == {3: "END", 2: "AVAILABLE", 1: "END"})
    assert answer(models, spec("m")) == 2.5
    # What is wanted again is loaded as if it were new.
    shutil.rmtree(tmp_path / "m" / "3")
    wait_until(lambda: states(models, "m").get(1) == "AVAILABLE")


class TestLabels:
    def test_at_the_start_they_need_the_flag(self, stored: Path) -> None:
        text = model("a", stored / "a", label("stable", 10))
        with pytest.raises(ServingError) as caught:
            Models(config(text), QUICK)
        assert caught.value.code.name == "FAILED_PRECONDITION"
        assert caught.value.message == (
            "Request to assign label to version 10 of model a, "
            "which is not currently available for inference"
        )

    def test_they_choose_versions(self, stored: Path, start: Any) -> None:
        text = specific(1, 2) + label("stable", 1) + label("canary", 2)
        models = start(
            model("a", stored / "a", text + label("gone", 7)),
            allow_unavailable_labels=True,
        )
        assert answer(models, spec("a", label="stable")) == 1.5
        assert answer(models, spec("a", label="canary")) == 2.5
        assert refusal(models, spec("a", label="x")) == (
            "INVALID_ARGUMENT",
            "Unrecognized servable version label: x",
        )
        assert refusal(models, spec("b", label="stable"))[0] == "INVALID_ARGUMENT"
        assert refusal(models, spec("a", label="gone")) == (
            "FAILED_PRECONDITION",
            "The label gone points at a version that is not available. "
            "Servable not found for request: Specific(a, 7)",
        )
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "a"
        request.model_spec.version_label = "canary"
        (only,) = models.status(request).model_version_status
        assert only.version == 2
        request.model_spec.version_label = "x"
        with pytest.raises(ServingError, match="Unrecognized"):
            models.status(request)

    def test_a_canary_step_by_step(self, stored: Path, start: Any) -> None:
        base = stored / "a"
        models = start(model("a", base, specific(1)))
        models.reload(config(model("a", base, specific(1) + label("stable", 1))))
        # Not before it is loaded, whatever the flag says: the label exists already.
        both = specific(1, 2) + label("stable", 2)
        with pytest.raises(ServingError, match="label to version 2 of model a"):
            models.reload(config(model("a", base, both)))
        assert states(models, "a") == {1: "AVAILABLE"}  # nothing was changed
        both = specific(1, 2) + label("stable", 1)
        models.reload(config(model("a", base, both)))
        wait_until(lambda: states(models, "a") == {1: "AVAILABLE", 2: "AVAILABLE"})
        both += label("canary", 2)
        models.reload(config(model("a", base, both)))
        assert answer(models, spec("a", label="stable")) == 1.5
        assert answer(models, spec("a", label="canary")) == 2.5
        models.reload(config(model("a", base, specific(2) + label("stable", 2))))
        assert answer(models, spec("a", label="stable")) == 2.5
        wait_until(lambda: states(models, "a") == {1: "END", 2: "AVAILABLE"})
        assert refusal(models, spec("a", label="canary"))[0] == "INVALID_ARGUMENT"

    def test_the_flag_is_for_new_labels(self, stored: Path, start: Any) -> None:
        base = stored / "a"
        models = start(
            model("a", base, specific(1) + label("stable", 1)),
            allow_unavailable_labels=True,
        )
        moved = specific(1, 2) + label("stable", 2)
        with pytest.raises(ServingError) as caught:
            models.apply(config(model("a", base, moved)))
        assert caught.value.code.name == "FAILED_PRECONDITION"
        assert answer(models, spec("a", label="stable")) == 1.5
        new = specific(1, 2) + label("stable", 1) + label("canary", 2)
        models.apply(config(model("a", base, new)))
        wait_until(lambda: states(models, "a").get(2) == "AVAILABLE")
        assert answer(models, spec("a", label="canary")) == 2.5


def test_a_moved_label_fails_no_request(stored: Path, start: Any) -> None:
    base = stored / "a"
    models = start(model("a", base, specific(1, 2)))
    models.reload(config(model("a", base, specific(1, 2) + label("now", 1))))
    done = threading.Event()
    found: set[float] = set()
    errors: list[ServingError] = []

    def ask() -> None:
        while not done.is_set():
            try:
                found.add(answer(models, spec("a", label="now")))
            except ServingError as error:
                errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_until(lambda: bool(found))
    models.reload(config(model("a", base, specific(2) + label("now", 2))))
    wait_until(lambda: states(models, "a") == {1: "END", 2: "AVAILABLE"})
    wait_until(lambda: 2.5 in found)
    done.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert found == {1.5, 2.5}


class Loads(Metrics):
    """Notes which loads and states it heard of."""

    def __init__(self) -> None:
        self.loads: list[tuple[str, int, str]] = []
        self.states: list[tuple[str, int, str]] = []
        self.names: list[list[str]] = []

    def load(
        self, model: str, version: int, status: str, seconds: float, path: str = ""
    ) -> None:
        assert seconds > 0
        assert path.endswith(str(version))
        self.loads.append((model, version, status))

    def state(self, model: str, version: int, state: str) -> None:
        self.states.append((model, version, state))

    def configured(self, models: Any) -> None:
        self.names.append(list(models))


def test_metrics_hear_of_loads_states_and_names(
    stored: Path, start: Any, tmp_path: Path
) -> None:
    (tmp_path / "3").mkdir()
    metrics = Loads()
    models = start(model("a", stored / "a"), model("broken", tmp_path), metrics=metrics)
    assert sorted(metrics.loads) == [("a", 10, "OK"), ("broken", 3, "UNKNOWN")]
    models.reload(config())
    wait_until(lambda: states(models, "a") == {10: "END"})
    assert [one for one in metrics.states if one[0] == "a"] == [
        ("a", 10, name)
        for name in ("START", "LOADING", "AVAILABLE", "UNLOADING", "END")
    ]
    assert metrics.names == [["a", "broken"], []]


@pytest.mark.parametrize(("threads", "most"), [(0, 1), (2, 2)])
def test_the_number_of_load_threads(
    stored: Path, monkeypatch: pytest.MonkeyPatch, threads: int, most: int
) -> None:
    """One load thread loads one after the other; two, at the same time."""
    real = loading.load
    now: list[None] = []
    seen: list[int] = []
    together = threading.Barrier(most)

    def load(*arguments: Any) -> Any:
        now.append(None)
        seen.append(len(now))
        together.wait(20)
        try:
            return real(*arguments)
        finally:
            now.pop()

    monkeypatch.setattr(loading, "load", load)
    both = config(model("a", stored / "a"), model("b", stored / "b"))
    models = Models(both, QUICK, load_threads=threads)
    models.start()
    assert models.wait_first_look(30)
    models.stop()
    assert max(seen) == most


def test_without_polling_a_failed_load_is_still_tried_again(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    model = ModelVersions(
        "m", str(tmp_path), LoadPolicy(0, max_retries=2, retry_seconds=0.05)
    )
    model.start()
    assert model.wait_first_look(20)
    wait_until(lambda: model.statuses()[0].state == State.END)
    model.stop()
