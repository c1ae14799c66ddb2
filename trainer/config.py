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

from trainer.data_config import DataConfig, SplitConfig
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
from trainer.head_config import ClassificationHead, HeadConfig, RegressionHead
from trainer.input_config import (
    AudioInput,
    ImageInput,
    InputConfig,
    TabularColumn,
    TabularInput,
    TextInput,
)
from trainer.objective_config import ObjectivesConfig, SupervisedObjective
from trainer.schema import named, nearest, option, plain, positive, read, required
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
    "DataConfig",
    "EvaluationConfig",
    "FilmFusion",
    "FusionConfig",
    "GatedFusion",
    "HeadConfig",
    "ImageInput",
    "InputConfig",
    "LoraConfig",
    "ObjectivesConfig",
    "ParameterGroup",
    "RegressionHead",
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
    "from_json",
    "from_mapping",
    "load",
    "stage_from_json",
    "to_json",
    "to_yaml",
]

CONFIG_ASSET = "assets.extra/polymodal_config.yaml"
"""Where the config lies inside an exported model."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
_RESERVED = ("_present", "_scores", "_classes", "_selected", "_embedding")


class UserError(Exception):
    """An error that the reader of its message can mend: shown without a traceback."""


class ConfigError(UserError, ValueError):
    """A config that cannot be used; `problems` lists all that is wrong with it."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source = source
        self.problems = tuple(problems)
        lines = "\n".join(f"  - {p}" for p in problems)
        count = f"{len(problems)} problem" + ("s" if len(problems) > 1 else "")
        super().__init__(f"{source}: {count}\n{lines}")


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
    objectives: ObjectivesConfig = option(ObjectivesConfig(), "What is learned from.")
    training: TrainingConfig = option(TrainingConfig(), "How the weights are found.")
    stages: tuple[StageConfig, ...] = option(
        (),
        "Stages of the training, each on the weights of another; the last one's model is"
        " judged and pushed. Empty = one stage of `objectives` and `training`.",
    )
    evaluation: EvaluationConfig = option(
        EvaluationConfig(), "What a model must show before it is pushed."
    )

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
        yield from self._stage_problems()
        if not self.heads:
            yield "heads: at least one is needed."
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*", self.name):
            yield f"name: letters, digits, _ . - only. Received: {self.name!r}"
        yield from self._name_problems()
        yield from self._reference_problems()

    def _reference_problems(self) -> Iterator[str]:
        """Names of inputs and heads that stand in other parts of the config."""
        inputs = [one.name for one in self.inputs]
        heads = [head.name for head in self.heads]
        if isinstance(self.fusion, FilmFusion) and self.fusion.conditioned is not None:
            yield from named(
                "fusion.conditioned", self.fusion.conditioned, inputs, "input"
            )
        for i, threshold in enumerate(self.evaluation.thresholds):
            if threshold.head is not None:
                where = f"evaluation.thresholds[{i}].head"
                yield from named(where, threshold.head, heads, "head")

    def resolved_stages(self) -> tuple[StageConfig, ...]:
        """The stages in the order in which they run; at least one."""
        if self.stages:
            return self.stages
        return (
            StageConfig("train", objectives=self.objectives, training=self.training),
        )

    def _stage_problems(self) -> Iterator[str]:
        before: list[str] = []
        for stage in self.resolved_stages():
            where = f"stages[{stage.name}]." if self.stages else ""
            chosen = dataclasses.asdict(stage.objectives)
            if all(one is None for one in chosen.values()):
                yield f"{where}objectives: at least one is needed."
            if stage.name in before:
                yield f"{where}name: two stages have this name."
            path = stage.base is not None and ("/" in stage.base or "." in stage.base)
            if stage.base is not None and not path and stage.base not in before:
                known = ", ".join(before) or "none"
                yield (
                    f"{where}from: no earlier stage of that name, and no path."
                    f"{nearest(stage.base, before)} Earlier stages: {known}."
                    f" Received: {stage.base!r}"
                )
            before.append(stage.name)

    def _name_problems(self) -> Iterator[str]:
        seen: dict[str, str] = {}
        for where, name in _all_names(self):
            if not _NAME.fullmatch(name):
                yield (
                    f"{where}: names are lower-case ASCII letters, digits and _,"
                    " starting with a letter; give `name:` beside `column:`."
                    f" Received: {name!r}"
                )
            for suffix in _RESERVED:
                if name.endswith(suffix):
                    yield f"{where}: may not end in {suffix}, which answers use."
            if name in seen:
                yield f"{where}: the name {name!r} is taken by {seen[name]}."
            seen[name] = where


