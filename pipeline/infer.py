"""Guesses what each column of a manifest is for. A person reviews the guesses."""

from __future__ import annotations

import json
import os
import posixpath
from dataclasses import dataclass, field
from typing import Any

from pipeline.cells import CellError
from pipeline.frames import sources
from pipeline.profile import MAX_VALUES, Column, Profile, number_of
from serving import media

IDS = ("id", "uid", "uuid", "key", "row_id", "sample_id", "example_id", "编号", "序号")
SPLITS = ("split", "subset", "partition", "set", "划分", "数据划分", "数据集")
TRAIN = ("train", "training", "训练", "训练集")
SELECTION = ("val", "valid", "validation", "dev", "验证", "验证集")
EVAL = ("test", "testing", "eval", "测试", "测试集")
LABELS = (
    "label", "labels", "class", "target", "y", "标签", "类别", "分类",
)  # fmt: skip
# Weaker names: they are often inputs.
LIKELY_LABELS = (
    "category", "group", "topic", "genre", "department", "diagnosis", "outcome",
    "sentiment", "species", "score", "rating", "price", "科室", "诊断", "评分",
)  # fmt: skip
GROUPS = (
    "patient", "patient_id", "subject", "subject_id", "speaker", "speaker_id", "user",
    "user_id", "author", "family", "session", "group_id", "case", "case_id", "患者",
    "病人", "说话人", "用户",
)  # fmt: skip
PROVENANCE = (
    "license", "licence", "source", "url", "doi", "origin", "host", "hospital", "site",
    "location", "scanner", "path", "filename", "file",
)  # fmt: skip
_IMAGES = {"png", "jpg", "jpeg", "bmp", "gif", "webp", "tif", "tiff", "dcm", "dicom"}
_SOUNDS = {"wav", "flac", "mp3", "ogg", "oga", "opus", "m4a", "aiff"}
_PROBES = 24


@dataclass
class Media:
    """A column of files, and the facts of some; of `images` also how many a cell names."""

    column: str
    kind: str
    facts: list[dict[str, Any]] = field(default_factory=list)
    missing: int = 0
    frames: tuple[int, ...] = ()
    separator: str = ""


@dataclass
class Label:
    """The column to predict."""

    column: str
    regression: bool = False
    classes: tuple[str, ...] = ()
    separator: str = ""
    missing: int = 0
    why: str = ""


