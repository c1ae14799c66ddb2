"""How a model is judged: TFMA's config from the heads, and metrics per input subset."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from pipeline.reranking import reranked
from trainer.config import (
    ClassificationHead,
    Config,
    ConfigError,
    HeadConfig,
    Threshold,
)
from trainer.features import SLICE_PREFIX, features, subset_name, weight_key
from trainer.heads import HEADS

DEFAULT_WORSENING = 0.01
"""For accuracy in points, for mae in the label's units."""

_NATIVE = {
    "classification": {
        "accuracy": "SparseCategoricalAccuracy",
        "log_loss": "SparseCategoricalCrossentropy",
    },
    "multi_label": {
        "accuracy": "BinaryAccuracy",
        "log_loss": "BinaryCrossentropy",
    },
    "regression": {
        "mae": "MeanAbsoluteError",
        "rmse": "RootMeanSquaredError",
    },
}
"""Our metric name -> TFMA's own metric, which adds rows up and holds none of them."""


def tfma_metrics(head: HeadConfig) -> dict[str, Any]:
    """The metrics that thresholds may name -> TFMA's config of each."""
    import json

    import tensorflow_model_analysis as tfma

    several = isinstance(head, ClassificationHead) and head.multi_label
    native = _NATIVE.get("multi_label" if several else head.kind)
    if native is not None:
        return {
            name: tfma.MetricConfig(
                class_name=class_name, config=json.dumps({"name": name})
            )
            for name, class_name in native.items()
        }
    from pipeline.whole_split import WholeSplit, head_json

    return {
        name: tfma.MetricConfig(
            class_name=WholeSplit.__name__,
            module=WholeSplit.__module__,
            config=json.dumps({"name": name, "head": head_json(head)}),
        )
        for name in directions(head)
    }


def directions(head: HeadConfig) -> dict[str, bool]:
    """The metrics that thresholds may name -> whether higher is better."""
    return HEADS[head.kind](head).directions


def thresholds(config: Config) -> list[Threshold]:
    """The config's thresholds, or the default: not much worse than the last model."""
    if config.evaluation.thresholds:
        return list(config.evaluation.thresholds)
    metric = next(iter(directions(config.heads[0])))
    return [Threshold(metric=metric, max_worsening=DEFAULT_WORSENING)]


def eval_config(config: Config) -> Any:
    """TFMA's EvalConfig: `serving_default`, every head's metrics, slices, thresholds.

    Raises:
        ConfigError: a threshold on a metric that the head does not have.
    """
    import tensorflow_model_analysis as tfma

    spec = tfma.ModelSpec(
        signature_name="serving_default",
        preprocessing_function_names=["transform_features"],
    )
    specs = []
    one = len(config.heads) == 1
    for head in config.heads:
        key = _output_name(head)
        if one:
            spec.label_key, spec.prediction_key = head.name, key
            spec.example_weight_key = weight_key(head.name)
        else:
            # Of several outputs, TFMA takes the one that is called as the output is,
            # whatever the prediction key says.
            spec.label_keys[key] = head.name
            spec.example_weight_keys[key] = weight_key(head.name)
        metrics = [
            _with_thresholds(config, head, name, metric)
            for name, metric in tfma_metrics(head).items()
        ]
        metrics.append(tfma.MetricConfig(class_name="ExampleCount"))
        specs.append(
            tfma.MetricsSpec(metrics=metrics, output_names=[] if one else [key])
        )
    check_thresholds(config)
    slices = [tfma.SlicingSpec()]
    for columns in config.evaluation.slices:
        keys = [SLICE_PREFIX + column for column in columns]
        slices.append(tfma.SlicingSpec(feature_keys=keys))
    slices += [
        tfma.SlicingSpec(feature_keys=[f"{i.name}_present"]) for i in config.inputs
    ]
    return tfma.EvalConfig(
        model_specs=[spec], metrics_specs=specs, slicing_specs=slices
    )


SCORES = "_scores"


def _output_name(head: HeadConfig) -> str:
    """The answer that TFMA's own metrics read, or the name alone for `WholeSplit`."""
    return head.name + (SCORES if isinstance(head, ClassificationHead) else "")


def check_thresholds(config: Config) -> None:
    """Raises ConfigError for a threshold on a metric that its head does not have."""
    for threshold in thresholds(config):
        head = config.head(threshold.head)
        known = directions(head)
        if threshold.metric not in known:
            raise ConfigError(
                "config",
                [
                    f"evaluation.thresholds: head {head.name!r} is judged by"
                    f" {', '.join(known)}. Received: {threshold.metric!r}"
                ],
            )


