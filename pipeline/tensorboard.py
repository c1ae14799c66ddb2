"""A report's figures and numbers for TensorBoard, beside the training's curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.report_figures import reliability_figure, value_figure
from trainer.figures import drawing, write_image


def write_report(directory: str, report: Mapping[str, Any]) -> None:
    """Writes `value/HEAD/...` and `calibration/HEAD/...`.

    Args:
        directory: TensorBoard's log directory.
        report: of `pipeline.judging.judge`.
    """
    import tensorflow as tf

    with tf.summary.create_file_writer(directory).as_default():
        for name, number in _scalars(report):
            tf.summary.scalar(name, number, step=0)
    with drawing() as plt:
        for one in report["value"]:
            write_image(directory, f"value/{one['head']}", value_figure(plt, one))
        for one in report["calibration"]:
            figure = reliability_figure(plt, one)
            write_image(directory, f"calibration/{one['head']}", figure)


def _scalars(report: Mapping[str, Any]) -> list[tuple[str, float]]:
    out: list[tuple[str, float | None]] = []
    for one in report["value"]:
        at = f"value/{one['head']}"
        out += [(f"{at}/shapley/{k}", v["value"]) for k, v in one["shapley"].items()]
        out += [
            (f"{at}/{one['metric']}/{k}", v["value"]) for k, v in one["subsets"].items()
        ]
        if one["fusion_gain"] is not None:
            out.append((f"{at}/fusion_gain", one["fusion_gain"]["value"]))
    for one in report["calibration"]:
        for subset, found in one["by_inputs"].items():
            at = f"calibration/{one['head']}/{subset}"
            out.append((f"{at}/temperature", found["temperature"]))
            for when in ("before", "after"):
                out.append((f"{at}/ece_{when}", found[when]["ece_mass"]))
    return [(name, number) for name, number in out if number is not None]
