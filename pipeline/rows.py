"""One manifest row to one tf.Example, or to the reason why not."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pipeline import cells
from pipeline.cell_text import text_of
from pipeline.cells import CellError
from pipeline.frames import read_frames, servable_audio, servable_image
from pipeline.manifest import BadRow, Manifest, needed_columns
from pipeline.scan import Scan, scan
from pipeline.split_plan import SplitPlan
from pipeline.splits import SplitError
from serving import media
from serving.sequences import unpack
from trainer.config import AudioInput, Config, ImageInput, ImagesInput
from trainer.features import (
    GROUP_KEY,
    ID_KEY,
    NO_CLASS,
    SLICE_PREFIX,
    Feature,
    features,
    head_labels,
    slice_columns,
)

Observer = Callable[[Feature, "bytes | str | float"], None]
"""Sees each value as the manifest gives it: media before any transcoding."""

SplitOf = Callable[[int, Mapping[str, Any]], "str | None"]
"""Row number and cells -> the row's split; None where it cannot be told."""


@dataclass(frozen=True)
class Row:
    """A row that can be learned from; what is absent is in no dict.

    `group` is what may not part (patient, speaker); empty = the row itself.
    `dropped` counts by feature key the frames of a sequence that could not be read.
    """

    number: int
    id: str
    split: str
    values: dict[str, bytes | str | float] = field(default_factory=dict)
    labels: dict[str, tuple[str, ...] | float] = field(default_factory=dict)
    slices: dict[str, str] = field(default_factory=dict)
    group: str = ""
    dropped: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Quarantined:
    """A row set aside, and why: `column` is empty where the whole row is at fault."""

    row: int
    id: str
    reason: str
    column: str
    message: str

    def __post_init__(self) -> None:
        # Half a surrogate pair can be written to no file and no terminal.
        for name in ("id", "column", "message"):
            plain = getattr(self, name).encode("utf-8", "backslashreplace").decode()
            object.__setattr__(self, name, plain)

    def to_json(self) -> str:
        """One line of the quarantine file."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    def __str__(self) -> str:
        known = [f"id {self.id!r}"] if self.id else []
        known += [f"column {self.column!r}"] if self.column else []
        where = f" ({', '.join(known)})" if known else ""
        return f"row {self.row}{where}: {self.message}"


def read_row(
    row_number: int,
    row: Mapping[str, Any] | BadRow,
    config: Config,
    base: str,
    plan: SplitPlan | None = None,
    labels: bool = True,
    observe: Observer | None = None,
) -> Row | Quarantined:
    """Reads, checks and transcodes one row.

    Args:
      row_number: From 1, as in quarantine and progress.
      row: Cells by column, as `manifest.rows` gives them.
      config: Says what is read.
      base: Folder that relative media paths start from.
      plan: Of the manifest's splits; None = as of a manifest of this row alone.
      labels: False reads inputs only: no labels, slices, or split.
      observe: Called with each present input value.
    """
    if isinstance(row, BadRow):
        return Quarantined(row_number, "", row.reason, "", row.message)
    id_column = config.data.id
    row_id = text_of(row.get(id_column)) if id_column else str(row_number)
    column, result = "", Row(row_number, row_id, "")
    try:
        if not row_id:
            column = id_column or ""
            raise CellError("empty_id", "expected an id. Received: an empty cell")
        cells.name(row.get(id_column) if id_column else row_id)
        if labels:
            column = config.data.split.column or config.data.split.by_time or ""
            split = (plan or SplitPlan(config.data.split)).of(row_id, row)
            cells.encodable(split)
            column = config.data.split.group_by or ""
            group = cells.name(row.get(column))
            result = dataclasses.replace(result, split=split, group=group)
            for head in config.heads:
                for label in head_labels(head):
                    column = label.column
                    found = cells.label(head, label, row.get(column))
                    if found is not None:
                        result.labels[label.key] = found
            for column in slice_columns(config):
                if text := cells.name(row.get(column)):
                    result.slices[column] = text
        for feature in features(config):
            column = feature.column
            cell = row.get(column)
            value: bytes | str | float | None
            if feature.kind == "images":
                value = _frames(feature, cell, config, base, observe, result.dropped)
            else:
                value = _value(feature, cell, config, base, observe)
            if value is not None:
                result.values[feature.key] = value
    except (CellError, SplitError, media.MediaError) as error:
        return Quarantined(row_number, row_id, error.reason, column, str(error))
    except OSError as error:
        # A file that may not be read is one row's misfortune, not the run's.
        return Quarantined(row_number, row_id, "unreadable_file", column, str(error))
    except Exception as error:
        # Whatever a row or its file holds, the rows after it can be read.
        said = " ".join(str(error).split())[:200]
        text = f"cannot be read ({type(error).__name__}: {said})."
        return Quarantined(row_number, row_id, "unreadable_row", column, text)
    if not result.values:
        return Quarantined(
            row_number, row_id, "no_input", "", "every input of this row is empty."
        )
    return result


def _value(
    feature: Feature, cell: Any, config: Config, base: str, observe: Observer | None
) -> bytes | str | float | None:
    """The stored value; None where the cell is empty."""
    if feature.kind in ("image", "audio"):
        return _media(feature, cell, config, base, observe)
    read = {"numeric": cells.number, "categorical": cells.category}
    value = read.get(feature.kind, cells.text)(cell)
    if value is not None and observe is not None:
        observe(feature, value)
    return value


def _frames(
    feature: Feature,
    cell: Any,
    config: Config,
    base: str,
    observe: Observer | None,
    dropped: dict[str, int],
) -> bytes | None:
    one = config.input(feature.input)
    assert isinstance(one, ImagesInput)
    seen = None if observe is None else partial(observe, feature)
    value, failures = read_frames(one, cell, base, config.data.max_file_bytes, seen)
    if failures:
        dropped[feature.key] = len(failures)
    if value is not None and observe is not None:
        observe(feature, float(len(unpack(value))))
    return value


def _media(
    feature: Feature, cell: Any, config: Config, base: str, observe: Observer | None
) -> bytes | None:
    name = ""
    if isinstance(cell, bytes):  # Parquet can hold the file itself.
        if not cell:
            return None
        data = cell
    else:
        name = cells.path(cell)
        if not name:
            return None
        data = media.read_media(name, base, max_bytes=config.data.max_file_bytes)
    one = config.input(feature.input)
    if isinstance(one, ImageInput):
        servable = servable_image(data, one.max_pixels, verify=True, name=name)
    else:
        assert isinstance(one, AudioInput)
        servable = servable_audio(data, one.max_input_seconds, verify=True, name=name)
    if observe is not None:
        observe(feature, data)
    return servable


def to_example(row: Row) -> bytes:
    """The row as a serialized tf.train.Example, under the keys of features.py."""
    import tensorflow as tf

    def feature(value: Any) -> Any:
        if isinstance(value, float):
            return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
        several = value if isinstance(value, tuple) else (value,)
        several = several or (NO_CLASS,)
        encoded = [v.encode() if isinstance(v, str) else v for v in several]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=encoded))

    stored = {ID_KEY: feature(row.id)}
    if row.group:
        stored[GROUP_KEY] = feature(row.group)
    stored |= {key: feature(value) for key, value in row.values.items()}
    stored |= {name: feature(label) for name, label in row.labels.items()}
    stored |= {SLICE_PREFIX + c: feature(text) for c, text in row.slices.items()}
    example = tf.train.Example(features=tf.train.Features(feature=stored))
    return bytes(example.SerializeToString(deterministic=True))


def duplicate(row_number: int, row: Mapping[str, Any], config: Config) -> Quarantined:
    """What becomes of the second and later rows of an id."""
    column = config.data.id or ""
    return Quarantined(
        row_number,
        text_of(row.get(column)),
        "duplicate_id",
        column,
        "an earlier row has this id; ids must be unique.",
    )


def iter_rows(
    config: Config,
    manifest: str,
    split: str | None = None,
    labels: bool = True,
    observe: Observer | None = None,
    scanned: Scan | None = None,
    split_of: SplitOf | None = None,
) -> Iterator[Row | Quarantined]:
    """The rows as the pipeline would store them, one at a time and without Beam.

    Args:
      config: Says what is read.
      manifest: Path or URL.
      split: Only this split's rows (quarantined rows come whatever their split).
      labels: False for a manifest to predict on: inputs and id are enough.
      observe: Called with each present input value.
      scanned: The manifest's scan where the caller has it; None = made here.
      split_of: Tells a row's split; None = the scan does.
    """
    scanned = scanned or scan(config, manifest, labels)
    source = Manifest(manifest)
    split_of = split_of or scanned.split_of
    columns = {column for _, column in needed_columns(config, scanned.labels)}
    columns |= {config.data.split.column or ""} if split is not None else set()
    for record in source.records(columns=columns):
        number, unsplit = record.start.row, False
        if split is not None and not isinstance(record.cells, BadRow):
            # Another split's media need not be read.
            if (where := split_of(number, record.cells)) not in (split, None):
                continue
            unsplit = where is None
        if scanned.is_duplicate(number) and not isinstance(record.cells, BadRow):
            yield duplicate(number, record.cells, config)
            continue
        yield read_row(
            number,
            record.cells,
            config,
            source.base,
            scanned.plan,
            # A row whose split cannot be told is set aside as where labels are read.
            scanned.labels and labels or unsplit,
            observe,
        )
