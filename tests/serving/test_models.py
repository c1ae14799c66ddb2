"""Which version a ModelSpec gets: policies, several models, statuses."""

import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from serving import loading
from serving.metrics import Metrics
from serving.models import Models
from serving.version_state import LoadPolicy, State, VersionPolicy
from serving.versions import ModelVersions
from tests.serving.conftest import wait_until
from tests.serving.model_configs import (
    QUICK,
    answer,
    config,
    model,
    refusal,
    spec,
    specific,
    states,
)


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
    stored_models: Path, start_models: Any, policy: str, expected: set[int]
) -> None:
    models = start_models(model("a", stored_models / "a", policy))
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
    stored_models: Path, start_models: Any, tmp_path: Path
) -> None:
    link(tmp_path / "m", stored_models, 1, 2)
    models = start_models(
        model("m", tmp_path / "m", "model_version_policy { all { } }")
    )
    os.unlink(tmp_path / "m" / "1")
    wait_until(lambda: states(models, "m") == {1: "END", 2: "AVAILABLE"})
    link(tmp_path / "m", stored_models, 10)
    wait_until(lambda: states(models, "m").get(10) == "AVAILABLE")
    assert answer(models, spec("m", 2)) == 2.5
    assert answer(models, spec("m")) == 10.5


def test_a_corrupt_version_among_several_disturbs_none(
    stored_models: Path, start_models: Any, tmp_path: Path
) -> None:
    link(tmp_path / "m", stored_models, 1, 2)
    two = "model_version_policy { latest { num_versions: 2 } }"
    models = start_models(model("m", tmp_path / "m", two))
    (tmp_path / "m" / "3").mkdir()
    (tmp_path / "m" / "3" / "saved_model.pb").write_bytes(b"\xff no protobuf")
    # 1 is not wanted any more, and goes once 3 has had its try; 2 is and stays.
    wait_until(lambda: states(models, "m") == {3: "END", 2: "AVAILABLE", 1: "END"})
    assert answer(models, spec("m")) == 2.5
    # What is wanted again is loaded as if it were new.
    shutil.rmtree(tmp_path / "m" / "3")
    wait_until(lambda: states(models, "m").get(1) == "AVAILABLE")


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
    stored_models: Path, start_models: Any, tmp_path: Path
) -> None:
    (tmp_path / "3").mkdir()
    metrics = Loads()
    models = start_models(
        model("a", stored_models / "a"), model("broken", tmp_path), metrics=metrics
    )
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
    stored_models: Path, monkeypatch: pytest.MonkeyPatch, threads: int, most: int
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
    both = config(model("a", stored_models / "a"), model("b", stored_models / "b"))
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
