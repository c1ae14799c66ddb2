"""How a model is judged: TFMA's config from the heads, and metrics per input subset."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from trainer.config import (
    ClassificationHead,
    Config,
    ConfigError,
    HeadConfig,
    Threshold,
)
from trainer.features import SLICE_PREFIX, weight_answer
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
"""Our metric name -> TFMA's own metric, which adds rows up and holds none of them; the
others are of `whole_split`."""


def tfma_metrics(head: HeadConfig, named: Collection[str] = ()) -> dict[str, Any]:
    """The metrics that thresholds may name -> TFMA's config of each.

    Args:
        named: metrics of single classes that thresholds do name: of a thousand classes
            there are three thousand, and the others are not computed.
    """
    import json

    import tensorflow_model_analysis as tfma

    from pipeline.code_version import code_version
    from pipeline.whole_split import WholeSplit, head_json

    # The cache compares this config: new code, another judgement.
    code = {"code": code_version(WholeSplit.__module__)}
    several = isinstance(head, ClassificationHead) and head.multi_label
    native = _NATIVE.get("multi_label" if several else head.kind, {})
    out = {
        name: tfma.MetricConfig(
            class_name=class_name, config=json.dumps({"name": name})
        )
        for name, class_name in native.items()
    }
    one = HEADS[head.kind](head)
    single = [name for name in one.class_directions if name in named]
    gathered = [name for name in (*one.directions, *single) if name not in native]
    for name in gathered:
        chosen = {"name": name, "head": head_json(head), "names": gathered} | code
        out[name] = tfma.MetricConfig(
            class_name=WholeSplit.__name__,
            module=WholeSplit.__module__,
            config=json.dumps(chosen, ensure_ascii=False),
        )
    return out


def directions(head: HeadConfig) -> dict[str, bool]:
    """The metrics that thresholds may name -> whether higher is better."""
    return HEADS[head.kind](head).named_directions


def thresholds(config: Config) -> list[Threshold]:
    """The config's thresholds, or the default: not worse than the last model.

    That is, not worse by more than `DEFAULT_WORSENING` and by more than chance explains.
    """
    if config.evaluation.thresholds:
        return list(config.evaluation.thresholds)
    metric = next(iter(HEADS[config.heads[0].kind](config.heads[0]).directions))
    return [
        Threshold(metric=metric, max_worsening=DEFAULT_WORSENING, beyond_noise=True)
    ]


def main_metric(config: Config, head: HeadConfig) -> str:
    """The metric that a head is compared with the constant and told the value in.

    The first that the config's thresholds name of this head and that is a mean over
    rows, or else the first one of its kind.
    """
    known = HEADS[head.kind](head).row_metrics
    named = (
        one.metric
        for one in config.evaluation.thresholds
        if config.head(one.head).name == head.name
    )
    return next((name for name in named if name in known), known[0])


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
            spec.example_weight_key = weight_answer(config, head.name)
        else:
            # Of several outputs, TFMA takes the one that is called as the output is,
            # whatever the prediction key says.
            spec.label_keys[key] = head.name
            spec.example_weight_keys[key] = weight_answer(config, head.name)
        metrics = [
            _with_thresholds(config, head, name, metric)
            for name, metric in tfma_metrics(head, _named(config, head)).items()
        ]
        metrics += _gains(config, head)
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
    problems = []
    for threshold in thresholds(config):
        head = HEADS[config.head(threshold.head).kind](config.head(threshold.head))
        if lacking := head.metric_problem(threshold.metric):
            problems.append(f"evaluation.thresholds: {lacking}")
        elif threshold.beyond_noise and threshold.metric not in head.row_metrics:
            problems.append(
                "evaluation.thresholds: beyond_noise draws rows anew and knows"
                f" {', '.join(head.row_metrics)} of head {head.name!r}, not"
                f" {threshold.metric!r}: remove beyond_noise, or take one of them."
            )
    if problems:
        raise ConfigError("config", problems)


def _named(config: Config, head: HeadConfig) -> set[str]:
    """Metrics that thresholds name of that head."""
    return {
        threshold.metric
        for threshold in thresholds(config)
        if config.head(threshold.head).name == head.name
    }


def _gains(config: Config, head: HeadConfig) -> list[Any]:
    """What a head must not be worse than, noise aside, each with its threshold."""
    found = []
    if not config.evaluation.allow_worse_than_constant:
        whole = Threshold(metric=main_metric(config, head), max_worsening=0.0)
        found.append(_gain(config, head, whole, "constant"))
    for threshold in thresholds(config):
        if threshold.beyond_noise and config.head(threshold.head).name == head.name:
            found.append(_gain(config, head, threshold, "baseline"))
    return found


def _gain(config: Config, head: HeadConfig, threshold: Threshold, other: Any) -> Any:
    import json

    import tensorflow_model_analysis as tfma

    from pipeline.code_version import code_version
    from pipeline.noise_gate import GainBeyondNoise, gain_name
    from pipeline.whole_split import head_json

    settings = {
        "head": head_json(head),
        "metric": threshold.metric,
        "other": other,
        "seed": config.seed,
        "name": gain_name(threshold.metric, other),
        "code": code_version(GainBeyondNoise.__module__),
    }
    metric = tfma.MetricConfig(
        class_name=GainBeyondNoise.__name__,
        module=GainBeyondNoise.__module__,
        config=json.dumps(settings),
    )
    bound = tfma.MetricThreshold()
    bound.value_threshold.lower_bound.value = -(threshold.max_worsening or 0.0)
    metric.per_slice_thresholds.add(
        slicing_specs=_threshold_slices(config, threshold), threshold=bound
    )
    return metric


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
    if threshold.max_worsening is not None and not threshold.beyond_noise:
        direction = tfma.MetricDirection
        change = out.change_threshold
        change.direction = (
            direction.HIGHER_IS_BETTER if higher else direction.LOWER_IS_BETTER
        )
        change.absolute.value = (-1 if higher else 1) * threshold.max_worsening
    return out
