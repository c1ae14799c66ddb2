"""What of a config each component depends on.

TFX's cache compares a component's parameters: a change of the learning rate must not
read all media again, and a change of the code must. Each view keeps what its
component reads and sets the rest to defaults.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from trainer.config import (
    AudioInput,
    ClassificationHead,
    Config,
    DataConfig,
    EvaluationConfig,
    ImageInput,
    ImagesInput,
    IntegrityConfig,
    MonitoringConfig,
    ObjectivesConfig,
    OrdinalHead,
    RankingHead,
    RegressionHead,
    RetrievalHead,
    ServingConfig,
    StageConfig,
    TabularInput,
    TextInput,
    TrainingConfig,
    VqaHead,
    to_json,
)
from trainer.encoder_config import BagEncoder, TextPresetEncoder
from trainer.schema import plain

_STORED = {
    ImageInput: ("name", "column", "max_pixels"),
    ImagesInput: ("name", "column", "separator", "max_frames", "max_pixels"),
    AudioInput: ("name", "column", "max_input_seconds"),
    TextInput: ("name", "column"),
    TabularInput: ("name", "numeric", "categorical"),
}
"""What ingestion reads of an input; every kind is here."""

_ANALYZED = {
    **_STORED,
    TextInput: ("name", "column", "lowercase", "vocabulary_size", "max_characters"),
    TabularInput: ("name", "numeric", "categorical", "max_categories"),
}
"""What the full pass reads of an input, a text's preset apart."""

_LABEL_FIELDS = {
    ClassificationHead: (
        "name", "column", "classes", "multi_label", "separator", "allow_missing",
    ),
    OrdinalHead: ("name", "column", "classes", "allow_missing"),
    RegressionHead: ("name", "column", "allow_missing"),
    RankingHead: ("name", "column", "group", "allow_missing"),
    VqaHead: (
        "name", "column", "annotators", "separator", "lowercase", "allow_missing",
    ),
    RetrievalHead: ("name", "pair"),
}  # fmt: skip


def _only(one: Any, names: tuple[str, ...]) -> Any:
    return type(one)(**{name: getattr(one, name) for name in names})


def _read_data(config: Config) -> DataConfig:
    """`data` without what changes nothing of what is read."""
    return dataclasses.replace(config.data, integrity=IntegrityConfig(), beam_workers=1)


def ingestion_view(config: Config) -> str:
    """What ManifestExampleGen reads, as JSON."""
    inputs = tuple(_only(one, _STORED[type(one)]) for one in config.inputs)
    heads = tuple(_only(one, _LABEL_FIELDS[type(one)]) for one in config.heads)
    return to_json(
        Config(
            name="view",
            inputs=inputs,
            heads=heads,
            data=_read_data(config),
            evaluation=EvaluationConfig(slices=config.evaluation.slices),
        )
    )


def transform_view(config: Config) -> str:
    """What Transform reads, as JSON: no encoder but a text preset, no training."""
    inputs = []
    for one in config.inputs:
        view = _only(one, _ANALYZED[type(one)])
        if isinstance(one, TextInput):
            preset = isinstance(one.encoder, TextPresetEncoder)
            encoder = one.encoder if preset else BagEncoder()
            view = dataclasses.replace(view, encoder=encoder)
        inputs.append(view)
    heads = []
    for head in config.heads:
        names = _LABEL_FIELDS[type(head)]
        if isinstance(head, VqaHead):
            names = (*names, "max_answers")
        heads.append(_only(head, names))
    return to_json(Config(name="view", inputs=tuple(inputs), heads=tuple(heads)))


def training_view(config: Config, stage: StageConfig) -> str:
    """What one stage's Trainer reads, as JSON: all but judging, watching, serving.

    The stage's objectives and training stand where a config of one stage has them. It
    travels with the model, so that `evaluate` and `predict` read a manifest as the
    pipeline did; hence `data` stays in it. `monitoring` travels in the baseline.
    """
    return to_json(
        dataclasses.replace(
            config,
            objectives=stage.objectives,
            training=stage.training,
            stages=(),
            data=_read_data(config),
            evaluation=EvaluationConfig(),
            monitoring=MonitoringConfig(),
            serving=ServingConfig(),
        )
    )


def stage_view(stage: StageConfig) -> str:
    """What a stage moves and how far, as JSON, for a config of `training_view`."""
    view = dataclasses.replace(
        stage, base=None, objectives=ObjectivesConfig(), training=TrainingConfig()
    )
    return json.dumps(plain(view), sort_keys=True)
