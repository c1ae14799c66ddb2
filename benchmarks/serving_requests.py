"""Requests that carry one row each, and whether an answer is that row's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serving.tensorflow_core import tensorflow

tf = tensorflow()

from tensorflow_serving.apis import predict_pb2  # noqa: E402

# Batches of other sizes add in another order: a few units in the last place of float32.
TOLERANCE = 1e-4


def messages(name: str, signature: str, rows_path: Path) -> list[bytes]:
    """A serialized PredictRequest for each row of a model's `rows.npz`."""
    with np.load(rows_path, allow_pickle=True) as file:
        columns = {key: list(file[key]) for key in file.files}
    found = []
    for row in zip(*columns.values(), strict=True):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = name
        request.model_spec.signature_name = signature
        for key, value in zip(columns, row, strict=True):
            request.inputs[key].CopyFrom(tf.make_tensor_proto([value]))
        found.append(bytes(request.SerializeToString()))
    return found


class RowAnswers:
    """What each row's answer must be.

    Raises:
        ValueError: where two rows' answers are too alike to be told apart.
    """

    def __init__(self, expected: Mapping[str, Sequence[Any]]) -> None:
        self._expected = {key: np.array(value) for key, value in expected.items()}
        rows = [
            np.concatenate([np.ravel(value[row]) for value in self._expected.values()])
            for row in range(len(next(iter(self._expected.values()))))
        ]
        for index, one in enumerate(rows):
            for other in rows[:index]:
                if np.abs(one - other).max() < 5 * TOLERANCE:
                    raise ValueError(f"row {index} has the answer of another row")

    def is_right(self, row: int, answer: bytes) -> bool:
        """Whether a serialized PredictResponse answers that row and no other."""
        response = predict_pb2.PredictResponse.FromString(answer)
        for key, values in self._expected.items():
            found = tf.make_ndarray(response.outputs[key])
            if found.shape != (1, *values.shape[1:]):
                return False
            near = np.abs(found[0].astype(float) - values[row].astype(float))
            if not (near <= TOLERANCE).all():
                return False
        return True
