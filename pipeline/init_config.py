"""Writes a first config from a manifest, with the reasons beside each guess."""

from __future__ import annotations

import math
import os
import re
from statistics import median

import yaml

from pipeline.cell_forms import number_of
from pipeline.column_kind import doubtful_cells
from pipeline.column_media import Media
from pipeline.draft import Draft
from pipeline.init_head import flat, head_lines, scalar
from pipeline.manifest import ManifestError
from pipeline.outputs import appearing, writable_file
from pipeline.profile import Column, profile
from trainer.config import from_mapping
from trainer.names import ROW_KEYS, reserved_end, unknown_key

_MAX_SIDE = 128
_MAX_FRAMES = 32


def write(
    manifest: str,
    output: str,
    force: bool = False,
    *,
    label: str | None = None,
    id: str | None = None,
    group: str | None = None,
) -> None:
    """Writes the config of `infer` to a file.

    Args:
      manifest: Path or URL.
      output: YAML file.
      force: Overwrite the file.
      label, id, group: Columns; None = guessed.

    Raises:
      ManifestError: nothing can be inferred, or the file is there and not `force`.
    """
    if os.path.exists(output) and not force:
        raise ManifestError(f"{output}: exists already; nothing was written.")
    writable_file(output)
    text = infer(manifest, label, id, group)
    with appearing(output) as file:
        file.write(text)


def infer(
    manifest: str,
    label: str | None = None,
    id: str | None = None,
    group: str | None = None,
) -> str:
    """A config for the manifest as YAML, to be reviewed by a person.

    Raises:
      ManifestError: no rows, nothing to predict, or nothing to predict it from.
    """
    found = profile(manifest)
    if not found.rows:
        raise ManifestError(
            f"{manifest}: no row could be read; {found.first_bad}"
            if found.bad
            else f"{manifest}: the manifest has no rows."
        )
    text = _Writer(Draft(found, label, id, group)).text()
    from_mapping(yaml.safe_load(text), f"config inferred from {manifest}")
    return text


