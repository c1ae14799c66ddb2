"""How a model is judged: TFMA's config from the heads, and metrics per input subset."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from trainer.config import (
    ClassificationHead,
    Config,
    ConfigError,
    HeadConfig,
    Threshold,
)
from trainer.features import SLICE_PREFIX, features, subset_name, weight_key
from trainer.heads import HEADS

HIGHER_IS_BETTER = {
    "accuracy": True,
    "auc": True,
    "log_loss": False,
    "mae": False,
    "rmse": False,
}
"""The metrics that thresholds may name."""

DEFAULT_WORSENING = 0.01
"""For accuracy in points, for mae in the label's units."""


def tfma_metrics(head: HeadConfig) -> dict[str, tuple[str, dict[str, Any]]]:
    """Our metric name -> the TFMA metric class and its arguments."""
    if not isinstance(head, ClassificationHead):
        return {
            "mae": ("MeanAbsoluteError", {}),
            "rmse": ("RootMeanSquaredError", {}),
        }
    if head.multi_label:
        return {
            "accuracy": ("BinaryAccuracy", {}),
            "log_loss": ("BinaryCrossentropy", {}),
        }
    return {
        "accuracy": ("SparseCategoricalAccuracy", {}),
        "log_loss": ("SparseCategoricalCrossentropy", {}),
    }


def thresholds(config: Config) -> list[Threshold]:
    """The config's thresholds, or the default: not much worse than the last model."""
    if config.evaluation.thresholds:
        return list(config.evaluation.thresholds)
    first = config.heads[0]
    metric = "accuracy" if isinstance(first, ClassificationHead) else "mae"
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
        key = head.name
        if isinstance(head, ClassificationHead):
            key = f"{head.name}_scores"
        if one:
            spec.label_key, spec.prediction_key = head.name, key
            spec.example_weight_key = weight_key(head.name)
        else:
            spec.label_keys[head.name] = head.name
            spec.prediction_keys[head.name] = key
            spec.example_weight_keys[head.name] = weight_key(head.name)
        metrics = [
            _metric(config, head, name, class_name, arguments)
            for name, (class_name, arguments) in tfma_metrics(head).items()
        ]
        metrics.append(tfma.MetricConfig(class_name="ExampleCount"))
        specs.append(
            tfma.MetricsSpec(metrics=metrics, output_names=[] if one else [head.name])
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


def check_thresholds(config: Config) -> None:
    """Raises ConfigError for a threshold on a metric that its head does not have."""
    for threshold in thresholds(config):
        head = config.head(threshold.head)
        known = tfma_metrics(head)
        if threshold.metric not in known:
            raise ConfigError(
                "config",
                [
                    f"evaluation.thresholds: head {head.name!r} is judged by"
                    f" {', '.join(known)}. Received: {threshold.metric!r}"
                ],
            )


def _metric(
    config: Config,
    head: HeadConfig,
    name: str,
    class_name: str,
    arguments: Mapping[str, Any],
) -> Any:
    import json

    import tensorflow_model_analysis as tfma

    metric = tfma.MetricConfig(
        class_name=class_name, config=json.dumps({"name": name, **arguments})
    )
    for threshold in thresholds(config):
        if threshold.metric == name and config.head(threshold.head).name == head.name:
            metric.per_slice_thresholds.add(
                slicing_specs=_threshold_slices(config, threshold),
                threshold=_tfma_threshold(threshold),
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


def _tfma_threshold(threshold: Threshold) -> Any:
    import tensorflow_model_analysis as tfma

    out = tfma.MetricThreshold()
    # TFMA drops change thresholds where there is no baseline, and refuses a model that
    # has no threshold left. No metric here is negative: 0 is a bound that always holds.
    minimum = 0.0 if threshold.minimum is None else threshold.minimum
    out.value_threshold.lower_bound.value = minimum
    if threshold.maximum is not None:
        out.value_threshold.upper_bound.value = threshold.maximum
    if threshold.max_worsening is not None:
        up = HIGHER_IS_BETTER[threshold.metric]
        direction = tfma.MetricDirection
        change = out.change_threshold
        change.direction = (
            direction.HIGHER_IS_BETTER if up else direction.LOWER_IS_BETTER
        )
        change.absolute.value = (-1 if up else 1) * threshold.max_worsening
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
    return {
        "examples": everything["examples"],
        "metrics": {k: v for k, v in everything.items() if k != "examples"},
        "metrics_by_inputs": by_inputs,
    }


def _metrics(
    config: Config, model: Any, rows: Sequence[Any], keys: set[str]
) -> dict[str, Any]:
    heads = [one.name for one in config.heads]
    rows = [row for row in rows if any(name in row.labels for name in heads)]
    out: dict[str, Any] = {"examples": len(rows)}
    if not rows:
        return out
    answers = model.predict(
        [{k: v for k, v in row.values.items() if k in keys} for row in rows]
    )
    for one in config.heads:
        known = [i for i, row in enumerate(rows) if one.name in row.labels]
        if not known:
            continue
        head = HEADS[one.kind](one)
        labels = np.array([_label(one, rows[i].labels[one.name]) for i in known])
        mine = _answers(one, [answers[i] for i in known])
        prefix = "" if len(config.heads) == 1 else f"{one.name}/"
        for name, value in head.metrics(labels, mine).items():
            out[prefix + name] = value
    return out


def _answers(
    head: HeadConfig, answers: Sequence[Mapping[str, Any]]
) -> dict[str, np.ndarray]:
    if not isinstance(head, ClassificationHead):
        return {head.name: np.array([row[head.name] for row in answers])}
    key = f"{head.name}_scores"
    return {key: np.array([[row[key][c] for c in head.classes] for row in answers])}


def _label(head: HeadConfig, label: Any) -> Any:
    if not isinstance(head, ClassificationHead):
        return float(label)
    if head.multi_label:
        return [float(name in label) for name in head.classes]
    return head.classes.index(label[0])


def failures(evaluation: str) -> list[str]:
    """Why a model was not blessed: one line for each threshold that was not met.

    Args:
        evaluation: uri of TFMA's results.
    """
    import tensorflow_model_analysis as tfma

    result = tfma.load_validation_result(evaluation)
    out = []
    for one in result.metric_validations_per_slice:
        keys = ", ".join(
            f"{key.column.removeprefix(SLICE_PREFIX)}"
            f" = {getattr(key, str(key.WhichOneof('kind')))}"
            for key in one.slice_key.single_slice_keys
        )
        where = f" where {keys}" if keys else ""
        for failure in one.failures:
            value = failure.metric_value.double_value.value
            key = failure.metric_key
            name = f"{key.output_name}/{key.name}" if key.output_name else key.name
            change = "change of " if key.is_diff else ""
            out.append(
                f"{change}{name}{where} is {value:.4f};"
                f" wanted: {_wanted(failure.metric_threshold)}"
            )
    if result.missing_thresholds:
        out.append("no threshold could be checked")
    out += [f"no rows in the slice {spec}" for spec in result.missing_slices]
    return out


def _wanted(threshold: Any) -> str:
    parts = []
    if threshold.HasField("value_threshold"):
        value = threshold.value_threshold
        if value.HasField("lower_bound"):
            parts.append(f"at least {value.lower_bound.value:g}")
        if value.HasField("upper_bound"):
            parts.append(f"at most {value.upper_bound.value:g}")
    if threshold.HasField("change_threshold"):
        bound = threshold.change_threshold.absolute.value
        word = "at least" if bound <= 0 else "at most"
        parts.append(f"{word} {bound:+g} against the last blessed model")
    return ", ".join(parts)
