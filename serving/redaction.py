"""Takes input values out of logged requests; what else they say stays."""

from collections.abc import Collection, Iterable
from typing import Any

from serving.tensors import tf

ALL = "all"
# The input of `serving_default`: each value is a serialized tf.Example.
_EXAMPLES = "examples"


class Redaction:
    """Empties inputs by name; `all` empties every one.

    A tensor keeps dtype and shape: strings become "", floats NaN (which this project's
    signatures read as absent), other types 0. A feature of a tf.Example keeps its kind
    and loses its values.
    """

    def __init__(self, names: Collection[str] = ()) -> None:
        self._names = frozenset(names)

    def _covers(self, name: str) -> bool:
        return ALL in self._names or name in self._names

    def request(self, request: Any) -> None:
        """Redacts a Predict, Classify, Regress or MultiInference request in place."""
        if not self._names:
            return
        if hasattr(request, "inputs"):
            for name, tensor in request.inputs.items():
                if self._covers(name):
                    _empty(tensor)
                elif name == _EXAMPLES and tensor.dtype == tf.string.as_datatype_enum:
                    self._serialized_examples(tensor)
            return
        kind = request.input.WhichOneof("kind")
        if kind is None:
            return
        given = getattr(request.input, kind)
        self._examples(given.examples)
        if kind == "example_list_with_context":
            self._examples([given.context])

    def _examples(self, examples: Iterable[Any]) -> None:
        for example in examples:
            for name, feature in example.features.feature.items():
                kind = feature.WhichOneof("kind")
                if kind is not None and self._covers(name):
                    del getattr(feature, kind).value[:]

    def _serialized_examples(self, tensor: Any) -> None:
        def redacted(data: bytes) -> bytes:
            try:
                example = tf.train.Example.FromString(data)
            except Exception:  # DecodeError: nothing in it is known to be harmless
                return b""
            self._examples([example])
            return bytes(example.SerializeToString())

        if tensor.tensor_content:  # strings behind their lengths: rare, not worth it
            _empty(tensor)
        else:
            tensor.string_val[:] = [redacted(value) for value in tensor.string_val]


def _empty(tensor: Any) -> None:
    """Leaves dtype and shape: one value fills a TensorProto, none means zeros."""
    dtype = tf.as_dtype(tensor.dtype)
    values: list[Any] = []
    if all(dim.size for dim in tensor.tensor_shape.dim):
        values = [b""] * (dtype == tf.string) + [float("nan")] * dtype.is_floating
    empty = tf.make_tensor_proto(values, dtype, shape=[len(values)])
    empty.tensor_shape.CopyFrom(tensor.tensor_shape)
    tensor.CopyFrom(empty)
