"""Embeddings as a few numbers each: their places along fixed axes.

Comparing each of a few projections on its own finds shifts about as well as tests in
all dimensions do, and says where: Rabanser, Günnemann and Lipton, Failing Loudly: An
Empirical Study of Methods for Detecting Dataset Shift, NeurIPS 2019. The axes are the
principal ones of rows that are in neither sample: along its own principal axes a sample
is always wider than the next one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.monitor_rows import (
    AnsweredRow,
    Column,
    Reservoir,
    Value,
    arrays_of,
)
from serving.servable import Servable
from trainer.config import Config
from trainer.features import EMBEDDING, embedding_key, input_features, present_key

SIGNATURE = "embed"
MOST_AXES = 8
BATCH = 32
_FEWEST_ROWS = 20
# Shares of the variance below this are rounding.
_NOTHING = 1e-6


@dataclass(frozen=True)
class Axes:
    """A few directions of one embedding.

    Attributes:
        mean: float64 [dim].
        directions: float64 [axes, dim], orthonormal.
        rest: whether what lies off these directions is a column too.
    """

    mean: np.ndarray
    directions: np.ndarray
    rest: bool

    def places(self, embeddings: np.ndarray) -> dict[str, np.ndarray]:
        """Column part -> float64 [rows]: places along the axes, and the distance off."""
        centred = np.asarray(embeddings, np.float64) - self.mean
        along = centred @ self.directions.T
        found = {f"axis {i + 1}": along[:, i] for i in range(along.shape[1])}
        if self.rest:
            found["off the axes"] = np.linalg.norm(
                centred - along @ self.directions, axis=1
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads: seven digits, as the embedding's float32 has."""
        return {
            "mean": [float(f"{x:.7g}") for x in self.mean],
            "directions": [[float(f"{x:.7g}") for x in d] for d in self.directions],
            "rest": self.rest,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Axes:
        """The inverse of `to_json`."""
        directions = np.array(found["directions"], np.float64)
        return cls(np.array(found["mean"], np.float64), directions, found["rest"])


def axes_of(embeddings: np.ndarray) -> Axes | None:
    """The principal axes of float [rows, dim]; None where the rows are too few."""
    if len(embeddings) < _FEWEST_ROWS:
        return None
    values = np.asarray(embeddings, np.float64)
    mean = values.mean(axis=0)
    _, sizes, directions = np.linalg.svd(values - mean, full_matrices=False)
    variances = sizes**2
    if variances.sum() == 0:
        return None
    shares = variances / variances.sum()
    count = min(MOST_AXES, int((shares > _NOTHING).sum()))
    rest = bool(shares[count:].sum() > _NOTHING)
    return Axes(mean, directions[:count], rest)


def embedded(
    config: Config, servable: Servable, rows: Sequence[AnsweredRow]
) -> list[dict[str, np.ndarray]]:
    """Runs `embed` on a batch: for each row, output -> float32 [dim].

    An input that is absent, or not known, has no embedding; the fused one is left out
    where any input is not known.
    """
    outputs = servable.run(SIGNATURE, arrays_of(config, [row.values for row in rows]))
    found: list[dict[str, np.ndarray]] = []
    for at, row in enumerate(rows):
        mine = {} if row.hidden else {EMBEDDING: outputs[EMBEDDING][at]}
        for one in config.inputs:
            keys = {feature.key for feature in input_features(one)}
            if outputs[present_key(one.name)][at] and not keys & row.hidden:
                key = embedding_key(one.name)
                mine[key] = outputs[key][at]
        found.append(mine)
    return found


def placed(
    axes: Mapping[str, Axes], rows: Iterable[Mapping[str, np.ndarray]]
) -> Iterator[dict[Column, Value]]:
    """Each row's embeddings as columns."""
    for row in rows:
        found: dict[Column, Value] = {}
        for key, value in row.items():
            if key in axes:
                for part, places in axes[key].places(value[None]).items():
                    found[Column("embedding", key, part)] = float(places[0])
        yield found


class EmbeddingSample:
    """A stream's rows, of which a random sample is embedded batch by batch.

    Media are held for one batch only; a row that a later one replaces was embedded for
    nothing, which keeps the number of runs within `size` (1 + ln(seen / size)).
    """

    def __init__(
        self, config: Config, servable: Servable, axes: Mapping[str, Axes], size: int
    ) -> None:
        self._config, self._servable, self._axes = config, servable, axes
        self._reservoir = Reservoir(size)
        self._waiting: list[tuple[int, AnsweredRow]] = []
        self._rows: dict[int, dict[Column, Value]] = {}

    def offer(self, row: AnsweredRow) -> None:
        """Takes the row into account."""
        slot = self._reservoir.slot()
        if slot is not None:
            self._waiting.append((slot, row))
            if len(self._waiting) == BATCH:
                self._embed()

    def rows(self) -> list[dict[Column, Value]]:
        """The columns of the rows that stayed."""
        if self._waiting:
            self._embed()
        return list(self._rows.values())

    def _embed(self) -> None:
        rows = [row for _, row in self._waiting]
        values = placed(self._axes, embedded(self._config, self._servable, rows))
        for (slot, _), columns in zip(self._waiting, values, strict=True):
            self._rows[slot] = columns
        self._waiting.clear()
