"""Writes a PredictResponse as bytes: a sixth of the time that building the proto takes.

The bytes are a serialization of the same message; its map's entries come last.
"""

import functools
import itertools
from collections.abc import Mapping

from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import predict_pb2

from serving import tensors
from serving.tensors import Array

_BYTES = 2  # wire type: a length, then that many bytes
_CONTENT = 4  # TensorProto.tensor_content
# Types whose typed field, packed, is the array's bytes -> the field's number.
_RAW = {"float32": 5, "float64": 6, "complex64": 9, "bool": 11, "complex128": 12}


def write(
    model: str,
    version: int,
    signature: str,
    outputs: Mapping[str, Array],
    dtypes: Mapping[str, int],
    content: bool = False,
) -> bytes:
    """The bytes of a PredictResponse.

    Args:
        model: name in its ModelSpec.
        version: version in its ModelSpec.
        signature: signature in its ModelSpec.
        outputs: an array for each output name.
        dtypes: DataType number of each output.
        content: write `tensor_content` instead of typed fields where there is one.
    """
    parts = [_spec(model, version, signature)]
    for name, array in outputs.items():
        tensor = _tensor_bytes(array, dtypes[name], content)
        key = name.encode()
        entry = b"".join((_head(1, len(key)), key, _head(2, len(tensor)), tensor))
        parts += _head(1, len(entry)), entry
    return b"".join(parts)


@functools.lru_cache(256)
def _spec(model: str, version: int, signature: str) -> bytes:
    response = predict_pb2.PredictResponse()
    spec = response.model_spec
    spec.name, spec.signature_name = model, signature
    spec.version.value = version
    return bytes(response.SerializeToString())


@functools.lru_cache(1024)
def _dtype_and_shape(dtype: int, shape: tuple[int, ...]) -> bytes:
    head = TensorProto(dtype=dtype)
    head.tensor_shape.SetInParent()  # a scalar's is there, and empty
    for size in shape:
        head.tensor_shape.dim.add().size = size
    return bytes(head.SerializeToString())


def _tensor_bytes(array: Array, dtype: int, content: bool) -> bytes:
    """The bytes of a TensorProto."""
    head = _dtype_and_shape(dtype, array.shape)
    kind = tensors.KINDS[dtype]
    if array.size == 0:
        return head
    if kind.name == "string":
        values = [bytes(value) for value in array.ravel().tolist()]
        pairs = [(_head(8, len(value)), value) for value in values]
        return b"".join([head, *itertools.chain.from_iterable(pairs)])
    # Packed, bools are one byte each and floats are as NumPy stores them.
    field = _CONTENT if content else _RAW.get(kind.name)
    if field is not None:
        raw = array.tobytes()
        return b"".join((head, _head(field, len(raw)), raw))
    proto = TensorProto()
    tensors.add_values(proto, array, kind)
    return head + bytes(proto.SerializeToString())


@functools.lru_cache(4096)
def _head(field: int, length: int) -> bytes:
    """Tag and length of a length-delimited field."""
    encoded = bytearray([field << 3 | _BYTES])
    while length >= 0x80:
        encoded.append(length & 0x7F | 0x80)
        length >>= 7
    encoded.append(length)
    return bytes(encoded)