class _Writer:
    """The text of a draft."""

    def __init__(self, draft: Draft) -> None:
        self.draft, self.found = draft, draft.found
        self.names: set[str] = set()

    def _name(self, column: str, fallback: str) -> str:
        """A name that requests can use: lower-case ASCII, unique, not reserved."""
        name = re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_")[:36]
        if not re.match(r"[a-z]", name):
            name = fallback
        if reserved_end(name) is not None or name in ROW_KEYS:
            name = f"{name[:32]}_value"
        base, number = name, 2
        # Nor may a name be that of another column's answer.
        answers = set(map(unknown_key, self.names))
        while name in self.names | answers or unknown_key(name) in self.names:
            name, number = f"{base}_{number}", number + 1
        self.names.add(name)
        return name

    def text(self) -> str:
        """The whole file."""
        found = self.found
        stem = os.path.splitext(os.path.basename(found.manifest))[0]
        if stem == "manifest":
            stem = os.path.basename(os.path.abspath(found.base)) if found.base else stem
        name = re.sub(r"[^A-Za-z0-9_.-]+", "_", stem).strip("_.-")
        head = self._head()  # First, so that the label keeps its name.
        lines = [
            f"# Inferred from {os.path.basename(found.manifest)}: {found.rows:,} rows,"
            f" {len(found.columns)} columns. Read every line before",
            "# training; `polymodal check` then reads every row as training would.",
            *self._bad(),
            f"name: {name if re.match(r'[A-Za-z]', name) else 'model'}",
            "",
            *self._data(),
            "",
            "inputs:",
        ]
        for one in self.draft.media:
            lines += self._audio(one) if one.kind == "audio" else self._image(one)
        for column, hint in self.draft.texts:
            lines += self._text(column, hint)
        lines += self._table()
        lines += ["", *head]
        if self.draft.left_out:
            lines += ["", "# Left out:"]
            lines += [
                f"#   {column}: {flat(why)}"
                for column, why in self.draft.left_out.items()
            ]
        # Names and cells stand in comments, and a comment ends with its line.
        return "\n".join(" ".join(line.splitlines()) for line in lines) + "\n"

    def _bad(self) -> list[str]:
        if not self.found.bad:
            return []
        return [f"# {self.found.bad:,} rows could not be read; {self.found.first_bad}"]

    def _data(self) -> list[str]:
        lines = ["data:"]
        if self.draft.id:
            lines.append(f"  id: {scalar(self.draft.id)}  # {self.draft.id_why}")
        else:
            lines.append("  id: null  # no column tells rows apart: their numbers do")
        lines.append("  split:")
        if self.draft.split:
            split = self.draft.split
            lines.append(f"    column: {scalar(split.column)}")
            lines += [
                f"    {key}: {scalar(value, quoted=number_of(value) is not None)}"
                for key, value in split.names.items()
            ]
            lines += [
                f"    # Review: {count:,} rows of {value!r} take part in nothing."
                for value, count in split.unused.items()
            ]
            if "selection" not in split.names:
                lines.append("    # No split is left to choose by: cut off train.")
                lines.append("    selection_fraction: 0.1")
        else:
            lines.append("    column: null  # none names train and test: split by hash")
            lines.append("    eval_fraction: 0.2")
            lines.append("    selection_fraction: 0.1")
        if self.draft.group:
            lines.append(
                f"    group_by: {scalar(self.draft.group)}  # {self.draft.group_why}"
            )
        return lines

    def _open(self, column: str, kind: str) -> list[str]:
        name = self._name(column, kind)
        lines = [f"  - name: {scalar(name)}", f"    modality: {kind}"]
        if name != column:
            lines.append(f"    column: {scalar(column)}")
        return lines

    def _image(self, one: Media) -> list[str]:
        width = median(f["width"] for f in one.facts)
        height = median(f["height"] for f in one.facts)
        scale = min(1.0, _MAX_SIDE / max(width, height))
        grey = all(f["channels"] == 1 for f in one.facts)
        small = max(width, height) <= 64
        lines = [
            *self._open(one.column, one.kind),
            f"    # Of {len(one.facts)} files: {_formats(one)}, median {width:g} x"
            f" {height:g} pixels{_unread(one)}.",
            f"    height: {max(1, round(height * scale))}",
            f"    width: {max(1, round(width * scale))}",
            f"    channels: {1 if grey else 3}",
        ]
        if small:
            lines.append("    encoder: {kind: conv}  # enough for small pictures")
        if one.kind == "images":
            lines += [
                f"    separator: {scalar(one.separator, quoted=True)}",
                f"    max_frames: {min(_MAX_FRAMES, max(one.frames))}  # of"
                f" {min(one.frames)} to {max(one.frames)}",
            ]
        return lines

    def _audio(self, one: Media) -> list[str]:
        rates = [f["sample_rate_hz"] for f in one.facts]
        seconds = sorted(f["seconds"] for f in one.facts if f["seconds"]) or [4.0]
        long = seconds[min(len(seconds) - 1, int(0.95 * len(seconds)))]
        return [
            *self._open(one.column, "audio"),
            f"    # Of {len(one.facts)} files: {_formats(one)}, {_span(rates)}"
            f" Hz, up to {seconds[-1]:.2f} s{_unread(one)}.",
            f"    sample_rate_hz: {min(16000, int(median(rates)))}",
            f"    max_seconds: {max(0.5, math.ceil(long * 2) / 2):g}",
        ]

    def _text(self, column: Column, hint: str) -> list[str]:
        texts = self.found.texts(column.name)
        lengths = sorted(map(_tokens, texts)) or [16]
        long = lengths[min(len(lengths) - 1, int(0.95 * len(lengths)))]
        lines = self._open(column.name, "text")
        if hint:
            lines.append(f"    # Review: {hint}; remove it if the label leaks.")
        lines.append(f"    # About {column.mean_characters:.0f} characters a row.")
        return [*lines, f"    max_tokens: {min(256, max(16, math.ceil(long / 8) * 8))}"]

    def _table(self) -> list[str]:
        if not (self.draft.numeric or self.draft.categorical):
            return []
        lines = [f"  - name: {self._name('table', 'table')}", "    modality: tabular"]
        for kind, columns in (
            ("numeric", self.draft.numeric), ("categorical", self.draft.categorical),
        ):  # fmt: skip
            if columns:
                lines.append(f"    {kind}:")
            for column in columns:
                name = self._name(column, kind)
                one = self.found.columns[column]
                seen = flat(self._seen(kind, one))
                if doubt := doubtful_cells(kind, one):
                    seen += f"; review: {flat(doubt)}"
                entry = f"{{name: {scalar(name)}, column: {scalar(column)}}}"
                lines.append(
                    f"      - {scalar(column) if name == column else entry}  # {seen}"
                )
        return lines

    def _seen(self, kind: str, column: Column) -> str:
        gaps = self.found.rows - column.filled
        empty = f", {gaps:,} row{'s' if gaps > 1 else ''} empty" if gaps else ""
        if kind == "numeric":
            return f"{column.low:g} to {column.high:g}{empty}"
        most = ", ".join(value[:20] for value, _ in column.values.most_common(3))
        return f"{column.distinct} values: {most}{empty}"

    def _head(self) -> list[str]:
        label = self.draft.label
        return head_lines(label, self._name(label.column, "label"))


def _formats(one: Media) -> str:
    return "/".join(sorted({str(f["format"]).upper() for f in one.facts}))


def _unread(one: Media) -> str:
    return f"; {one.missing} could not be read" if one.missing else ""


def _span(numbers: list[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low}" if low == high else f"{low} to {high}"


def _tokens(text: str) -> int:
    """About how many tokens: a Chinese character is one, a word is one or two."""
    wide = sum("\u3000" <= c <= "\u9fff" or "\uac00" <= c <= "\ud7af" for c in text)
    return wide + math.ceil((len(text) - wide) / 4) + 2
