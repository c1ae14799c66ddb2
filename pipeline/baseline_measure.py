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
    Value,
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
    return measure(config, servable, train, judged)


def measure(
    config: Config, servable: Servable, train: Iterable[Row], judged: Iterable[Row]
) -> Baseline:
    """The baseline of a loaded model; holds one batch of media at a time.

    Args:
        config: the model's config.
        servable: answers `serving_raw`; and `embed`, or no embeddings are compared.
        train: rows that fix categories and axes.
        judged: rows that are counted.
    """
    can_embed = SIGNATURE in servable.signature_defs
    of_train: list[dict[Column, Value]] = []
    embeddings: dict[str, list[np.ndarray]] = {}
    for batch in _batches(train):
        rows = [AnsweredRow(_sent(row), labels=row.labels) for row in batch]
        of_train += [observed(config, row) for row in rows]
        for row in embedded(config, servable, rows) if can_embed else ():
            for key, value in row.items():
                embeddings.setdefault(key, []).append(value)
    found = {key: axes_of(np.stack(values)) for key, values in embeddings.items()}
    axes = {key: one for key, one in found.items() if one is not None}
    of_judged: list[dict[Column, Value]] = []
    places: list[dict[Column, Value]] = []
    for batch in _batches(judged):
        rows = _answered(config, servable, batch)
        of_judged += [observed(config, row) for row in rows]
        if axes:
            places += placed(axes, embedded(config, servable, rows))
    table = table_of(of_judged) | table_of(places)
    table = {c: v for c, v in sorted(table.items()) if len(v) >= _FEWEST_ROWS}
    seen = table_of(of_train)
    bins = {column: _bins(config, column, table, seen) for column in table}
    return Baseline(
        config,
        servable.version,
        model_hash(servable.path),
        len(of_judged),
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
) -> list[AnsweredRow]:
    arrays = arrays_of(config, [_sent(row) for row in rows])
    outputs = servable.run("serving_raw", arrays)
    return [
        AnsweredRow(
            values_of(config, arrays, at),
            answers={key: values[at] for key, values in outputs.items()},
            labels=row.labels,
        )
        for at, row in enumerate(rows)
    ]


def _batches(rows: Iterable[Any]) -> Iterator[list[Any]]:
    iterator = iter(rows)
    while batch := list(islice(iterator, BATCH)):
        yield batch
