"""Configs that are made in Python, by the dataclasses themselves."""

import pytest

from tests.trainer.test_config import MINIMAL
from trainer import config as c
from trainer.serving_config import VersionsConfig


def test_a_config_made_in_python_is_held_to_what_a_file_is() -> None:
    config = c.from_mapping(MINIMAL)
    for changes, problem in (
        ({"embedding_dim": 0}, "embedding_dim: must be above 0. Received: 0"),
        ({"seed": "one"}, "seed: expected int. Received: 'one'"),
        ({"inputs": ()}, "inputs: at least one is needed."),
        (
            {"training": c.TrainingConfig(epochs=-1)},
            "training.epochs: must be above 0. Received: -1",
        ),
        (
            {"heads": (*config.heads, c.RegressionHead("Weight"))},
            "heads[Weight].name: names are lower-case ASCII",
        ),
    ):
        with pytest.raises(c.ConfigError) as caught:
            c.replace(config, **changes)
        (found,) = caught.value.problems
        assert found.startswith(problem)
    with pytest.raises(c.ConfigError, match="1 problem"):
        c.Config("a/b", config.inputs, config.heads)


def test_a_config_made_in_python_is_equal_to_one_that_was_read() -> None:
    read = c.from_mapping({**MINIMAL, "training": {"learning_rate": 1}})
    made = c.Config(
        read.name,
        list(read.inputs),  # type: ignore[arg-type]
        list(read.heads),  # type: ignore[arg-type]
        training=c.TrainingConfig(learning_rate=1),
    )
    assert made == read
    assert made.inputs == read.inputs
    assert isinstance(made.training.learning_rate, float)


def test_what_one_config_holds_by_default_is_no_others() -> None:
    first, second = VersionsConfig(), VersionsConfig()
    first.labels["stable"] = 1
    assert second.labels == {}
    assert c.ServingConfig().versions.labels == {}
