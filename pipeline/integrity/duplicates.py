"""Pictures in two splits that look alike: what judges has then been learned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.integrity.descriptors import SIDE

_NEAR_SHARE = 0.1
_NEAR = 0.05
"""Distance of normalized thumbnails: a correlation of 0.9988."""
_NEAR_COLOURS = 0.04
_SAMPLE, _BLOCK = 1000, 512


def alike(
    hashes: Sequence[bytes | None],
    thumbnails: Sequence[np.ndarray | None],
    one: np.ndarray,
    other: np.ndarray,
) -> list[tuple[int, int]]:
    """Pictures of one split that look like one of another, not bytewise the same.

    Args:
        hashes: [rows], of the files.
        thumbnails: [rows], of `descriptors.picture`.
        one, other: bool [rows], the two splits.

    Returns:
        Places of such pairs, the first split's first.
    """
    known = {hashes[i] for i in np.flatnonzero(other)} - {None}
    mine = [int(i) for i in np.flatnonzero(one) if hashes[i] not in known]
    return _near(thumbnails, mine, [int(i) for i in np.flatnonzero(other)])


def _near(
    thumbnails: Sequence[np.ndarray | None], one: Sequence[int], other: Sequence[int]
) -> list[tuple[int, int]]:
    """Pairs far nearer than pictures of this set are to one another.

    Pictures of few kinds (digits, icons) have neighbours that look alike without being
    the same: a tenth of the usual distance to the nearest one is asked for.
    """
    mine, mine_at = _normalized(thumbnails, one)
    theirs, theirs_at = _normalized(thumbnails, other)
    if not len(mine) or len(theirs) < 2:
        return []
    usual, _ = _nearest(theirs[:: max(1, len(theirs) // _SAMPLE)], theirs, skip=1)
    bound = min(_NEAR, _NEAR_SHARE * float(np.median(usual)))
    distance, place = _nearest(mine, theirs)
    pairs = [
        (mine_at[i], theirs_at[place[i]]) for i in np.flatnonzero(distance < bound)
    ]
    return [(i, j) for i, j in pairs if _colours(thumbnails, i, j) < _NEAR_COLOURS]


def _colours(thumbnails: Sequence[np.ndarray | None], i: int, j: int) -> float:
    """Largest difference of the colours' means and deviations, 0 to 1."""
    one, other = thumbnails[i], thumbnails[j]
    assert one is not None
    assert other is not None
    return float(np.abs(one[SIDE * SIDE :] - other[SIDE * SIDE :]).max())


def _normalized(
    thumbnails: Sequence[np.ndarray | None], places: Sequence[int]
) -> tuple[np.ndarray, list[int]]:
    """Grey values of mean 0 and length 1; pictures of one grey are left out."""
    rows, kept = [], []
    for i in places:
        thumbnail = thumbnails[i]
        if thumbnail is None:
            continue
        grey = thumbnail[: SIDE * SIDE] - thumbnail[: SIDE * SIDE].mean()
        length = float(np.linalg.norm(grey))
        if length > 0.02 * SIDE:  # a standard deviation of 2 %
            rows.append(grey / length)
            kept.append(i)
    return np.array(rows, np.float32).reshape(len(rows), SIDE * SIDE), kept


def _nearest(
    queries: np.ndarray, found: np.ndarray, skip: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the nearest (with `skip` 1: the second nearest), and its place."""
    distances, places = [], []
    for start in range(0, len(queries), _BLOCK):
        near = queries[start : start + _BLOCK] @ found.T
        order = np.argpartition(-near, skip, axis=1)[:, : skip + 1]
        values = np.take_along_axis(near, order, axis=1)
        last = np.take_along_axis(order, values.argmin(1)[:, None], axis=1)[:, 0]
        distances.append(np.sqrt(np.maximum(0, 2 - 2 * values.min(1))))
        places.append(last)
    return np.concatenate(distances), np.concatenate(places)
