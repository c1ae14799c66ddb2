"""Arrays to the JSON of TF Serving's REST answers.

A float32 has its shortest text that reads back as the same float32, a whole float keeps
its `.0`, and what is not finite stands as bare `NaN`, `Infinity` or `-Infinity`. Strings
are UTF-8; outputs named `*_bytes` are `{"b64": ...}`.
"""

import base64
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import orjson

from serving.status import ServingError
from serving.tensors import Array

_PRINTABLE = (
    *("float32", "float64", "bool", "object"),
    *("int8", "int16", "int32", "int64", "uint8", "uint32", "uint64"),
)
# Elements printed by one call, which keeps the process's other threads waiting.
_PIECE = 16 * 1024


def answer(found: Mapping[str, Array], rows: bool) -> bytearray:
    """JSON text of a run's outputs; a single one is unnamed.

    Args:
        found: output name -> array; strings as object arrays of bytes.
        rows: `predictions`, one for each index of the 0th dimension, or `outputs`, one
            for each output.

    Raises:
        ServingError: INVALID_ARGUMENT where rows cannot be told apart, or for a dtype
            that JSON lacks.
    """
    if not found:
        raise ServingError.invalid("Cannot convert empty tensor map to JSON")
    for name, array in found.items():
        if array.dtype.name not in _PRINTABLE:
            raise ServingError.invalid(
                "Failed to write JSON value for tensor type: "
                f"{array.dtype.name} (output {name}); use gRPC"
            )
    columns = {name: _with_strings(name, array) for name, array in found.items()}
    if rows:
        _check_rows(columns)
    text = bytearray(b'{"predictions":' if rows else b'{"outputs":')
    for piece in _content(columns, rows):  # large ones grow in place
        text += piece
    text += b"}"
    return text


def _content(columns: Mapping[str, Array], rows: bool) -> Iterator[bytes]:
    if len(columns) == 1:
        yield from _text(next(iter(columns.values())))
    elif rows:
        yield b"["
        yield from _between_commas([one] for one in _rows(columns))
        yield b"]"
    else:
        yield b"{"
        yield from _between_commas(
            itertools.chain([orjson.dumps(name), b":"], _text(one))
            for name, one in columns.items()
        )
        yield b"}"


def _between_commas(items: Iterable[Iterable[bytes]]) -> Iterator[bytes]:
    for index, item in enumerate(items):
        if index:
            yield b","
        yield from item


def printable(array: Array) -> list[Any]:
    """What `orjson.dumps(..., option=orjson.OPT_SERIALIZE_NUMPY)` prints for each row.

    Args:
        array: of rank 1 or more, of strings or a numeric dtype.
    """
    if array.dtype == object:
        plain: list[Any] = array.tolist()
        return plain
    if array.size > _PIECE * len(array) or not _finite(array):
        return [orjson.Fragment(b"".join(_text(one))) for one in array]
    return list(np.ascontiguousarray(array))


def _check_rows(columns: Mapping[str, Array]) -> None:
    common = None
    for name, array in columns.items():
        reason = ""
        if array.ndim == 0:
            reason = "has no shape information"
        elif len(array) == 0:
            reason = "has invalid batch size: 0"
        elif common is not None and len(array) != common:
            reason = f"has inconsistent batch size: {len(array)} expecting: {common}"
        if reason:
            raise ServingError.invalid(
                f"Tensor name: {name} {reason}: row format needs outputs with one "
                "common 0th dimension. Send 'inputs' (column format) instead of "
                "'instances'"
            )
        common = len(array)


def _rows(columns: Mapping[str, Array]) -> Iterator[bytes]:
    count = len(next(iter(columns.values())))
    width = sum(array.size for array in columns.values()) // count
    step = max(1, _PIECE // max(1, width))
    for start in range(0, count, step):
        parts = [printable(array[start : start + step]) for array in columns.values()]
        rows = [
            dict(zip(columns, row, strict=True)) for row in zip(*parts, strict=True)
        ]
        yield orjson.dumps(rows, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]


def _text(array: Array) -> Iterator[bytes]:
    """JSON of an array of any rank, in pieces."""
    if array.ndim == 0 or array.size <= _PIECE:
        yield _piece(array)
        return
    width = array.size // len(array)
    step = _PIECE // width
    yield b"["
    if step == 0:
        yield from _between_commas(_text(one) for one in array)
    else:
        yield from _between_commas(
            [_piece(array[at : at + step])[1:-1]] for at in range(0, len(array), step)
        )
    yield b"]"


def _piece(array: Array) -> bytes:
    if array.dtype == object:
        return orjson.dumps(array.tolist())
    if array.ndim == 0:
        plain = array[()]
    else:
        plain = np.ascontiguousarray(array)
    text = orjson.dumps(plain, option=orjson.OPT_SERIALIZE_NUMPY)
    if _finite(array):
        return text
    # orjson prints these as null, and nothing else of an array.
    names = [_name(value) for value in array[~np.isfinite(array)].ravel().tolist()]
    between = text.split(b"null")
    return between[0] + b"".join(
        name + rest for name, rest in zip(names, between[1:], strict=True)
    )


def _finite(array: Array) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def _name(value: float) -> bytes:
    if math.isnan(value):
        return b"NaN"
    return b"Infinity" if value > 0 else b"-Infinity"


def _with_strings(name: str, array: Array) -> Array:
    """An array's bytes as what stands for them in JSON; other arrays as they are."""
    if array.dtype != object:
        return array
    strings = np.empty(array.size, object)
    if name.endswith("_bytes"):
        strings[:] = [
            {"b64": base64.b64encode(one).decode()} for one in array.ravel().tolist()
        ]
    else:
        strings[:] = [
            one.decode("utf-8", errors="replace") for one in array.ravel().tolist()
        ]
    return strings.reshape(array.shape)
