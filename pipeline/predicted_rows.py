"""The rows that `polymodal predict` asks a model: inputs may be missing, labels need not be.

A model was trained to do without any of its inputs, so a manifest may lack their columns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pipeline.manifest import (
    BadRow,
    Manifest,
    ManifestError,
    lacking_columns,
    needed_columns,
)
from pipeline.rows import Quarantined, Row, SplitOf, iter_rows
from pipeline.scan import scan
from pipeline.splits import SplitError, manifest_split
from trainer.config import Config
from trainer.features import features

_MAX_KEYS = 10_000


def predicted_rows(
    config: Config, manifest: str, split: str | None = None
) -> tuple[Iterator[Row | Quarantined], list[str]]:
    """The rows to predict, and what a person should know of them.

    Args:
      config: Maps columns to inputs, and says how rows are split.
      manifest: Path or URL; a column of one input is enough.
      split: Only the rows of this split; None = all rows.

    Raises:
      ManifestError: none of the inputs' columns is there; no such split, or not the
        columns that tell a row's split.
    """
    source = Manifest(manifest)
    known = source.columns
    if known is None:
        known = tuple(sorted(_keys(source)))
        if not known:
            raise ManifestError(f"{manifest}: it holds no row that can be read.")
    columns = [feature.column for feature in features(config)]
    if not set(columns) & set(known):
        needed = needed_columns(config, labels=False)
        raise ManifestError("\n".join(lacking_columns(manifest, known, needed)))
    notes = []
    lacking = sorted(set(columns) - set(known), key=columns.index)
    if lacking:
        inputs = dict.fromkeys(f.input for f in features(config) if f.column in lacking)
        notes.append(
            f"{manifest}: no column {', '.join(map(repr, lacking))}: missing in every row"
            f" (inputs {', '.join(inputs)})."
        )
    if config.data.id is not None and config.data.id not in known:
        notes.append(
            f"{manifest}: no column {config.data.id!r}, which data.id names: the id of an"
            " answer is its row's number, from 1."
        )
        config = dataclasses.replace(
            config, data=dataclasses.replace(config.data, id=None)
        )
    if split is None:
        scanned = scan(config, manifest, labels=False, optional=lacking)
        return iter_rows(config, manifest, labels=False, scanned=scanned), notes
    slices = {name for one in config.evaluation.slices for name in one}
    optional = {*lacking, *(slices - {c for _, c in _split_columns(config)})}
    told = [n for n in needed_columns(config) if n[1] not in (*optional, *known)]
    unsplit = [n for n in told if n in _split_columns(config)]
    if told and (unsplit or config.data.split.column is None):
        raise ManifestError(
            "\n".join(lacking_columns(manifest, known, told))
            + "\n--split needs them, to split the rows as the training did."
        )
    split_of: SplitOf
    if told:
        # The manifest's own word is enough where it names the splits.
        scanned, split_of = (
            scan(config, manifest, labels=False, optional=optional),
            (lambda _, cells: _named(config, cells)),
        )
        names: Collection[str] = _names(config, source)
    else:
        scanned = scan(config, manifest, optional=optional)
        names, split_of = scanned.splits, scanned.split_of
    if split not in names:
        raise ManifestError(
            f"{manifest}: no row is in split {split!r}. Splits: {', '.join(names)}"
        )
    return iter_rows(config, manifest, split, False, None, scanned, split_of), notes


def _split_columns(config: Config) -> list[tuple[str, str]]:
    return [n for n in needed_columns(config) if n[0].startswith("data.split")]


def _named(config: Config, cells: Mapping[str, Any]) -> str | None:
    try:
        return manifest_split(config.data.split, cells)
    except SplitError:
        return None


def _names(config: Config, source: Manifest) -> list[str]:
    """The splits that the manifest names."""
    found: dict[str, None] = {}
    for record in source.records(columns={str(config.data.split.column)}):
        if not isinstance(record.cells, BadRow):
            name = _named(config, record.cells)
            if name is not None and len(found) < _MAX_KEYS:
                found[name] = None
    return list(found)


def _keys(source: Manifest) -> set[str]:
    """The keys of JSON lines, of which each row brings its own."""
    found: set[str] = set()
    for record in source.records():
        if not isinstance(record.cells, BadRow) and len(found) < _MAX_KEYS:
            found.update(record.cells)
    return found
