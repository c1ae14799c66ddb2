"""What is wrong with `evaluation.thresholds` and `training.monitor`, found before training."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from trainer.config import Config, ConfigError, Threshold

_AT_LEAST_0 = ("log_loss", "mae", "rmse", "median_rank")
"""Metrics that are errors or ranks: they have no upper end."""
_FROM_MINUS_1 = ("quadratic_weighted_kappa",)


def threshold_problems(config: Config) -> Iterator[str]:
    """Metrics that no head has, in thresholds and in `monitor`; bounds out of range.

    Nothing is imported where no metric is named: which ones a head has is known to its
    class alone, and with it Keras comes.
    """
    stages = config.resolved_stages()
    if any(one.training.monitor is not None for one in stages):
        from trainer.monitor import monitor_problems

        yield from monitor_problems(config)
    if not config.evaluation.thresholds:
        return
    from pipeline.evaluation import check_thresholds

    for one in config.evaluation.thresholds:
        alone = dataclasses.replace(config.evaluation, thresholds=(one,))
        try:
            check_thresholds(dataclasses.replace(config, evaluation=alone))
        except ConfigError as error:
            yield from error.problems
        else:
            yield from _range_problems(one)


def threshold_doubts(config: Config) -> Iterator[str]:
    """Bounds that are possible, but hardly what was meant."""
    for one in config.evaluation.thresholds:
        if one.metric.startswith(_AT_LEAST_0) and one.minimum is not None:
            yield (
                f"evaluation.thresholds: {one.metric} is better the lower it is; `minimum:"
                f" {one.minimum:g}` asks for a model that is at least so bad. `maximum`"
                " limits it."
            )
        elif not one.metric.startswith(_AT_LEAST_0) and one.maximum is not None:
            yield (
                f"evaluation.thresholds: {one.metric} is better the higher it is;"
                f" `maximum: {one.maximum:g}` refuses better models. `minimum` limits it."
            )


def _range_problems(one: Threshold) -> Iterator[str]:
    where = f"evaluation.thresholds: {one.metric}"
    low = -1.0 if one.metric.startswith(_FROM_MINUS_1) else 0.0
    high = float("inf") if one.metric.startswith(_AT_LEAST_0) else 1.0
    span = f"{low:g} or above" if high > 1 else f"in [{low:g}, {high:g}]"
    for key in ("minimum", "maximum"):
        bound = getattr(one, key)
        if bound is None or low <= bound <= high:
            continue
        percent = f" (80 % is 0.8, not {bound:g})" if 1 < bound <= 100 else ""
        yield f"{where} is {span}{percent}. Received: {key} {bound:g}"
    if one.max_worsening is not None and one.max_worsening < 0:
        yield (
            f"{where}: max_worsening is how much worse a model may be, 0 or above."
            f" Received: {one.max_worsening:g}"
        )
    if None not in (one.minimum, one.maximum) and one.minimum > one.maximum:  # type: ignore[operator]
        yield (
            f"{where}: minimum {one.minimum:g} is above maximum {one.maximum:g}: no model"
            " could meet both."
        )
