"""A stage's base and its teacher may lie on s3://; the trainer gets copies."""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.base_models import base_state, local_models
from pipeline.views import stage_view
from tests import object_stores
from tests.object_stores import Store
from trainer.config import Config, ConfigError, from_mapping, to_json


@pytest.fixture(scope="module")
def running() -> Iterator[Store]:
    with object_stores.running("moto") as store:
        yield store


@pytest.fixture
def store(running: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with object_stores.used(running, monkeypatch):
        yield running


def config(teacher: str) -> Config:
    given: dict[str, Any] = {
        "name": "taught",
        "inputs": [{"name": "note", "modality": "text"}],
        "heads": [{"name": "y", "kind": "classification", "classes": ["a", "b"]}],
        "objectives": {"distillation": {"teacher": teacher}},
    }
    return from_mapping(given)


def test_the_trainer_gets_copies(store: Store) -> None:
    base = store.put("m/base.keras", b"weights")
    store.put("m/teacher/variables/variables.index", b"index")
    store.put("m/teacher/assets/note_vocabulary.txt", b"words")
    asked = config("s3://bucket/m/teacher")
    with local_models(asked, base) as (here, start):
        assert start is not None
        assert start.endswith(".keras")
        assert Path(start).read_bytes() == b"weights"
        assert here.objectives.distillation is not None
        teacher = Path(here.objectives.distillation.teacher)
        assert (teacher / "variables" / "variables.index").read_bytes() == b"index"
        assert (teacher / "assets" / "note_vocabulary.txt").read_bytes() == b"words"
        # Nothing else of the config is another.
        objectives = dataclasses.replace(
            here.objectives, distillation=asked.objectives.distillation
        )
        assert dataclasses.replace(here, objectives=objectives) == asked
    assert not os.path.exists(start)
    assert not teacher.exists()


class _Reached(Exception):
    pass


def test_the_trainers_function_trains_on_the_copies(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow_transform as tft

    from pipeline import module_file, shards
    from trainer import dataset, resources, train

    store.put("r/base/variables/variables.index", b"base")
    store.put("r/teacher/variables/variables.index", b"teacher")

    def trained(here: Config, *args: Any, base: str, **options: Any) -> None:
        assert here.objectives.distillation is not None
        teacher = here.objectives.distillation.teacher
        for folder, content in ((base, b"base"), (teacher, b"teacher")):
            assert Path(folder, "variables/variables.index").read_bytes() == content
        raise _Reached

    output = SimpleNamespace(transform_features_layer=lambda: None)
    monkeypatch.setattr(tft, "TFTransformOutput", lambda path: output)
    monkeypatch.setattr(resources, "load_resources", lambda *args: None)
    monkeypatch.setattr(dataset, "make_dataset", lambda *args, **options: None)
    monkeypatch.setattr(shards, "counted_rows", lambda files: 8)
    monkeypatch.setattr(train, "train", trained)
    asked = config("s3://bucket/r/teacher")
    settings = {
        **dict.fromkeys(("selection", "code", "base_state", "work_dir", "log_dir"), ""),
        "config": to_json(asked),
        "stage": stage_view(asked.resolved_stages()[0]),
        "base": "s3://bucket/r/base",
    }
    given = SimpleNamespace(
        custom_config=settings, base_model=None, transform_graph_path="",
        train_files=[], eval_files=[],
    )  # fmt: skip
    with pytest.raises(_Reached):
        module_file.run_fn(given)


def test_what_is_here_is_used_as_it_is(tmp_path: Path) -> None:
    asked = config(str(tmp_path / "teacher"))
    with local_models(asked, str(tmp_path)) as found:
        assert found == (asked, str(tmp_path))
    with local_models(asked, None) as found:
        assert found == (asked, None)


def test_other_weights_on_a_store_are_another_base(store: Store) -> None:
    store.put("n/base/variables/variables.index", b"one")
    before = base_state("s3://bucket/n/base")
    assert base_state("s3://bucket/n/base") == before
    store.put("n/base/variables/variables.index", b"two")
    assert base_state("s3://bucket/n/base") != before
    assert base_state(store.put("n/base.keras", b"x")).startswith("base.keras 1 ")
    with pytest.raises(ConfigError, match="'s3://bucket/n/gone' does not exist"):
        base_state("s3://bucket/n/gone")
