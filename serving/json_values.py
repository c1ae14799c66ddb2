"""JSON values to the elements of an array, without converting any type."""

import binascii
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from serving.json_parser import type_name
from serving.status import ServingError
from serving.tensors import Array

FLOATS = ("float32", "float64")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint32", "uint64")


def is_base64(value: Any) -> bool:
    """Whether a value is `{"b64": "..."}`, which stands for bytes."""
    return type(value) is dict and len(value) == 1 and type(value.get("b64")) is str


def values(flat: list[Any], kind: str, place: Callable[[int], str]) -> Array:
    """JSON values as an array [len(flat)] of exactly that kind.

    Args:
        flat: values as `json_text` gives them, no lists among them.
        kind: name of a dtype; `string` gives an object array of bytes.
        place: where the value of an index stands in the request, for errors.

    Raises:
        ServingError: INVALID_ARGUMENT for the first value that does not fit.
    """
    types = set(map(type, flat))
    if kind == "string":
        return _strings(flat, place)
    if kind == "bool" and types <= {bool}:
        return np.array(flat, bool)
    if kind in INTEGERS and types <= {int}:
        limits = np.iinfo(kind)
        if not flat or (min(flat) >= limits.min and max(flat) <= limits.max):
            return np.array(flat, kind)
        raise _type_error(
            flat, kind, place, lambda one: limits.min <= one <= limits.max
        )
    if kind in FLOATS and types <= {int, float}:
        return _decimals(flat, kind, place, types)
    wanted = {"bool": (bool,), "float32": (int, float), "float64": (int, float)}
    allowed: tuple[type, ...] = wanted.get(kind, (int,))
    raise _type_error(flat, kind, place, lambda one: type(one) in allowed)


def _decimals(
    flat: list[Any], kind: str, place: Callable[[int], str], types: set[type]
) -> Array:
    """Floats: a whole number must be exact in them, a decimal only in their range."""
    exact: int = 2 ** (int(np.finfo(kind).nmant) + 1)
    most = float(np.finfo(kind).max)
    whole = [one for one in flat if type(one) is int] if int in types else []
    array = np.array(flat, np.float64)
    fits = not whole or (max(whole) < exact and min(whole) > -exact)
    if fits and not np.any(np.isfinite(array) & (np.abs(array) > most)):
        return array.astype(kind)

    def lossy(one: int | float) -> bool:
        if type(one) is int:
            return abs(one) >= exact
        return math.isfinite(one) and abs(one) > most

    at = next(at for at, one in enumerate(flat) if lossy(one))
    raise ServingError.invalid(
        f"Cannot convert JSON value at {place(at)} to {kind} without loss of precision."
    )


def _strings(flat: list[Any], place: Callable[[int], str]) -> Array:
    array = np.empty(len(flat), object)
    for at, one in enumerate(flat):
        if type(one) is str:
            array[at] = one.encode()
        elif type(one) is dict:
            array[at] = from_base64(one, place(at))
        else:
            raise _type_error(flat, "string", place, lambda v: type(v) in (str, dict))
    return array


def _type_error(
    flat: list[Any],
    kind: str,
    place: Callable[[int], str],
    fits: Callable[[Any], bool],
) -> ServingError:
    at = next(at for at, one in enumerate(flat) if not fits(one))
    return ServingError.invalid(
        f"JSON Value at {place(at)} Type: {type_name(flat[at])} is not of expected "
        f"type: {kind}"
    )


def from_base64(value: Any, place: str) -> bytes:
    """The bytes of `{"b64": "..."}`: padding is optional and white space is skipped.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    if not is_base64(value):
        raise ServingError.invalid(
            f"JSON Value at {place} not formatted correctly for base64 data"
        )
    text = value["b64"]
    found = _decoded(text)
    if found is None:
        found = _decoded("".join(text.split()))
    if found is None:
        raise ServingError.invalid(f"Unable to base64 decode the value at {place}")
    return found


def _decoded(text: str) -> bytes | None:
    bare = text.rstrip("=")
    pads = len(text) - len(bare)
    if len(bare) % 4 == 1 or (pads and (pads > 2 or len(text) % 4)):
        return None
    try:
        found = binascii.a2b_base64(text if pads else text + "=" * (-len(bare) % 4))
    except ValueError:  # binascii.Error too
        return None
    # Characters outside of the alphabet are skipped by binascii.
    return found if len(found) == len(bare) * 3 // 4 else None
