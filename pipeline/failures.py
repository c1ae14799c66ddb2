"""Why a model was not blessed, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.constant import ALLOW
from pipeline.evaluation import SCORES
from pipeline.noise_gate import gain_of
from trainer.features import SLICE_PREFIX


def failures(evaluation: str, against: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why a model was not blessed: one line for each threshold that was not met.

    Args:
        evaluation: uri of TFMA's results.
        against: each head against the constant answer, of `pipeline.judging.judge`.
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
            head = key.output_name.removesuffix(SCORES)
            metric, other = gain_of(key.name)
            if other == "constant":
                out.append(_worse_than_constant(against, head, metric, value))
                continue
            name = f"{head}/{metric}" if head else metric
            if other:
                bound = -failure.metric_threshold.value_threshold.lower_bound.value
                out.append(
                    f"{name}{where} is worse by {-value:.4f} than that of the last"
                    f" blessed model, more than chance explains; wanted: worse by at"
                    f" most {bound:g}"
                )
                continue
            change = "change of " if key.is_diff else ""
            out.append(
                f"{change}{name}{where} is {value:.4f};"
                f" wanted: {_wanted(failure.metric_threshold)}"
            )
    if result.missing_thresholds:
        out.append("no threshold could be checked")
    out += [f"no rows in the slice {spec}" for spec in result.missing_slices]
    return out


def _worse_than_constant(
    against: Sequence[Mapping[str, Any]], head: str, metric: str, gain: float
) -> str:
    """What the summary says of that head; with one head, TFMA does not name it."""
    wanted = f"wanted: not worse, or {ALLOW}: true"
    for one in against:
        if one["verdict"] == "worse" and head in ("", one["head"]):
            return f"{one['says']}; {wanted}"
    return (
        f"{head or metric}: {metric} is worse than that of the best constant answer by"
        f" {-gain:.4f}; {wanted}"
    )


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
