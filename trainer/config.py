"""What a model is, read from one YAML file into frozen dataclasses.

This is the only reader of the YAML. Every key has a default with its reason, or is
required; `docs/config.md` is generated from the `doc` of each field.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trainer.abstention_config import FoundThreshold
from trainer.checked import checked
from trainer.config_error import ConfigError, UserError
from trainer.config_file import read_yaml
from trainer.config_problems import (
    answer_problems,
    comparison_problems,
    leak_problems,
    name_problems,
    reference_problems,
    stage_problems,
)
from trainer.data_config import DataConfig, IntegrityConfig, SplitConfig
from trainer.fusion_config import (
    AttentionFusion,
    BottleneckFusion,
    ConcatFusion,
    FilmFusion,
    FusionConfig,
    GatedFusion,
    LowRankFusion,
    PerceiverFusion,
)
from trainer.head_config import (
    ClassificationHead,
    HeadConfig,
    LabelKind,
    OrdinalHead,
    RankingHead,
    RegressionHead,
    RetrievalHead,
    VqaHead,
)
from trainer.inherited import with_inherited
from trainer.input_config import (
    AudioInput,
    ImageInput,
    ImagesInput,
    InputConfig,
    TabularColumn,
    TabularInput,
    TextInput,
)
from trainer.monitoring_config import MonitoringConfig
from trainer.objective_config import (
    ContrastiveObjective,
    DistillationObjective,
    MaskedAudioObjective,
    MaskedImageObjective,
    MaskedLmObjective,
    MatchingObjective,
    MixMatchObjective,
    ObjectivesConfig,
    PclObjective,
    SupervisedObjective,
    labels_alone,
)
from trainer.overrides import override_key
from trainer.schema import option, plain, positive, read, required, shown
from trainer.serving_config import ServingConfig
from trainer.stage_config import LoraConfig, StageConfig, UnfreezeConfig
from trainer.training_config import (
    EvaluationConfig,
    ParameterGroup,
    Threshold,
    TrainingConfig,
)

# One import for those who read configs, whichever file a part stands in.
__all__ = [
    "CONFIG_ASSET",
    "AttentionFusion",
    "AudioInput",
    "BottleneckFusion",
    "ClassificationHead",
    "ConcatFusion",
    "Config",
    "ConfigError",
    "ContrastiveObjective",
    "DataConfig",
    "DistillationObjective",
    "EvaluationConfig",
    "FilmFusion",
    "FoundThreshold",
    "FusionConfig",
    "GatedFusion",
    "HeadConfig",
    "ImageInput",
    "ImagesInput",
    "InputConfig",
    "IntegrityConfig",
    "LabelKind",
    "LoraConfig",
    "LowRankFusion",
    "MaskedAudioObjective",
    "MaskedImageObjective",
    "MaskedLmObjective",
    "MatchingObjective",
    "MixMatchObjective",
    "MonitoringConfig",
    "ObjectivesConfig",
    "OrdinalHead",
    "ParameterGroup",
    "PclObjective",
    "PerceiverFusion",
    "RankingHead",
    "RegressionHead",
    "RetrievalHead",
    "ServingConfig",
    "SplitConfig",
    "StageConfig",
    "SupervisedObjective",
    "TabularColumn",
    "TabularInput",
    "TextInput",
    "Threshold",
    "TrainingConfig",
    "UnfreezeConfig",
    "UserError",
    "VqaHead",
    "as_served",
    "from_json",
    "from_mapping",
    "load",
    "stage_from_json",
    "to_json",
    "to_yaml",
]

CONFIG_ASSET = "assets.extra/polymodal_config.yaml"
"""Where the config lies inside an exported model."""


@dataclass(frozen=True)
class Config:
    """One model, from its inputs to what it must show."""

    name: str = required("The model's name: directory and name when served.")
    inputs: tuple[InputConfig, ...] = required("The inputs, in any order.")
    heads: tuple[HeadConfig, ...] = required("What is predicted.")
    seed: int = option(0, "Fixes initial weights, shuffling and augmentation.")
    data: DataConfig = option(DataConfig(), "How the manifest is read.")
    embedding_dim: int = option(128, "Size of each input's pooled embedding.")
    fusion: FusionConfig = option(ConcatFusion(), "How the inputs are joined.")
    objectives: ObjectivesConfig = option(
        labels_alone(),
        "What is learned from, all of it; not given = `supervised` alone.",
    )
    training: TrainingConfig = option(TrainingConfig(), "How the weights are found.")
    stages: tuple[StageConfig, ...] = option(
        (),
        "Stages of the training, each on the weights of another; the last one's model is"
        " judged and pushed. Empty = one stage of `objectives` and `training`.",
    )
    evaluation: EvaluationConfig = option(
        EvaluationConfig(), "What a model must show before it is pushed."
    )
    monitoring: MonitoringConfig = option(
        MonitoringConfig(), "From which difference on requests count as drifted."
    )
    serving: ServingConfig = option(
        ServingConfig(), "Where and how it is served: read by `polymodal deploy`."
    )

    def __post_init__(self) -> None:
        """Holds a config that was made in Python to what one in a file is held to.

        Raises:
            ConfigError: it lists every problem.
        """
        values, found = checked(self)
        if not found:
            for name, value in values.items():
                object.__setattr__(self, name, value)  # Lists are tuples, 1 is 1.0.
            found = list(self.problems())
        if found:
            raise ConfigError("Config", [text.lstrip(".") for text in found])

    def input(self, name: str) -> InputConfig:
        """The input of that name; KeyError otherwise."""
        return {i.name: i for i in self.inputs}[name]

    def head(self, name: str | None) -> HeadConfig:
        """The head of that name, the first one for None; KeyError otherwise."""
        return self.heads[0] if name is None else {h.name: h for h in self.heads}[name]

    def problems(self) -> Iterator[str]:
        yield from positive(self, "embedding_dim")
        if not self.inputs:
            yield "inputs: at least one is needed."
        yield from stage_problems(self)
        yield from comparison_problems(self)
        if not self.heads:
            yield "heads: at least one is needed."
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*", self.name):
            yield f"name: letters, digits, _ . - only. Received: {self.name!r}"
        yield from name_problems(self)
        yield from answer_problems(self)
        yield from leak_problems(self)
        yield from reference_problems(self)

    def resolved_stages(self) -> tuple[StageConfig, ...]:
        """The stages in the order in which they run; at least one."""
        if self.stages:
            return self.stages
        return (
            StageConfig("train", objectives=self.objectives, training=self.training),
        )


def as_served(name: str, inputs: Sequence[InputConfig], head: HeadConfig) -> Config:
    """A Config that is not checked: of a model that others made, whose names may be any."""
    config = object.__new__(Config)
    given = {"name": name, "inputs": tuple(inputs), "heads": (head,)}
    for field in dataclasses.fields(Config):
        made = field.default_factory
        default = field.default if made is dataclasses.MISSING else made()
        object.__setattr__(config, field.name, given.get(field.name, default))
    return config


def from_mapping(mapping: Any, source: str = "config") -> Config:
    """A Config from plain mappings and lists; ConfigError lists every problem."""
    problems: list[str] = []
    if not isinstance(mapping, Mapping):
        raise ConfigError(source, [f"expected a mapping. Received: {shown(mapping)}"])
    config = read(Config, with_inherited(mapping), "", problems)
    if problems:
        raise ConfigError(source, [p.lstrip(".") for p in problems])
    return typed(config)


def typed(config: Any) -> Config:
    """Narrows what `read` made to Config."""
    assert isinstance(config, Config)
    return config


def load(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Reads a YAML file; `overrides` are `key.path=value`, lists by index or name."""
    path = Path(path)
    mapping = read_yaml(path)
    for override in overrides:
        override_key(mapping, override)
    return from_mapping(mapping, str(path))


def to_yaml(config: Config) -> str:
    """The config with every default filled in; `load` reads it back equal."""
    return yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True, width=88)


def to_json(config: Config) -> str:
    """One line, stable: what goes into pipeline parameters and fingerprints."""
    return json.dumps(plain(config), ensure_ascii=False, sort_keys=True)


def from_json(text: str) -> Config:
    """The inverse of `to_json`."""
    return from_mapping(json.loads(text))


def stage_from_json(text: str) -> StageConfig:
    """A stage from the JSON of its own mapping.

    Raises:
        ConfigError: it is not one.
    """
    problems: list[str] = []
    stage = read(StageConfig, json.loads(text), "", problems)
    if problems:
        raise ConfigError("stage", [p.lstrip(".") for p in problems])
    assert isinstance(stage, StageConfig)
    return stage


replace = dataclasses.replace
