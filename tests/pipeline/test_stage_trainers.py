"""What the Trainer of a stage is told of the models that it starts or is taught from."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tfx.proto import trainer_pb2
from tfx.types.channel import Channel
from tfx.types.standard_artifacts import Examples, Schema, TransformGraph

from pipeline.base_models import base_state
from pipeline.pipeline import _trainers
from trainer.config import ConfigError, from_mapping, stage_from_json


def exported(folder: Path) -> str:
    (folder / "variables").mkdir(parents=True)
    (folder / "variables" / "variables.index").write_bytes(b"123")
    return str(folder)


def trainers(*stages: dict[str, Any]) -> list[Any]:
    config = from_mapping(
        {
            "name": "two",
            "inputs": [{"name": "note", "modality": "text"}],
            "heads": [{"name": "y", "kind": "classification", "classes": ["a", "b"]}],
            "stages": list(stages),
        }
    )
    return _trainers(
        config,
        settings={},
        examples=Channel(type=Examples),
        transform_graph=Channel(type=TransformGraph),
        schema=Channel(type=Schema),
        train_args=trainer_pb2.TrainArgs(),
        eval_args=trainer_pb2.EvalArgs(),
    )


def told(trainer: Any) -> Any:
    settings = json.loads(trainer.exec_properties["custom_config"])
    return settings["base"], settings["base_state"]


def test_a_linear_probe_reaches_its_trainer() -> None:
    first = {"name": "first"}
    probe = {"name": "probe", "from": "first", "linear_probe": True}
    *_, trainer = trainers(first, probe)
    settings = json.loads(trainer.exec_properties["custom_config"])
    assert stage_from_json(settings["stage"]).linear_probe


def test_another_teacher_is_another_training(tmp_path: Path) -> None:
    teacher = exported(tmp_path / "teacher")
    stage = {"name": "learn", "objectives": {"distillation": {"teacher": teacher}}}
    (one,) = trainers(stage)
    base, state = told(one)
    assert base == ""
    assert state == base_state(teacher)
    os.utime(tmp_path / "teacher" / "variables" / "variables.index", (1, 1))
    ((_, changed),) = map(told, trainers(stage))
    assert changed != state


def test_a_base_and_a_teacher_are_both_told(tmp_path: Path) -> None:
    base, teacher = exported(tmp_path / "base"), exported(tmp_path / "teacher")
    first, second = trainers(
        {
            "name": "first", "from": base,
            "objectives": {"distillation": {"teacher": teacher}},
        },
        {"name": "second", "from": "first"},
    )  # fmt: skip
    assert told(first) == (base, f"{base_state(base)}\n{base_state(teacher)}")
    assert told(second) == ("", "")


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    with pytest.raises(ConfigError, match="gone' does not exist: a stage starts or is"):
        base_state(gone)