def _all_names(config: Config) -> Iterator[tuple[str, str]]:
    for one in config.inputs:
        yield f"inputs[{one.name}].name", one.name
        if isinstance(one, TabularInput):
            for column in (*one.numeric, *one.categorical):
                name = column if isinstance(column, str) else column.name
                yield f"inputs[{one.name}].{name}", name
    for head in config.heads:
        yield f"heads[{head.name}].name", head.name


def from_mapping(mapping: Any, source: str = "config") -> Config:
    """A Config from plain mappings and lists; ConfigError lists every problem."""
    problems: list[str] = []
    if not isinstance(mapping, Mapping):
        raise ConfigError(source, [f"expected a mapping. Received: {mapping!r}"])
    config = read(Config, _with_inherited(mapping), "", problems)
    if problems:
        raise ConfigError(source, [p.lstrip(".") for p in problems])
    return typed(config)


def _with_inherited(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    """Each stage with the file's `training` under its own, and its `objectives`.

    Objectives are taken whole or not at all: a stage that names its own drops the rest.
    """
    stages = mapping.get("stages")
    if not isinstance(stages, list):
        return mapping
    out = []
    for stage in stages:
        if isinstance(stage, Mapping):
            stage = dict(stage)
            own, common = stage.get("training"), mapping.get("training")
            if isinstance(own or {}, Mapping) and isinstance(common or {}, Mapping):
                stage["training"] = {**(common or {}), **(own or {})}
            if "objectives" in stage:
                stage["objectives"] = _only_named(stage["objectives"])
            elif "objectives" in mapping:
                stage["objectives"] = mapping["objectives"]
        out.append(stage)
    return {**mapping, "stages": out}


def _only_named(objectives: Any) -> Any:
    """`supervised` is on by default in a file without stages, not in a stage's list."""
    if isinstance(objectives, Mapping):
        return {"supervised": None, **objectives}
    return objectives


def typed(config: Any) -> Config:
    """Narrows what `read` made to Config."""
    assert isinstance(config, Config)
    return config


def load(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Reads a YAML file; `overrides` are `key.path=value`, lists by index or name."""
    path = Path(path)
    try:
        mapping = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            str(path), ["no such file; `polymodal init MANIFEST` writes one."]
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"not valid YAML in UTF-8: {error}"]) from None
    if not isinstance(mapping, Mapping):
        raise ConfigError(str(path), [f"expected a mapping. Received: {mapping!r}"])
    for override in overrides:
        _apply(mapping, override)
    return from_mapping(mapping, str(path))


def _apply(mapping: Any, override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError("--set", [f"expected key.path=value. Received: {override!r}"])
    *parents, last = key.strip().split(".")
    node = mapping
    for part in parents:
        node = _step(node, part, key)
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError("--set", [f"{key}: not a YAML value: {error}"]) from None
    if isinstance(node, list):
        node[_position(node, last, key)] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        raise ConfigError("--set", [f"{key}: {parents[-1]!r} is not a mapping."])


def _step(node: Any, part: str, key: str) -> Any:
    if isinstance(node, list):
        return node[_position(node, part, key)]
    if isinstance(node, dict):
        if node.get(part) is None:
            node[part] = {}
        return node[part]
    raise ConfigError("--set", [f"{key}: nothing lies under {part!r}."])


def _position(items: list[Any], part: str, key: str) -> int:
    names = [str(i.get("name", n)) for n, i in enumerate(items) if isinstance(i, dict)]
    if part in names:
        return names.index(part)
    if part.isdigit() and int(part) < len(items):
        return int(part)
    raise ConfigError(
        "--set", [f"{key}: no {part!r} here.{nearest(part, names)} Known: {names}"]
    )


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
