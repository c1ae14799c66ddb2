"""Which columns of a manifest name pictures and sounds."""

from __future__ import annotations

import os
import posixpath
from dataclasses import dataclass, field
from typing import Any

from pipeline.cells import CellError
from pipeline.frames import sources
from pipeline.profile import Column, Profile
from serving import media

_IMAGES = {"png", "jpg", "jpeg", "bmp", "gif", "webp", "tif", "tiff", "dcm", "dicom"}
_SOUNDS = {
    "wav", "bwf", "w64", "rf64", "flac", "mp3", "ogg", "oga", "opus", "m4a", "aiff",
    "aif", "aifc", "au", "snd", "caf", "sph",
}  # fmt: skip
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
        except (ValueError, OSError) as error:
            readable.missing += 1
            reason = getattr(error, "reason", "unreadable_file")
            # Not the message: it holds paths of this machine.
            failure = failure or f"{reason}, e.g. {str(cell)[:80]}" + (
                media.separator_hint(cell) if isinstance(cell, str) else ""
            )
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


def names_a_file(name: str) -> bool:
    """Whether a text ends as the name of a picture or a sound."""
    suffix = posixpath.splitext(name.strip())[1].lower().lstrip(".")
    return suffix in _IMAGES | _SOUNDS
