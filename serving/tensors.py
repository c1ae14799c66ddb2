"""TensorProto to NumPy and back, as TF Serving reads and writes it.

Reads `tensor_content` and the typed fields (`float_val` ...), where, as in TensorFlow,
the last value of a typed field fills what is missing and none at all means zeros.
Writes the typed fields, TF Serving's default, or `tensor_content`.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from serving.options import Limits
from serving.tensorflow_core import tensorflow

tf = tensorflow()

Array = npt.NDArray[Any]


class Kind(NamedTuple):
    """How a TensorProto carries one data type.

    Attributes:
        name: TensorFlow's name of it.
        dtype: NumPy's dtype of an array; `object` for strings.
        field: the typed field of TensorProto.
        stored: NumPy's dtype of the typed field's values, where it is another: halves
            are carried as their bits, complex numbers as pairs.
    """

    name: str
    dtype: "np.dtype[Any]"
    field: str
    stored: "np.dtype[Any]"


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
_STORED = {
    "float16": np.uint16,
    "bfloat16": np.uint16,
    "complex64": np.float32,
    "complex128": np.float64,
}


def _kind(name: str) -> Kind:
    dtype = np.dtype(object if name == "string" else tf.as_dtype(name).as_numpy_dtype)
    return Kind(name, dtype, _FIELDS[name], np.dtype(_STORED.get(name, dtype)))


# DataType number of a TensorProto -> how it is carried.
KINDS = {int(tf.as_dtype(name).as_datatype_enum): _kind(name) for name in _FIELDS}

MAX_ELEMENTS = Limits().max_tensor_elements
# How many elements a tensor of few values may be filled up to with its last one: a few
# bytes must not make the server allocate all of its memory. A single value is repeated
# without being copied.
_MAX_FILLED = 2**24


def to_array(proto: Any, max_elements: int = MAX_ELEMENTS) -> Array:
    """A TensorProto's values; strings come as an object array of bytes.

    The array may be read-only, and one value that fills it may be stored once.

    Raises:
        ValueError: a dtype without values, an impossible shape, more elements than
            `max_elements`, or values that do not fit the shape. The message quotes no
            value.
    """
    kind = known_kind(proto.dtype)
    shape, count = known_shape(proto.tensor_shape, max_elements)
    content = proto.tensor_content
    if content:
        if kind.name == "string":
            return _strings(content, count).reshape(shape)
        return content_array(content, 0, len(content), kind, shape, count)
    return filled(_typed(proto, kind), shape, count)


def known_kind(number: int) -> Kind:
    """How the data type `number` is carried.

    Raises:
        ValueError: where it is none that carries values.
    """
    kind = KINDS.get(number)
    if kind is None:
        raise ValueError(f"data type {number} is invalid or carries no values")
    return kind


def known_shape(proto: Any, max_elements: int) -> tuple[tuple[int, ...], int]:
    """A TensorShapeProto's dimensions and their product.

    Raises:
        ValueError: where they are not all known, or too many elements.
    """
    shape = tuple([dim.size for dim in proto.dim])
    if proto.unknown_rank or (shape and min(shape) < 0):
        raise ValueError("its shape is not fully known")
    count = math.prod(shape)
    if count > max_elements:
        raise ValueError(
            f"its shape announces {count} values, more than the limit of {max_elements}"
        )
    return shape, count


def content_array(
    data: bytes, start: int, stop: int, kind: Kind, shape: tuple[int, ...], count: int
) -> Array:
    """A view of the bytes from `start` to `stop`, which are a `tensor_content`.

    Raises:
        ValueError: where they are not as many as the shape takes.
    """
    if stop - start != count * kind.dtype.itemsize:
        raise ValueError(
            f"tensor_content holds {stop - start} bytes, a {kind.name} tensor of "
            f"shape {list(shape)} takes {count * kind.dtype.itemsize}"
        )
    return np.frombuffer(data, kind.dtype, count, start).reshape(shape)


def _typed(proto: Any, kind: Kind) -> Array:
    values = getattr(proto, kind.field)
    if kind.name == "string":
        strings = np.empty(len(values), object)
        strings[:] = values
        return strings
    if kind.field in ("int_val", "half_val"):  # int32 on the wire, whatever the dtype
        wide = np.array(values[:], np.int64)
        bounds = np.iinfo(kind.stored)
        if wide.size and (wide.min() < bounds.min or wide.max() > bounds.max):
            raise ValueError(f"a value does not fit {kind.name}")
        stored = wide.astype(kind.stored)
    else:
        stored = np.array(values[:], kind.stored)  # a list is read the fastest
    if kind.stored is kind.dtype:
        return stored
    if kind.name.startswith("complex"):  # a lone real part is no number
        stored = stored[: len(stored) // 2 * 2]
    return stored.view(kind.dtype)


def filled(values: Array, shape: tuple[int, ...], count: int) -> Array:
    """The values of a typed field in their shape, the last one repeated as needed.

    Raises:
        ValueError: where so few values would take too much memory.
    """
    if len(values) >= count:
        return values[:count].reshape(shape)
    if len(values) == 0:
        empty: Any = b"" if values.dtype == object else 0
        return np.broadcast_to(np.array(empty, values.dtype), shape)
    if len(values) == 1:
        return np.broadcast_to(values.reshape(()), shape)
    if count > _MAX_FILLED:
        raise ValueError(
            f"its shape announces {count} values and it carries {len(values)}"
        )
    full = np.empty(count, values.dtype)
    full[: len(values)] = values
    full[len(values) :] = values[-1]
    return full.reshape(shape)


def _strings(content: bytes, count: int) -> Array:
    """Strings as tensor_content packs them: varint lengths first, then all bytes."""
    if count > len(content):  # each takes at least its length's byte
        raise ValueError("tensor_content ends inside its string lengths")
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
            if shift > 28:  # lengths are 32 bits wide
                raise ValueError("tensor_content holds an impossible string length")
        lengths.append(length)
    if at + sum(lengths) != len(content):
        raise ValueError("tensor_content does not hold the strings that it announces")
    strings = np.empty(count, object)
    for index, length in enumerate(lengths):
        strings[index] = content[at : at + length]
        at += length
    return strings


def to_proto(array: Array, proto: Any, dtype: int, content: bool = False) -> None:
    """Fills a TensorProto with an array's values.

    Args:
        array: the values.
        proto: an empty TensorProto.
        dtype: its DataType number.
        content: write `tensor_content` instead of the typed field of the dtype;
            strings are always typed.
    """
    kind = KINDS[dtype]
    proto.dtype = dtype
    for size in array.shape:
        proto.tensor_shape.dim.add().size = size
    if content and kind.name != "string":
        proto.tensor_content = array.tobytes()
        return
    add_values(proto, array, kind)


def add_values(proto: Any, array: Array, kind: Kind) -> None:
    """Writes an array's values into the typed field of a TensorProto."""
    flat = array.ravel()
    if kind.stored is not kind.dtype:
        flat = flat.view(kind.stored)
    getattr(proto, kind.field).extend(flat.tolist())
