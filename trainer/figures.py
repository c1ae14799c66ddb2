"""Matplotlib without a screen, in which Chinese can be drawn."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf


@contextmanager
def drawing() -> Iterator[Any]:
    """Yields matplotlib.pyplot; closes every figure that was made inside."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    before = set(plt.get_fignums())
    style = {"font.sans-serif": _fonts(), "svg.fonttype": "none", "svg.hashsalt": "0"}
    with plt.rc_context(style), warnings.catch_warnings():
        # Where no font here has Chinese: the reader's browser has one for SVG texts.
        warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from", UserWarning)
        try:
            yield plt
        finally:
            for number in set(plt.get_fignums()) - before:
                plt.close(number)


def confusion_figure(plt: Any, name: str, classes: Sequence[str], matrix: Any) -> Any:
    """A confusion matrix, each row divided by its sum.

    Args:
        plt: of `drawing`.
        matrix: int [classes, classes], true classes downwards, answered ones across.
    """
    from sklearn.metrics import ConfusionMatrixDisplay

    matrix = np.asarray(matrix)
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = min(12.0, 3.0 + 0.4 * len(classes))
    figure, axes = plt.subplots(figsize=(side, side), layout="constrained")
    display = ConfusionMatrixDisplay(shares, display_labels=list(classes))
    display.plot(
        ax=axes, cmap="Blues", colorbar=False, xticks_rotation=45,
        include_values=len(classes) <= 20, values_format=".2f",
    )  # fmt: skip
    axes.set_title(f"{name}: share of each true class, n = {matrix.sum()}")
    return figure


def write_image(directory: str, name: str, figure: Any) -> None:
    """A figure into TensorBoard's images, inside `drawing`."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    image = tf.io.decode_png(buffer.getvalue(), channels=3)
    with tf.summary.create_file_writer(directory).as_default():
        tf.summary.image(name, image[None], step=0)


def svg(figure: Any) -> str:
    """A figure as an `<svg>` element, inside `drawing`; texts stay texts."""
    buffer = io.StringIO()
    figure.savefig(
        buffer,
        format="svg",
        metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")),
    )
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _fonts() -> list[str]:
    """Fonts that can draw Chinese class names come first where they are installed."""
    from matplotlib import font_manager

    wanted = ("Noto Sans CJK", "WenQuanYi", "SimHei", "Microsoft YaHei", "PingFang")
    installed = {font.name for font in font_manager.fontManager.ttflist}
    chinese = sorted(n for n in installed if n.startswith(wanted))
    return [*chinese, "DejaVu Sans"]
