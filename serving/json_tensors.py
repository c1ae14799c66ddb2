"""JSON of TF Serving's REST predict calls to arrays and back.

Row format: `instances` in, `predictions` out. Column format: `inputs` in, `outputs`
out. Types are never converted: 1.5 is no int32 and 1 is no bool.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from serving.status import ServingError
from serving.tensors import Array, tf

_MAX_RANK = 32  # NumPy's
_FLOATS = ("float32", "float64")
_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


@dataclass(frozen=True)
class JsonRequest:
    """A parsed body: signature name or "", row or column format, and what it holds."""

    signature: str
    rows: bool
    content: Any


def parse(body: bytes) -> JsonRequest:
    """Reads a predict call's body.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ServingError.invalid(f"JSON Parse error: {error}") from error
    if not isinstance(document, dict):
        raise ServingError.invalid(f"JSON Value: {_short(document)} Is not object")
    signature = document.get("signature_name", "")
    if not isinstance(signature, str):
        raise ServingError.invalid("'signature_name' key must be a string value.")
    if "instances" in document and "inputs" in document:
        raise ServingError.invalid(
            "Not formatted correctly expecting only one of 'inputs' or 'instances' "
            "keys to exist"
        )
    if "inputs" in document:
        return JsonRequest(signature, False, document["inputs"])
    if "instances" not in document:
        raise ServingError.invalid("Missing 'inputs' or 'instances' key")
    instances = document["instances"]
    if not isinstance(instances, list):
        raise ServingError.invalid("Expecting 'instances' to be a list/array")
    if not instances:
        raise ServingError.invalid("No values in 'instances' array")
    return JsonRequest(signature, True, instances)


def inputs(request: JsonRequest, definition: Any) -> dict[str, Array]:
    """Arrays for a signature's inputs.

    Raises:
        ServingError: INVALID_ARGUMENT, or UNIMPLEMENTED for types that JSON lacks.
    """
    names = sorted(definition.inputs)
    if request.rows:
        columns = _columns(request.content, names)
    elif isinstance(request.content, dict) and not _is_b64(request.content):
        missing = [name for name in names if name not in request.content]
        if missing:
            raise ServingError.invalid(
                f"Missing named input: {', '.join(missing)} in 'inputs' object."
            )
        columns = {name: request.content[name] for name in names}
    elif len(names) == 1:
        columns = {names[0]: request.content}
    else:
        raise ServingError.invalid(
            "inputs is a plain value/list, but expecting an object as multiple input "
            f"tensors required: {', '.join(names)}"
        )
    return {
        name: to_array(value, definition.inputs[name].dtype, name)
        for name, value in columns.items()
    }


def _columns(instances: list[Any], names: list[str]) -> dict[str, Any]:
    named = isinstance(instances[0], dict) and not _is_b64(instances[0])
    if not named:
        if len(names) != 1:
            raise ServingError.invalid(
                "instances is a plain list, but expecting list of objects as multiple "
                f"input tensors required: {', '.join(names)}"
            )
        for index, one in enumerate(instances):
            if isinstance(one, dict) and not _is_b64(one):
                raise ServingError.invalid(
                    f"Expecting value/list but got object at item {index} of input list"
                )
        return {names[0]: instances}
    for index, one in enumerate(instances):
        if not isinstance(one, dict):
            raise ServingError.invalid(
                f"Expecting object but got list at item {index} of input list"
            )
        if sorted(one) != names:
            raise ServingError.invalid(
                f"Failed to process element: {index} of 'instances' list. Its keys "
                f"{','.join(sorted(one))} must be equal to: {','.join(names)}"
            )
    return {name: [one[name] for one in instances] for name in names}


def _is_b64(value: Any) -> bool:
    return (isinstance(value, dict) and list(value) == ["b64"]) and isinstance(
        value["b64"], str
    )


