"""Requests that explain an answer: the same row again and again, without some inputs.

The playground tells each input's part in an answer by asking for every subset of a row's
inputs, 2^n rows for one question. Its client marks these requests in their metadata, and
the server counts them apart: as API `Explain`, so that they are seen, and not among the
requests, inputs, answers and logs that tell what people ask.

The mark alone hides nothing: a marked request counts as any other unless its rows are
different subsets of one row's inputs. So at most one real row fits into it, whatever it
is marked as.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from serving.tensors import Array

API = "Explain"
"""What such requests are counted as, where others of Predict are `Predict`."""

METADATA = ("polymodal-purpose", "explanation")
"""gRPC metadata that marks a request."""


def is_marked(metadata: Iterable[tuple[str, Any]] | None) -> bool:
    """Whether a request's metadata holds the mark."""
    return any((key, value) == METADATA for key, value in metadata or ())


def are_subsets(inputs: Mapping[str, Array]) -> bool:
    """Whether all rows are different subsets of one row's inputs.

    Args:
        inputs: of `serving_raw`: [rows] of bytes (b"" = absent) or of float32 (NaN).
    """
    shown = []
    for array in inputs.values():
        column = np.reshape(array, -1)
        there = column != b"" if column.dtype == object else ~np.isnan(column)
        there = np.asarray(there, bool)
        present = column[there].tolist()  # NumPy drops zeros at the end of bytes
        if any(one != present[0] for one in present):
            return False
        shown.append(there)
    if not shown or len({len(one) for one in shown}) != 1:
        return False
    rows = np.stack(shown, axis=1)
    if len(rows) == 1:  # of one row, only the one without any input explains
        return not rows.any()
    return len(np.unique(rows, axis=0)) == len(rows)
