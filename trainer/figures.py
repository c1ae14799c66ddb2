"""Matplotlib without a screen, in which Chinese can be drawn."""

from __future__ import annotations

import functools
import io
import logging
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

_LOG = logging.getLogger("polymodal.figures")
_NO_GLYPH = r"Glyph \d+ .*missing from"
_CHINESE = (
    "Noto Sans CJK", "Source Han Sans", "WenQuanYi", "SimHei", "Microsoft YaHei",
    "PingFang", "Noto Serif CJK",
)  # fmt: skip
_UNREADABLE: set[str] = set()
"""Fonts' files that cannot be read: tried once."""


@contextmanager
def drawing() -> Iterator[Any]:
    """Yields matplotlib.pyplot; closes every figure that was made inside."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    before = set(plt.get_fignums())
    # As families of their own: only between these is a missing character looked for.
    style = {"font.family": _fonts(), "svg.fonttype": "none", "svg.hashsalt": "0"}
    with plt.rc_context(style), warnings.catch_warnings():
        # Where no font here has Chinese: the reader's browser has one for SVG texts.
        warnings.filterwarnings("ignore", _NO_GLYPH, UserWarning)
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
    """A figure into TensorBoard's images, inside `drawing`.

    Where no font here can draw a character, the log says so: the picture has a box.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings(record=True) as said:
        warnings.filterwarnings("always", _NO_GLYPH, UserWarning)
        figure.savefig(buffer, format="png", dpi=100)
    if any(re.match(_NO_GLYPH, str(one.message)) for one in said):
        _LOG.warning(
            "%s: no font on this machine can draw some characters, which are boxes in"
            " TensorBoard's picture; install one, such as the package fonts-noto-cjk.",
            name,
        )
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
    """The usual one, and for what it lacks those that can draw Chinese class names."""
    from matplotlib import font_manager

    manager = font_manager.fontManager
    _add_new_fonts(manager)
    there = [font for font in manager.ttflist if os.path.exists(font.fname)]
    chinese = sorted({font.name for font in there if font.name.startswith(_CHINESE)})
    if not chinese:
        chinese = sorted({font.name for font in there if _draws_chinese(font.fname)})
    return ["DejaVu Sans", *chinese]


def _add_new_fonts(manager: Any) -> None:
    """Matplotlib lists fonts once, in a file: what was installed later is not in it."""
    from matplotlib import font_manager

    known = {font.fname for font in manager.ttflist} | _UNREADABLE
    for path in font_manager.findSystemFonts():
        if path not in known:
            try:
                manager.addfont(path)
            except Exception:  # whatever a font's reader says of a damaged file
                _UNREADABLE.add(path)


@functools.cache
def _draws_chinese(path: str) -> bool:
    from matplotlib import ft2font

    return ord("中") in ft2font.FT2Font(path).get_charmap()