def to_array(value: Any, dtype: int, name: str) -> Array:
    """A nested JSON list (or a bare value) as an array of exactly that dtype.

    Raises:
        ServingError: INVALID_ARGUMENT for ragged lists and wrong types,
            UNIMPLEMENTED for a dtype that JSON cannot carry.
    """
    kind = str(tf.as_dtype(dtype).name)
    if kind not in (*_FLOATS, *_INTEGERS, "bool", "string"):
        raise ServingError(
            grpc.StatusCode.UNIMPLEMENTED,
            f"Conversion of JSON to type {kind} (input {name}); use gRPC",
        )
    shape, at = [], value
    while isinstance(at, list):
        shape.append(len(at))
        at = at[0] if at else None
    if len(shape) > _MAX_RANK:
        raise ServingError.invalid(
            f"input {name}: lists nested deeper than {_MAX_RANK} levels"
        )
    leaves: list[Any] = []
    _flatten(value, shape, 0, leaves, name)
    values = [_leaf(leaf, kind, name) for leaf in leaves]
    array = np.empty(len(values), object)
    array[:] = values
    if kind != "string":
        try:
            array = np.array(values, np.dtype(kind))
        except OverflowError as error:
            raise ServingError.invalid(
                f"input {name}: a value does not fit {kind}"
            ) from error
    return array.reshape(shape)


def _flatten(
    value: Any, shape: list[int], level: int, leaves: list[Any], name: str
) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise ServingError.invalid(
                f"input {name}: JSON Value: {_short(value)} found at incorrect level: "
                f"{level} in the JSON DOM. Expected at level: {len(shape)}"
            )
        leaves.append(value)
        return
    if level >= len(shape) or len(value) != shape[level]:
        expected = shape[level] if level < len(shape) else "a value"
        raise ServingError.invalid(
            f"input {name}: Encountered list at unexpected size: {len(value)} at "
            f"level: {level} expected size: {expected}"
        )
    for one in value:
        _flatten(one, shape, level + 1, leaves, name)


def _leaf(value: Any, kind: str, name: str) -> Any:
    if kind == "string":
        if isinstance(value, str):
            return value.encode()
        if _is_b64(value):
            try:
                return base64.b64decode(value["b64"], validate=True)
            except binascii.Error as error:
                raise ServingError.invalid("Unable to base64 decode") from error
    elif kind == "bool":
        if isinstance(value, bool):
            return value
    elif isinstance(value, bool):
        pass
    elif kind in _INTEGERS:
        if isinstance(value, int):
            limits = np.iinfo(kind)
            if limits.min <= value <= limits.max:
                return value
    elif isinstance(value, (int, float)):
        digits = np.finfo(kind).nmant + 1
        exact = isinstance(value, float) or abs(value) < 2**digits
        if exact and (not np.isfinite(value) or abs(value) <= np.finfo(kind).max):
            return float(value)
        raise ServingError.invalid(
            f"Cannot convert JSON value: {_short(value)} to {kind} without loss of "
            f"precision (input {name})."
        )
    raise ServingError.invalid(
        f"JSON Value: {_short(value)} is not of expected type: {kind} (input {name})"
    )


def outputs(found: Mapping[str, Array], rows: bool) -> str:
    """JSON text of a run's outputs in row or column format; a single one is unnamed.

    Raises:
        ServingError: INVALID_ARGUMENT where rows cannot be told apart.
    """
    if rows:
        sizes = {name: array.shape[:1] for name, array in found.items()}
        if len(set(sizes.values())) != 1 or () in sizes.values():
            raise ServingError.invalid(
                "row format needs outputs with one common 0th dimension, got shapes "
                + ", ".join(f"{n}: {list(a.shape)}" for n, a in sorted(found.items()))
                + ". Use 'inputs' (column format)."
            )
    plain = {name: _plain(name, array) for name, array in found.items()}
    if len(plain) == 1:
        content: Any = next(iter(plain.values()))
    elif rows:
        content = [
            dict(zip(plain, row, strict=True))
            for row in zip(*plain.values(), strict=True)
        ]
    else:
        content = plain
    return json.dumps(
        {"predictions" if rows else "outputs": content}, ensure_ascii=False
    )


def _plain(name: str, array: Array) -> Any:
    if array.dtype == object:
        as_bytes = name.endswith("_bytes")
        flat = [_string(value, as_bytes) for value in array.ravel()]
    elif array.dtype == np.float64 or array.dtype.kind in "biu":
        return array.tolist()
    else:  # the shortest text that gives the same float32 again
        texts = array.astype(np.float32).ravel().astype(str)
        flat = [float(text) for text in texts]
    shaped = np.empty(len(flat), object)
    shaped[:] = flat
    return shaped.reshape(array.shape).tolist()


def _string(value: bytes, as_bytes: bool) -> Any:
    if as_bytes:
        return {"b64": base64.b64encode(value).decode()}
    return value.decode("utf-8", errors="replace")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else text[:100] + "..."
