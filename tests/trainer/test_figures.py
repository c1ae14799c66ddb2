"""Pictures with Chinese names, whenever the font was installed."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from trainer import figures


def font_file(path: Path, family: str) -> Path:
    """A font that draws 猫 and 中 as a bar."""
    pen = TTGlyphPen(None)
    for i, point in enumerate([(100, 0), (100, 800), (300, 800), (300, 0)]):
        (pen.lineTo if i else pen.moveTo)(point)
    pen.closePath()
    bar = pen.glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "bar"])
    builder.setupCharacterMap({ord("猫"): "bar", ord("中"): "bar"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "bar": bar})
    builder.setupHorizontalMetrics({".notdef": (500, 0), "bar": (500, 100)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return path


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the fonts that are installed; matplotlib's own list has DejaVu alone."""
    manager, installed = font_manager.fontManager, list[str]()
    known = [f for f in manager.ttflist if f.name == "DejaVu Sans"]
    monkeypatch.setattr(manager, "ttflist", known)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: list(installed))
    monkeypatch.setattr(figures, "_UNREADABLE", set())
    return installed


def pictured(folder: Path, name: str) -> bytes:
    """The bytes of TensorBoard's event with a confusion matrix of that class."""
    with figures.drawing() as plt:
        figure = figures.confusion_figure(plt, "h", (name, "b"), np.eye(2, dtype=int))
        figures.write_image(str(folder), "h", figure)
    (event,) = folder.iterdir()
    return event.read_bytes()


@pytest.mark.parametrize("family", ["Noto Sans CJK SC", "A Font of Whatever Name"])
def test_a_font_that_was_installed_later_draws_chinese(
    tmp_path: Path, machine: list[str], caplog: pytest.LogCaptureFixture, family: str
) -> None:
    with caplog.at_level(logging.WARNING, "polymodal.figures"):
        pictured(tmp_path / "boxes", "猫")
    assert "no font on this machine can draw some characters" in caplog.text
    assert "fonts-noto-cjk" in caplog.text
    caplog.clear()
    machine.append(str(font_file(tmp_path / "later.ttf", family)))
    (tmp_path / "damaged.ttf").write_bytes(b"no font at all")
    machine.append(str(tmp_path / "damaged.ttf"))
    pictured(tmp_path / "drawn", "猫")
    assert caplog.text == ""
    with figures.drawing() as plt:
        assert plt.rcParams["font.family"] == ["DejaVu Sans", family]


def test_a_font_that_was_removed_is_not_asked_for(
    tmp_path: Path, machine: list[str]
) -> None:
    path = font_file(tmp_path / "gone.ttf", "Noto Sans CJK SC")
    machine.append(str(path))
    first: Any
    with figures.drawing() as plt:
        first = plt.rcParams["font.family"]
    assert first == ["DejaVu Sans", "Noto Sans CJK SC"]
    path.unlink()
    machine.clear()
    with figures.drawing() as plt:
        assert plt.rcParams["font.family"] == ["DejaVu Sans"]
