"""What TFX's Transform and Trainer call: glue to `trainer`, no logic."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

_LOG = logging.getLogger("polymodal.training")


def preprocessing_fn(
    inputs: dict[str, Any], custom_config: dict[str, str]
) -> dict[str, Any]:
    """Transform's function over the whole train split."""
    from trainer.config import ConfigError, from_json
    from trainer.preprocessing import stored_spec, transform

    config = from_json(custom_config["config"])
    wanted = stored_spec(config)
    if absent := sorted(set(wanted) - set(inputs)):
        raise ConfigError(
            "config",
            [
                f"no row holds a value for {', '.join(absent)}: remove it from the config,"
                " or give the column that holds it."
            ],
        )
    return transform(config, {key: inputs[key] for key in wanted})


def run_fn(fn_args: Any) -> None:
    """Trainer's function: trains, exports, and lets nothing past the load gate."""
    import tensorflow_transform as tft

    from pipeline.base_models import local_models
    from pipeline.shards import counted_rows
    from trainer import calibration, dataset, export, gate, train
    from trainer.config import from_json, stage_from_json
    from trainer.resources import load_resources

    settings = fn_args.custom_config
    config = from_json(settings["config"])
    base = fn_args.base_model or settings["base"] or None
    tft_output = tft.TFTransformOutput(fn_args.transform_graph_path)
    resources = load_resources(config, tft_output)
    layer = tft_output.transform_features_layer()
    stage = stage_from_json(settings["stage"])
    train_files = _files(fn_args.train_files)
    selection_files = _files(fn_args.eval_files) if settings["selection"] else []

    def batches(files: list[str], examples: int, *, training: bool) -> Any:
        return dataset.make_dataset(
            files, config, layer, resources, training=training, examples=examples,
            labelled_only=stage.labelled_only,
        )  # fmt: skip

    beside = dataset.labelled_beside(config)
    if beside:
        asked_by = "objectives: mixmatch"
        dataset.count_labelled(train_files, config, layer, beside[0], asked_by)

    def count(files: list[str]) -> int:
        if stage.labelled_only:
            return dataset.count_labelled(files, config, layer)
        known = counted_rows(files)
        return dataset.count_records(files) if known is None else known

    name = train.fingerprint(
        config,
        [
            *train_files,
            fn_args.transform_graph_path,
            settings["code"],
            settings["stage"],
            settings["base_state"],
            base or "",
        ],
    )
    rows = count(train_files)
    selection = None
    if selection_files:
        selection = batches(selection_files, count(selection_files), training=False)
    with local_models(config, base) as (local, start):
        trained = train.train(
            local,
            resources,
            batches(train_files, rows, training=True),
            selection,
            train_examples=rows,
            work_dir=os.path.join(settings["work_dir"], name),
            log_dir=os.path.join(settings["log_dir"], name),
            stage=stage,
            base=start,
            say=_LOG.info,
        )
    fitted = calibration.calibrate(config, trained.model, selection)
    for head in calibration.calibrated_heads(config):
        one = fitted.get(head.name, calibration.Fitted())
        if one.temperatures:
            _LOG.info("head %s: temperature %.3f", head.name, one.temperature(()))
        for warning in calibration.calibration_warnings(config, head, one):
            _LOG.warning("%s", warning)
    directory = fn_args.serving_model_dir
    _LOG.info("exporting")
    export.export(config, trained.model, resources, layer, directory, fitted)
    _LOG.info("load gate: every signature through the TF1-style loader")
    examples = dataset.first_records(selection_files or train_files, 8)
    gate.check(directory, config, trained.model, resources, layer, examples, fitted)
    report = {
        "history": trained.history,
        "resumed_from_epoch": trained.resumed_from_epoch,
        "parameters": trained.model.count_params(),
        "soup": trained.soup,
        "from_base": len(trained.transferred.restored) if trained.transferred else 0,
    }
    extra = Path(directory) / "assets.extra" / "polymodal_training.json"
    extra.write_text(json.dumps(report, indent=1), encoding="utf-8")


def _files(patterns: list[str]) -> list[str]:
    import tensorflow as tf

    return sorted(f for p in patterns for f in tf.io.gfile.glob(p))
