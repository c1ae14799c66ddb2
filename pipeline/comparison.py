"""What pre-training bought: the last stage in several ways, judged on the same rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.bootstrap import in_words, resample
from pipeline.evaluation import main_metric
from pipeline.judge import Judge
from pipeline.rows import Row
from trainer.config import Config, LoraConfig, StageConfig

PREFIX = "compare."
"""Of the names of the Trainers that train nothing but variants."""


def variants(config: Config) -> dict[str, StageConfig]:
    """Name -> the last stage as that variant trains it; in the order of the config.

    `pretrained` is none of them: it is the model that the last stage starts from.
    """
    last = config.resolved_stages()[-1]
    plain = dataclasses.replace(
        last, freeze=(), linear_probe=False, lora=None, unfreeze=None
    )
    known = {
        "scratch": dataclasses.replace(plain, base=None, layer_decay=1.0),
        "linear_probe": dataclasses.replace(plain, linear_probe=True, layer_decay=1.0),
        "lora": dataclasses.replace(plain, lora=last.lora or LoraConfig()),
        "full": plain,
    }
    return {name: known[name] for name in config.evaluation.compare if name in known}


def compare(
    config: Config, models: Mapping[str, Any], rows: Sequence[Row]
) -> dict[str, Any]:
    """Judges models on the same rows, by the first head's main metric.

    See `evaluation.main_metric`.

    Args:
        models: name -> a serving.client.LocalModel; the first one is what the others
            are compared with.
        rows: labelled.

    Returns:
        `head`, `metric`, `higher_is_better`, `examples`, `reference`, and `variants`:
        name -> `metric` and `difference` to the reference with 95 % bootstrap intervals
        over paired resamples of the rows, and `says`, the difference in words. The
        intervals tell of the rows, not of what another seed would have trained.
    """
    judges = {
        name: Judge(config, model, rows, only_everything=True)
        for name, model in models.items()
    }
    first = next(iter(judges.values()))
    head = first.heads[0]
    metric = main_metric(config, head.config)
    higher = head.directions[metric]
    scores = np.stack(
        [j.row_scores(head, j.everything, metric) for j in judges.values()]
    )
    # A row counts if every model was judged on it.
    kept = np.isfinite(scores).all(0)
    groups = [g for g, k in zip(first.groups(), kept, strict=True) if k]
    drawn = resample(
        scores[:, kept],
        groups,
        config.seed,
        of_mean=lambda mean: head.of_mean(metric, mean),
    )
    reference = next(iter(judges))
    found: dict[str, Any] = {}
    for i, name in enumerate(judges):
        difference = drawn.difference(i, 0) if i else None
        found[name] = {
            "metric": drawn.model(i).plain(),
            "difference": difference.plain() if difference is not None else None,
            "says": ""
            if difference is None
            else in_words(name, reference, difference, metric, higher=higher),
        }
    return {
        "head": head.name,
        "metric": metric,
        "higher_is_better": higher,
        "examples": int(kept.sum()),
        "reference": reference,
        "variants": found,
    }
