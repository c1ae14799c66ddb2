"""What is reported of a model on labelled rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.calibration_report import calibration_report
from pipeline.judge import Judge
from pipeline.reranking import reranked
from pipeline.rows import Row
from trainer.calibration import CALIBRATION_ASSET, Calibration, from_json
from trainer.config import Config
from trainer.features import subset_name


def exported_calibration(model: str) -> Calibration:
    """What lies beside an exported model; empty for one that has none."""
    path = Path(model, CALIBRATION_ASSET)
    return from_json(path.read_text(encoding="utf-8")) if path.exists() else {}


def judge(
    config: Config,
    model: Any,
    rows: Iterable[Row],
    calibration: Calibration | None = None,
) -> dict[str, Any]:
    """Metrics on labelled rows: as they are, and with only some inputs shown.

    Args:
        config: the model's config.
        model: a serving.client.LocalModel or Client.
        rows: kept in memory with their media.
        calibration: what was exported with the model.

    Returns:
        `examples`, `metrics`, `metrics_by_inputs` ("audio+image" -> metrics),
        `metrics_by_slices` (of `evaluation.slices`, "sex = f" -> metrics),
        `against_constant` (one entry a head, see `AgainstConstant.plain`), `value`
        (one entry a head, see `pipeline.value.Value.plain`), `calibration` (see
        `pipeline.calibration_report`) and `confusion` (head -> `classes` and `matrix`,
        true classes downwards) and `per_class` (head -> class -> `examples` that have
        it, `precision`, `recall`, `f1`, with all inputs). A subset's metrics are those on the labelled rows where at least one of its inputs is present, and
        each entry counts these `examples`; `value` compares subsets on the same rows.
        With one head the metrics stand alone, with several each is called HEAD/METRIC.
    """
    rows = list(rows)
    judged = Judge(config, model, rows)
    by_inputs = {subset_name(one): judged.metrics(one) for one in judged.answered}
    everything = by_inputs[subset_name(judged.everything)]
    everything |= reranked(config, model, rows)
    against = [judged.against_constant(head) for head in judged.heads]
    values = [judged.value(head) for head in judged.heads]
    return {
        "examples": everything["examples"],
        "metrics": {k: v for k, v in everything.items() if k != "examples"},
        "metrics_by_inputs": by_inputs,
        "metrics_by_slices": judged.metrics_by_slices(),
        "against_constant": [one.plain() for one in against if one is not None],
        "value": [one.plain() for one in values if one is not None],
        "calibration": calibration_report(judged, calibration or {}),
        "confusion": dict(_confusions(judged)),
        "per_class": dict(_per_class(judged)),
    }


def _per_class(judged: Judge) -> Iterator[tuple[str, dict[str, Any]]]:
    """Of each head with classes, with all inputs."""
    for head in judged.heads:
        one = judged.answered[judged.everything].get(head.name)
        found = head.class_metrics(one.labels, one.answers) if one else {}
        if found:
            yield head.name, found


def _confusions(judged: Judge) -> Iterator[tuple[str, dict[str, Any]]]:
    """Of each head that answers one class of several."""
    for head in judged.heads:
        one = judged.answered[judged.everything].get(head.name)
        if one is None or f"{head.name}_scores" not in head.judged:
            continue
        truth = np.array(one.labels)
        if truth.ndim == 1:
            classes = list(head.config.classes)
            matrix = np.zeros((len(classes), len(classes)), np.int64)
            if head.name in head.judged:  # ordinal: not always the top score's class
                chosen = np.array([classes.index(c) for c in one.answers[head.name]])
            else:
                chosen = one.answers[f"{head.name}_scores"].argmax(-1)
            np.add.at(matrix, (truth, chosen), 1)
            yield head.name, {"classes": classes, "matrix": matrix.tolist()}