def find_media(found: Profile, column: Column) -> tuple[Media | None, str]:
    """The media that a column names, else why it is left out (or nothing)."""
    cells = found.sampled(column.name)
    if not cells:
        return None, ""
    lists, separator = _file_lists(cells)
    if lists:
        cells = [files[len(files) // 2] for files in lists]
    kind = _kind_by_name(cells)
    if not kind and not (column.blobs or _may_be_path(found, column)):
        return None, ""
    counts = tuple(len(files) for files in lists)
    readable = Media(column.name, kind or "image", frames=counts, separator=separator)
    failure = ""
    for cell in cells[:_PROBES]:
        try:
            data = (
                cell if isinstance(cell, bytes) else media.read_media(cell, found.base)
            )
            known, facts = _describe(data, kind)
        except (media.MediaError, OSError) as error:
            readable.missing += 1
            reason = getattr(error, "reason", "unreadable_file")
            # Not the message: it holds paths of this machine.
            failure = failure or f"{reason}, e.g. {str(cell)[:80]}"
            continue
        readable.kind = "images" if lists and known == "image" else known
        readable.facts.append(facts)
    if readable.facts:
        return readable, ""
    if not kind:
        return None, ""
    return None, f"looks like {kind} files, but none could be read ({failure})"


def _kind_by_name(cells: list[Any]) -> str:
    names = [c for c in cells if isinstance(c, str)]
    suffixes = [posixpath.splitext(n.strip())[1].lower().lstrip(".") for n in names]
    for kind, known in (("image", _IMAGES), ("audio", _SOUNDS)):
        if names and sum(s in known for s in suffixes) >= 0.9 * len(names):
            return kind
    return ""


def _file_lists(cells: list[Any]) -> tuple[list[list[Any]], str]:
    """The files of each cell where cells name several pictures; else nothing."""
    for separator in ("|", ";", ","):
        lists = []
        for cell in cells:
            try:
                lists.append(sources(cell, separator))
            except CellError:
                return [], ""
        several = sum(len(files) > 1 for files in lists) >= 0.5 * len(cells)
        if several and all(_kind_by_name(files) == "image" for files in lists):
            return lists, separator
    return [], ""


def _may_be_path(found: Profile, column: Column) -> bool:
    """Files without a telling extension, as DICOM archives have them."""
    if column.mean_characters > 300 or column.numeric or column.lists:
        return False
    names = found.texts(column.name)[:3]
    return bool(names) and all(
        ".zip!" in name.lower() or os.path.isfile(os.path.join(found.base, name))
        for name in names
    )


def _describe(data: bytes, kind: str) -> tuple[str, dict[str, Any]]:
    if kind == "audio":
        return "audio", media.describe(data, "audio")
    try:
        return "image", media.describe(data, "image")
    except media.MediaError:
        if kind == "image":
            raise
        return "audio", media.describe(data, "audio")


def named(found: Profile, names: tuple[str, ...]) -> list[Column]:
    """Columns of these names, in the names' order."""
    by_name = {c.name.lower(): c for c in found.columns.values()}
    return [by_name[n] for n in names if n in by_name]


def find_id(found: Profile) -> str | None:
    """The column whose every cell is filled and different."""
    ending = [c for c in found.columns.values() if c.name.lower().endswith("_id")]
    for column in [*named(found, IDS), *ending]:
        if column.unique and column.filled == found.rows:
            return column.name
    return None


def find_split(found: Profile) -> tuple[str, dict[str, str]] | None:
    """The split column and the config's names for what it holds."""
    for column in named(found, SPLITS):
        values = {v.lower(): v for v in column.values}
        if column.overflow or len(values) > 20:
            continue
        train, selection, judge = (
            next((values[n] for n in names if n in values), None)
            for names in (TRAIN, SELECTION, EVAL)
        )
        if train is None or not (selection or judge):
            continue
        names = {"train": train}
        # With one split beside train, it judges; selection is cut off train.
        if judge is None:
            names["eval"] = str(selection)
        else:
            names["eval"] = judge
            if selection is not None:
                names["selection"] = selection
        return column.name, names
    return None


def find_label(found: Profile, taken: set[str]) -> Label | None:
    """The column to predict: by its name, else the one most like classes."""
    for names, why in (
        (LABELS, "by its name"),
        (LIKELY_LABELS, "a guess by its name; set another column if it is wrong"),
    ):
        for column in named(found, names):
            label = _as_label(column, found) if column.name not in taken else None
            if label is not None:
                label.why = why
                return label
    guesses = []
    for column in found.columns.values():
        if column.name in taken or column.name.lower() in GROUPS or column.overflow:
            continue
        label = _as_label(column, found)
        if label is not None and label.classes and 2 <= len(label.classes) <= 50:
            guesses.append((column.filled, -len(label.classes), column.name, label))
    if not guesses:
        return None
    label = max(guesses, key=lambda guess: guess[:2])[3]
    label.why = "a guess: few values, each many times; set another if it is wrong"
    return label


def _as_label(column: Column, found: Profile) -> Label | None:
    label = Label(column.name, missing=found.rows - column.filled)
    if column.filled < 2 or column.distinct < 2 or column.blobs:
        return None
    if column.numeric and (column.whole < column.numbers or column.distinct > 50):
        label.regression = True
        return label
    if column.overflow or column.unique:
        return None
    label.separator = "|" if column.lists else _separator(column)
    parts = {
        part.strip()
        for value in column.values
        for part in (value.split(label.separator) if label.separator else [value])
    } - {""}
    if len(parts) > min(MAX_VALUES, found.rows / 3):
        return None
    label.classes = tuple(sorted(parts, key=_class_order))
    return label if len(label.classes) > 1 else None


def _class_order(name: str) -> tuple[bool, float, str]:
    digits = name.isdecimal()
    return not digits, float(name) if digits else 0.0, name


def _separator(column: Column) -> str:
    total = sum(column.values.values())
    for separator in ("|", ";", ","):
        joined = {v: n for v, n in column.values.items() if separator in v}
        parts = [p.strip() for v in column.values for p in v.split(separator)]
        # Parts come again in other cells; the words of a sentence do so less.
        if sum(joined.values()) >= 0.1 * total and len(set(parts)) <= 0.6 * len(parts):
            return separator
    return ""


def column_kind(column: Column, found: Profile) -> tuple[str, str]:
    """`numeric`, `categorical` or `text`; else "" and why the column is left out."""
    name = column.name.lower()
    texts = found.texts(column.name)
    if column.filled == 0:
        return "", "empty in every row"
    if column.distinct == 1:
        return "", f"constant: {texts[0][:40]!r} wherever it is filled"
    if column.blobs or column.lists:
        return "", "bytes or lists that are neither pictures nor sounds"
    if any(word in PROVENANCE for word in name.split("_")):
        return "", (
            "tells where a row came from rather than what it shows: a model would"
            " learn the source"
        )
    if texts and all(t.startswith(("http://", "https://", "doi:")) for t in texts):
        return "", "web addresses"
    if texts and sum(map(_structured, texts)) >= 0.9 * len(texts):
        return "", "structured (JSON)"
    if column.numeric:
        if column.unique and column.whole == column.numbers and column.filled > 20:
            return "", "one different whole number per row: an identifier"
        few = column.distinct <= 10 and column.whole == column.numbers
        return ("categorical" if few else "numeric"), ""
    if column.numbers >= 0.8 * column.filled:
        other = next((t for t in texts if number_of(t) is None), "")
        return "", (
            f"numbers in {column.numbers:,} of {column.filled:,} cells, text in the"
            f" rest (such as {other[:40]!r}): correct them to use it"
        )
    wordless = sum(not any(map(str.isalpha, t)) for t in texts) >= 0.7 * len(texts)
    coded = sum(any(map(str.isdigit, t)) for t in texts) >= 0.8 * len(texts)
    differs = column.distinct > 0.9 * column.filled
    unspaced = column.spaced < 0.05 * column.filled
    if differs and unspaced and (wordless or (coded and all(map(str.isascii, texts)))):
        return "", "nearly one different value per row: an identifier"
    few = column.distinct <= max(20, min(200, found.rows // 20))
    if not column.overflow and few and column.mean_characters <= 40:
        return "categorical", ""
    return "text", ""


def _structured(text: str) -> bool:
    if not text.startswith(("[", "{")):
        return False
    try:
        return isinstance(json.loads(text), (list, dict))
    except ValueError:
        return False
