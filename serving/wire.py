"""Reads a PredictRequest out of its bytes, without copies.

Protobuf copies a tensor twice and hands out `float_val` as Python floats: 6 ms for a
224 x 224 x 3 picture. On the wire, a packed `float_val` and a `tensor_content` are the
numbers themselves, so an array can be a view of the request's bytes (0.03 ms). Only
large requests gain from it; small ones, and everything unusual, take the protobuf way.
What the two ways give is the same.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.framework.tensor_shape_pb2 import TensorShapeProto
from tensorflow_serving.apis import model_pb2, predict_pb2

from serving import tensors
from serving.status import ServingError
from serving.tensors import Array

# Below this protobuf is as fast.
_SMALL = 16 * 1024

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_STRINGS = b"\x08\x07"  # how a TensorProto of dtype string begins
# Field numbers of TensorProto.
_DTYPE, _SHAPE, _CONTENT = 1, 2, 4
# Typed fields whose packed values are the numbers as NumPy stores them.
_PACKED = {5: "float_val", 6: "double_val", 9: "scomplex_val", 12: "dcomplex_val"}


class Request:
    """A PredictRequest whose tensors are read when they are asked for.

    Attributes:
        model_spec: its ModelSpec, None where it has none.
        output_filter: names of the outputs asked for, all when empty.

    Raises:
        ServingError: INVALID_ARGUMENT for bytes that are none.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._places: dict[str, tuple[int, int]] | None = None
        self.model_spec: Any = None
        self.output_filter: Sequence[str] = ()
        if len(data) >= _SMALL:
            try:
                self._scan()
                return
            except _Unusual:
                pass
        self._parse()

    def HasField(self, name: str) -> bool:
        """As a proto's, for `Models.use`."""
        return name == "model_spec" and self.model_spec is not None

    def inputs(self, max_elements: int = tensors.MAX_ELEMENTS) -> dict[str, Array]:
        """An array for each input name.

        Raises:
            ServingError: INVALID_ARGUMENT for a malformed tensor, which it names.
        """
        if self._places is not None:
            try:
                return {
                    name: _named(_tensor, name, self._data, start, stop, max_elements)
                    for name, (start, stop) in self._places.items()
                }
            except _Unusual:
                self._parse()
        return inputs(self._message, max_elements)

    def _parse(self) -> None:
        try:
            self._message = predict_pb2.PredictRequest.FromString(self._data)
        except Exception as error:  # DecodeError, of whichever protobuf implementation
            raise ServingError.invalid("the request is not a PredictRequest") from error
        spec, known = self._message.model_spec, self._message.HasField("model_spec")
        self.model_spec = spec if known else None
        self.output_filter = list(self._message.output_filter)

    def _scan(self) -> None:
        data = self._data
        spec = None
        places: dict[str, tuple[int, int]] = {}
        outputs: list[str] = []
        for field, kind, start, stop in _fields(data, 0, len(data)):
            if field == 1 and kind == _BYTES and spec is None:
                spec = _parsed(model_pb2.ModelSpec, data, start, stop)
            elif field == 2 and kind == _BYTES:
                name, at, end = _entry(data, start, stop)
                places[name] = at, end
            elif field == 3 and kind == _BYTES:
                outputs.append(_text(data, start, stop))
            else:
                raise _Unusual
        if all(data.startswith(_STRINGS, at) for at, _ in places.values()):
            raise _Unusual  # protobuf is as fast with strings
        self.model_spec, self.output_filter, self._places = spec, outputs, places


class _Unusual(Exception):
    """Bytes for protobuf: rare, or no message at all."""


def inputs(message: Any, max_elements: int = tensors.MAX_ELEMENTS) -> dict[str, Array]:
    """The arrays of a PredictRequest message, by input name.

    Raises:
        ServingError: INVALID_ARGUMENT for a malformed tensor, which it names.
    """
    found = message.inputs
    return {  # `items()` of a protobuf map takes as long as all the rest
        name: _named(tensors.to_array, name, found[name], max_elements)
        for name in found
    }


def _named(read: Callable[..., Array], name: str, *arguments: Any) -> Array:
    try:
        return read(*arguments)
    except ValueError as error:
        raise ServingError.invalid(f"tensor parsing error: {name}: {error}") from error


def _entry(data: bytes, start: int, stop: int) -> tuple[str, int, int]:
    """Name of a map entry, and where its TensorProto lies."""
    name: str | None = None
    place: tuple[int, int] | None = None
    for field, kind, at, end in _fields(data, start, stop):
        if kind == _BYTES and field == 1 and name is None:
            name = _text(data, at, end)
        elif kind == _BYTES and field == 2 and place is None:
            place = at, end
        else:
            raise _Unusual
    if name is None or place is None:
        raise _Unusual
    return (name, *place)


def _tensor(data: bytes, start: int, stop: int, max_elements: int) -> Array:
    dtype, shape = 0, None
    values: tuple[int, int, int] | None = None
    for field, kind, at, end in _fields(data, start, stop):
        if field == _DTYPE and kind == _VARINT:
            dtype = at  # its value
        elif field == _SHAPE and kind == _BYTES and shape is None:
            shape = _parsed(TensorShapeProto, data, at, end)
        elif (field == _CONTENT or field in _PACKED) and kind == _BYTES:
            if values is not None:
                raise _Unusual
            values = field, at, end
        else:
            return _whole(data, start, stop, max_elements)
    known = tensors.KINDS.get(dtype)
    if known is None or values is None or known.name == "string" or shape is None:
        return _whole(data, start, stop, max_elements)
    field, at, end = values
    size, count = tensors.known_shape(shape, max_elements)
    if field == _CONTENT and end > at:
        return tensors.content_array(data, at, end, known, size, count)
    if _PACKED.get(field) != known.field or (end - at) % known.dtype.itemsize:
        return _whole(data, start, stop, max_elements)
    carried = (end - at) // known.dtype.itemsize
    return tensors.filled(np.frombuffer(data, known.dtype, carried, at), size, count)


def _whole(data: bytes, start: int, stop: int, max_elements: int) -> Array:
    return tensors.to_array(_parsed(TensorProto, data, start, stop), max_elements)


def _parsed(message: Any, data: bytes, start: int, stop: int) -> Any:
    try:
        return message.FromString(data[start:stop])
    except Exception as error:  # DecodeError
        raise _Unusual from error


def _text(data: bytes, start: int, stop: int) -> str:
    try:
        return data[start:stop].decode()
    except UnicodeDecodeError as error:
        raise _Unusual from error


def _fields(data: bytes, at: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """Yields field number, wire type, start and end; a varint's start is its value."""
    while at < stop:
        tag, at = _varint(data, at, stop)
        field, kind = tag >> 3, tag & 7
        if field == 0:  # which no message has
            raise _Unusual
        if kind == _BYTES:
            length, at = _varint(data, at, stop)
            end = at + length
            if end > stop:
                raise _Unusual
            yield field, kind, at, end
        elif kind == _VARINT:
            value, end = _varint(data, at, stop)
            yield field, kind, value, end
        else:
            raise _Unusual
        at = end


def _varint(data: bytes, at: int, stop: int) -> tuple[int, int]:
    value = shift = 0
    while at < stop and shift < 35:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _Unusual  # cut off, or longer than anything that is scanned here
