"""The figures of a report: what inputs are worth, calibration, compared trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_GREY, _BLUE, _ORANGE = "#8a8f98", "#2f6db5", "#d9822b"


def value_figure(plt: Any, value: Mapping[str, Any]) -> Any:
    """Each set of inputs' metric and each input's Shapley value, with intervals.

    Args:
        plt: of `trainer.figures.drawing`.
        value: of `pipeline.value.Value.plain`.
    """
    subsets, shares = value["subsets"], value["shapley"]
    height = 1.4 + 0.28 * max(len(subsets), len(shares))
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, height), width_ratios=(3, 2), layout="constrained"
    )
    names = sorted(subsets, key=lambda name: name.count("+"), reverse=True)
    best = value["best_single"]
    colours = [_ORANGE if n == best else _BLUE if "+" in n else _GREY for n in names]
    _bars(left, names, [subsets[name] for name in names], colours)
    constant = value["constant_answer"]["value"]
    if constant is not None:
        left.axvline(constant, color="black", linestyle=":", linewidth=1)
    left.set_title(f"{value['metric']} of each set of inputs; dotted: constant answer")
    inputs = list(shares)[::-1]
    _bars(right, inputs, [shares[name] for name in inputs], [_BLUE] * len(inputs))
    right.axvline(0, color="black", linewidth=1)
    right.set_title("Shapley value of each input")
    return figure


def _bars(
    axes: Any,
    names: Sequence[str],
    estimates: Sequence[Mapping[str, Any]],
    colours: Sequence[str],
) -> None:
    """Horizontal bars, the interval as a line; what could not be computed is empty."""
    values = [one["value"] or 0.0 for one in estimates]
    axes.barh(list(names), values, color=list(colours), height=0.6)
    for i, one in enumerate(estimates):
        if one["low"] is not None:
            axes.plot([one["low"], one["high"]], [i, i], color="black", linewidth=1.5)
    axes.spines[["top", "right"]].set_visible(False)


def reliability_figure(plt: Any, calibration: Mapping[str, Any]) -> Any:
    """Share right against mean score, before and after the temperature.

    Args:
        calibration: of `pipeline.calibration_report`, with `reliability`.
    """
    figure, axes = plt.subplots(figsize=(4.6, 4.2), layout="constrained")
    diagonal = {"color": "black", "linestyle": ":", "linewidth": 1}
    axes.plot([0, 1], [0, 1], label="right as often as said", **diagonal)
    styles = {"before": (_GREY, "o"), "after": (_BLUE, "s")}
    for name, bins in calibration["reliability"].items():
        colour, marker = styles[name]
        sizes = [20 + 300 * share for _, _, share in bins]
        sure, right = [b[0] for b in bins], [b[1] for b in bins]
        axes.plot(sure, right, color=colour, linewidth=1, label=name)
        axes.scatter(sure, right, sizes, color=colour, alpha=0.6, marker=marker)
    axes.legend(frameon=False)
    axes.set(xlabel="mean score of a bin", ylabel="share right", xlim=(0, 1.02))
    axes.set_title(f"{calibration['head']}: all inputs, bins of equal width")
    return figure


def comparison_figure(plt: Any, comparison: Mapping[str, Any]) -> Any:
    """Each variant's metric with its interval.

    Args:
        comparison: of `pipeline.comparison`.
    """
    variants = comparison["variants"]
    names = list(variants)[::-1]
    size = (7, 1.2 + 0.35 * len(names))
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    first = comparison["reference"]
    colours = [_GREY if name == first else _BLUE for name in names]
    _bars(axes, names, [variants[name]["metric"] for name in names], colours)
    axes.set_title(f"{comparison['metric']} with 95 % intervals")
    return figure
