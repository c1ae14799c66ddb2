"""Counts a baseline: a model's answers and embeddings on rows of the pipeline.

They are rows of the eval split, as many as are there up to a thousand: the rows that
the model's metrics hold for, and the only ones that neither taught the model, which is
surer of those, nor chose its best epoch. Categories and axes are fixed on rows of the
train split, so that they favour neither the baseline nor what is compared with it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, cast

import numpy as np

from pipeline.baseline import Baseline, model_hash
from pipeline.monitor_bins import Bins, category_bins, numeric_bins
from pipeline.monitor_embeddings import (
    BATCH,
    SIGNATURE,
    Axes,
    axes_of,
    embedded,
    placed,
)
from pipeline.monitor_rows import (
    CHOSEN,
    MISSING,
    NOT_CHOSEN,
    PRESENT,
    AnsweredRow,
    Column,
    arrays_of,
    observed,
    values_of,
)
from pipeline.monitor_statistics import Table, statistics_of, table_of
from pipeline.rows import Row
from pipeline.stored import some_rows
from serving.servable import Servable
from trainer.config import ClassificationHead, Config, OrdinalHead

_BASELINE_ROWS = 1000
_TRAIN_ROWS = 500
# A column that fewer rows of the baseline have is left out.
_FEWEST_ROWS = 20


def measure_model(config: Config, model: str, examples: str) -> Baseline:
    """The baseline of a SavedModel.

    Args:
        config: the model's config.
        model: its directory; a number as its name is its version.
        examples: uri of the tf.Examples of the run that made the model.
    """
    split = config.data.split
    name = os.path.basename(os.path.normpath(model))
    servable = Servable(config.name, int(name) if name.isdigit() else 0, model)
    train = some_rows(config, examples, split.train, _TRAIN_ROWS)
    judged = some_rows(config, examples, split.eval, _BASELINE_ROWS)
    return measure(config, servable, list(train), list(judged))


def measure(
    config: Config, servable: Servable, train: Sequence[Row], judged: Sequence[Row]
) -> Baseline:
    """The baseline of a loaded model.

    Args:
        config: the model's config.
        servable: answers `serving_raw`; and `embed`, or no embeddings are compared.
        train: rows that fix bins and axes.
        judged: rows that are counted.
    """
    can_embed = SIGNATURE in servable.signature_defs
    unanswered = [AnsweredRow(_sent(row), labels=row.labels) for row in train]
    axes = _axes(config, servable, unanswered) if can_embed else {}
    rows = list(_answered(config, servable, judged))
    table = table_of(observed(config, row) for row in rows)
    if axes:
        table |= table_of(placed(axes, _embedded(config, servable, rows)))
    table = {c: v for c, v in sorted(table.items()) if len(v) >= _FEWEST_ROWS}
    seen = table_of(observed(config, row) for row in unanswered)
    bins = {column: _bins(config, column, table, seen) for column in table}
    return Baseline(
        config,
        servable.version,
        model_hash(servable.path),
        len(rows),
        bins,
        axes,
        statistics_of(table, bins),
    )


def _bins(config: Config, column: Column, table: Table, train: Table) -> Bins:
    if column.kind == "missing":
        return Bins(categories=(PRESENT, MISSING))
    if column.kind == "label":
        if column.part:
            return Bins(categories=(CHOSEN, NOT_CHOSEN))
        head = config.head(column.feature.split()[0])
        return Bins(categories=cast(ClassificationHead | OrdinalHead, head).classes)
    if column.kind == "categorical":
        return category_bins(train.get(column, ()))
    return numeric_bins(cast(Sequence[float], table[column]))


def _sent(row: Row) -> dict[str, bytes | float]:
    """A stored row as a client sends it."""
    return {
        key: value.encode() if isinstance(value, str) else value
        for key, value in row.values.items()
    }


def _answered(
    config: Config, servable: Servable, rows: Sequence[Row]
) -> Iterator[AnsweredRow]:
    for batch in _batches(rows):
        arrays = arrays_of(config, [_sent(row) for row in batch])
        outputs = servable.run("serving_raw", arrays)
        for at, row in enumerate(batch):
            answers = {key: values[at] for key, values in outputs.items()}
            values = values_of(config, arrays, at)
            yield AnsweredRow(values, answers=answers, labels=row.labels)


def _embedded(
    config: Config, servable: Servable, rows: Sequence[AnsweredRow]
) -> Iterator[dict[str, np.ndarray]]:
    for batch in _batches(rows):
        yield from embedded(config, servable, batch)


def _axes(
    config: Config, servable: Servable, rows: Sequence[AnsweredRow]
) -> dict[str, Axes]:
    found: dict[str, list[np.ndarray]] = {}
    for row in _embedded(config, servable, rows):
        for key, value in row.items():
            found.setdefault(key, []).append(value)
    axes = {key: axes_of(np.stack(values)) for key, values in found.items()}
    return {key: one for key, one in axes.items() if one is not None}


def _batches(rows: Iterable[Any]) -> Iterator[list[Any]]:
    iterator = iter(rows)
    while batch := list(islice(iterator, BATCH)):
        yield batch