def _with_thresholds(config: Config, head: HeadConfig, name: str, metric: Any) -> Any:
    for threshold in thresholds(config):
        if threshold.metric == name and config.head(threshold.head).name == head.name:
            metric.per_slice_thresholds.add(
                slicing_specs=_threshold_slices(config, threshold),
                threshold=_tfma_threshold(threshold, higher=directions(head)[name]),
            )
    return metric


def _threshold_slices(config: Config, threshold: Threshold) -> list[Any]:
    """All rows together and, where asked, each of the config's slices."""
    import tensorflow_model_analysis as tfma

    slices = [tfma.SlicingSpec()]
    if threshold.every_slice:
        for columns in config.evaluation.slices:
            keys = [SLICE_PREFIX + column for column in columns]
            slices.append(tfma.SlicingSpec(feature_keys=keys))
    return slices


def _tfma_threshold(threshold: Threshold, *, higher: bool) -> Any:
    import tensorflow_model_analysis as tfma

    out = tfma.MetricThreshold()
    # TFMA drops change thresholds where there is no baseline, and refuses a model that
    # has no threshold left. No metric is below -1, kappa's least: that bound holds.
    minimum = -1.0 if threshold.minimum is None else threshold.minimum
    out.value_threshold.lower_bound.value = minimum
    if threshold.maximum is not None:
        out.value_threshold.upper_bound.value = threshold.maximum
    if threshold.max_worsening is not None:
        direction = tfma.MetricDirection
        change = out.change_threshold
        change.direction = (
            direction.HIGHER_IS_BETTER if higher else direction.LOWER_IS_BETTER
        )
        change.absolute.value = (-1 if higher else 1) * threshold.max_worsening
    return out


def subsets(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Every non-empty set of inputs, single ones first."""
    for size in range(1, len(names) + 1):
        yield from itertools.combinations(sorted(names), size)


def judge(config: Config, model: Any, rows: Iterable[Any]) -> dict[str, Any]:
    """Metrics on labelled rows: as they are, and with only some inputs shown.

    Args:
        config: the model's config.
        model: a serving.client.LocalModel or Client.
        rows: pipeline.rows.Row; kept in memory with their media.

    Returns:
        `examples`, `metrics` and `metrics_by_inputs` ("audio+image" -> metrics); a
        subset is judged on the labelled rows where at least one of its inputs is
        present, and each entry counts these `examples`. With one head the metrics stand alone, with
        several each is called HEAD/METRIC.
    """
    rows = list(rows)
    names = [one.name for one in config.inputs]
    by_inputs = {}
    for subset in subsets(names):
        keys = {f.key for f in features(config) if f.input in subset}
        shown = [row for row in rows if keys & set(row.values)]
        by_inputs[subset_name(subset)] = _metrics(config, model, shown, keys)
    everything = by_inputs[subset_name(names)]
    everything |= reranked(config, model, rows)
    return {
        "examples": everything["examples"],
        "metrics": {k: v for k, v in everything.items() if k != "examples"},
        "metrics_by_inputs": by_inputs,
    }


def _metrics(
    config: Config, model: Any, rows: Sequence[Any], keys: set[str]
) -> dict[str, Any]:
    heads = [HEADS[one.kind](one) for one in config.heads]
    labels = [[head.judged_label(row.labels) for row in rows] for head in heads]
    judged = [i for i in range(len(rows)) if any(one[i] is not None for one in labels)]
    rows, labels = [rows[i] for i in judged], [[o[i] for i in judged] for o in labels]
    out: dict[str, Any] = {"examples": len(rows)}
    if not rows:
        return out
    answers = model.predict(
        [{k: v for k, v in row.values.items() if k in keys} for row in rows]
    )
    for head, truth in zip(heads, labels, strict=True):
        known = [i for i, label in enumerate(truth) if label is not None]
        if not known:
            continue
        mine = {
            key: np.array([_plain(answers[i][key]) for i in known])
            for key in head.judged
        }
        prefix = "" if len(heads) == 1 else f"{head.name}/"
        for name, value in head.metrics([truth[i] for i in known], mine).items():
            out[prefix + name] = value
    return out


def _plain(answer: Any) -> Any:
    """Scores by class, as a client gives them, in the order of the classes."""
    return list(answer.values()) if isinstance(answer, dict) else answer
