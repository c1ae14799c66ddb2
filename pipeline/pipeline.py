"""The only `create_pipeline`: manifest to pushed model."""

from __future__ import annotations

import os
from typing import Any

from tfx.components.evaluator.component import Evaluator
from tfx.components.example_validator.component import ExampleValidator
from tfx.components.pusher.component import Pusher
from tfx.components.schema_gen.component import SchemaGen
from tfx.components.statistics_gen.component import StatisticsGen
from tfx.components.trainer.component import Trainer
from tfx.components.transform.component import Transform
from tfx.dsl.components.common.resolver import Resolver
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import pusher_pb2, trainer_pb2, transform_pb2
from tfx.types.channel import Channel
from tfx.types.standard_artifacts import Model, ModelBlessing

from pipeline.base_models import base_state
from pipeline.code_version import code_version
from pipeline.comparison import PREFIX, variants
from pipeline.duplicate_check import DuplicateCheck
from pipeline.evaluation import eval_config
from pipeline.example_gen import ManifestExampleGen
from pipeline.integrity.rows import MAX_ROWS
from pipeline.resolver import BlessedBefore
from pipeline.scan import Scan
from pipeline.views import (
    ingestion_view,
    stage_view,
    training_view,
    transform_view,
)
from trainer.config import Config, StageConfig
from trainer.features import split_key

# Beam's DirectRunner first tries to download another runner; this names the one that
# it falls back to.
BEAM_ARGS = ("--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner",)


def create_pipeline(
    config: Config,
    scanned: Scan,
    manifest: str,
    output: str,
    push_again: str | None = None,
) -> Pipeline:
    """Builds the pipeline.

    Args:
        config: The model's config.
        scanned: The manifest's scan, whose fingerprint the cache compares.
        manifest: Absolute path or URL of the manifest.
        output: Absolute directory of this project's runs: `tfx/` holds the pipeline's
            artifacts and metadata, `serving/NAME/VERSION` the pushed models, `logs/`
            TensorBoard's files, `work/` what a killed run resumes from.
        push_again: a text that no run had before: the cache does not serve Pusher.
    """
    split = config.data.split
    train = split_key(split.train)
    example_gen = ManifestExampleGen(
        manifest=manifest,
        config=ingestion_view(config),
        fingerprint=scanned.fingerprint,
        report_dir=os.path.join(output, "quarantine"),
        code=code_version("pipeline.example_gen"),
    )
    examples = example_gen.outputs["examples"]
    statistics = StatisticsGen(examples=examples)
    for one in (example_gen, statistics):
        one.with_beam_pipeline_args(beam_workers(config))
    # Shapes are not inferred: any input may be absent from any row.
    schema = SchemaGen(
        statistics=statistics.outputs["statistics"], infer_feature_shape=False
    )
    validator = ExampleValidator(
        statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"]
    )
    transform = Transform(
        examples=examples,
        schema=schema.outputs["schema"],
        preprocessing_fn="pipeline.module_file.preprocessing_fn",
        splits_config=transform_pb2.SplitsConfig(analyze=[train], transform=[train]),
        # The data set applies the graph to the raw examples: no second copy of media.
        materialize=False,
        disable_statistics=True,
        custom_config={
            "config": transform_view(config),
            "code": code_version("pipeline.module_file:preprocessing_fn"),
        },
    )
    chosen = scanned.splits.get(split.selection)
    selection = split_key(split.selection) if chosen else ""
    trainers = _trainers(
        config,
        examples=examples,
        transform_graph=transform.outputs["transform_graph"],
        schema=schema.outputs["schema"],
        train_args=trainer_pb2.TrainArgs(splits=[train]),
        # TFX would take the judging split where none is named; run_fn looks at
        # `selection` and leaves these files alone where it is empty.
        eval_args=trainer_pb2.EvalArgs(splits=[selection or train]),
        settings={
            "code": code_version("pipeline.module_file:run_fn"),
            "selection": selection,
            "work_dir": os.path.join(output, "work"),
            "log_dir": os.path.join(output, "logs"),
        },
    )
    trainer = trainers[-1]
    baseline = Resolver(
        strategy_class=BlessedBefore,
        candidate=trainer.outputs["model"],
        model=Channel(type=Model),
        model_blessing=Channel(type=ModelBlessing),
    ).with_id("Resolver")
    evaluator = Evaluator(
        examples=examples,
        model=trainer.outputs["model"],
        baseline_model=baseline.outputs["model"],
        example_splits=[split_key(split.eval)],
        eval_config=eval_config(config),
    )
    pusher = Pusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(
                base_directory=os.path.join(output, "serving", config.name)
            )
        ),
        custom_config=None if push_again is None else {"again": push_again},
    )
    looked: list[Any] = []
    level = config.data.integrity.duplicates
    if level != "off" and scanned.rows > MAX_ROWS:  # else all were compared before
        duplicates = DuplicateCheck(
            examples=examples, config=ingestion_view(config), level=level
        )
        for one in (transform, *trainers):
            one.add_upstream_node(duplicates)
        looked.append(duplicates)
    components: list[Any] = [
        example_gen, *looked, statistics, schema, validator, transform, *trainers, baseline,
        evaluator, pusher,
    ]  # fmt: skip
    root = os.path.join(output, "tfx")
    os.makedirs(root, exist_ok=True)
    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=root,
        metadata_connection_config=sqlite_metadata_connection_config(
            os.path.join(root, "metadata.sqlite")
        ),
        components=components,
        enable_cache=True,
        beam_pipeline_args=list(BEAM_ARGS),
    )


def beam_workers(config: Config) -> list[str]:
    """Beam's arguments for `data.beam_workers`.

    For components that load no graph: Beam's processes do not know the ops of TF Text.
    """
    count = config.data.beam_workers
    if count == 1:
        return []
    return [f"--direct_num_workers={count}", "--direct_running_mode=multi_processing"]


def _trainers(
    config: Config, *, settings: dict[str, str], **arguments: Any
) -> list[Trainer]:
    """One Trainer for each stage; the last is called Trainer, the others by their stage.

    A stage that starts from another takes its model as `base_model`. Ways to train the
    last stage that are compared come before it, unless it is trained that way itself.
    """
    stages = config.resolved_stages()
    made: dict[str, Trainer] = {}

    def trainer(stage: StageConfig, name: str) -> Trainer:
        base = made.get(stage.base or "")
        path = stage.base if base is None and stage.base is not None else ""
        teaching = stage.objectives.distillation
        others = [path, teaching.teacher if teaching is not None else ""]
        one = Trainer(
            run_fn="pipeline.module_file.run_fn",
            base_model=base.outputs["model"] if base is not None else None,
            custom_config={
                **settings,
                "config": training_view(config, stage),
                "stage": stage_view(stage),
                "base": os.path.abspath(path) if path and "://" not in path else path,
                "base_state": "\n".join(base_state(other) for other in others if other),
            },
            **arguments,
        )
        return one.with_id(name)

    *earlier, last = stages
    for stage in earlier:
        made[stage.name] = trainer(stage, f"Trainer.{stage.name}")
    compared = [
        trainer(stage, f"Trainer.{PREFIX}{name}")
        for name, stage in variants(config).items()
        if stage != last
    ]
    return [*made.values(), *compared, trainer(last, "Trainer")]
