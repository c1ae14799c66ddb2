"""TensorProto to NumPy and back, as TF Serving reads and writes it.

Reads `tensor_content` and the typed fields (`float_val` ...), where, as in TensorFlow,
the last value of a typed field fills what is missing and none at all means zeros.
Writes the typed fields, TF Serving's default.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.tensorflow_core import tensorflow

tf = tensorflow()

Array = npt.NDArray[Any]

# A few bytes must not make the server allocate all of its memory.
_MAX_FILLED = 2**27

# DataType name -> the TensorProto field that carries its values.
_FIELDS = {
    "float32": "float_val",
    "float64": "double_val",
    "int8": "int_val",
    "int16": "int_val",
    "int32": "int_val",
    "uint8": "int_val",
    "uint16": "int_val",
    "int64": "int64_val",
    "uint32": "uint32_val",
    "uint64": "uint64_val",
    "bool": "bool_val",
    "string": "string_val",
    "float16": "half_val",
    "bfloat16": "half_val",
    "complex64": "scomplex_val",
    "complex128": "dcomplex_val",
}


def to_array(proto: Any) -> Array:
    """A TensorProto's values; strings come as an object array of bytes.

    Raises:
        ValueError: a dtype without values, an impossible shape, or values that do
            not fit it.
    """
    name = _known_dtype(proto.dtype)
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise ValueError("its shape is not fully known")
    count = math.prod(shape)
    if proto.tensor_content:
        if name == "string":
            return _strings(proto.tensor_content, count).reshape(shape)
        numpy_type = np.dtype(tf.as_dtype(name).as_numpy_dtype)
        if len(proto.tensor_content) != count * numpy_type.itemsize:
            raise ValueError(
                f"tensor_content holds {len(proto.tensor_content)} bytes, a {name} "
                f"tensor of shape {list(shape)} takes {count * numpy_type.itemsize}"
            )
        return np.frombuffer(proto.tensor_content, numpy_type).reshape(shape)
    return _filled(_typed(proto, name), count).reshape(shape)


def _known_dtype(number: int) -> str:
    try:
        name = str(tf.as_dtype(number).name)
    except TypeError:
        name = ""
    if name not in _FIELDS:
        raise ValueError(f"data type {number} is invalid or carries no values")
    return name


def _typed(proto: Any, name: str) -> Array:
    values = getattr(proto, _FIELDS[name])
    if name == "string":
        strings = np.empty(len(values), object)
        strings[:] = values
        return strings
    numpy_type = np.dtype(tf.as_dtype(name).as_numpy_dtype)
    if name in ("float16", "bfloat16"):
        return np.array(values, np.uint16).view(numpy_type)
    if name in ("complex64", "complex128"):
        parts = np.float32 if name == "complex64" else np.float64
        return np.array(values, parts).view(numpy_type)
    try:
        return np.array(values, numpy_type)
    except OverflowError as error:  # an int_val beyond int8, say
        raise ValueError(f"a value does not fit {name}") from error


def _filled(values: Array, count: int) -> Array:
    if len(values) >= count:
        return values[:count]
    if count > _MAX_FILLED:
        raise ValueError(
            f"its shape announces {count} values and it carries {len(values)}"
        )
    if len(values) == 0:
        empty: Any = b"" if values.dtype == object else 0
        return np.full(count, empty, values.dtype)
    filled = np.empty(count, values.dtype)
    filled[: len(values)] = values
    filled[len(values) :] = values[-1]
    return filled


def _strings(content: bytes, count: int) -> Array:
    """Strings as tensor_content packs them: varint lengths first, then all bytes."""
    lengths, at = [], 0
    for _ in range(count):
        length = shift = 0
        while True:
            if at >= len(content):
                raise ValueError("tensor_content ends inside its string lengths")
            byte = content[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        lengths.append(length)
    if at + sum(lengths) != len(content):
        raise ValueError("tensor_content does not hold the strings that it announces")
    strings = np.empty(count, object)
    for index, length in enumerate(lengths):
        strings[index] = content[at : at + length]
        at += length
    return strings


def to_proto(array: Array, proto: Any, dtype: int) -> None:
    """Fills a TensorProto with an array's values, in the typed field of its dtype."""
    name = str(tf.as_dtype(dtype).name)
    proto.dtype = dtype
    for size in array.shape:
        proto.tensor_shape.dim.add().size = size
    flat = array.ravel()
    if name in ("float16", "bfloat16"):
        flat = flat.view(np.uint16)
    elif name in ("complex64", "complex128"):
        flat = flat.view(np.float32 if name == "complex64" else np.float64)
    getattr(proto, _FIELDS[name]).extend(flat.tolist())
