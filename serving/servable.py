"""One loaded version of a model: its signatures, and running them."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import grpc
import numpy as np

from serving import tensors
from serving.graph_function import Cancellation, GraphFunction
from serving.status import ServingError
from serving.tensorflow_core import load_text_ops
from serving.tensors import Array, tf

DEFAULT_SIGNATURE = "serving_default"
WARMUP_FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
# TF Serving's own limit; more is a mistake in the export.
MAX_WARMUP_RECORDS = 1000


class Servable:
    """A SavedModel in memory.

    Attributes:
        name: the model's name, as clients ask for it.
        version: its version number.
        path: the version's directory.
        tags: those of the graph in the SavedModel that is loaded.
        signature_defs: name -> `SignatureDef` proto, as stored in the SavedModel.

    Raises:
        OSError, ValueError, RuntimeError, tf.errors.OpError: where it cannot be loaded.
    """

    def __init__(
        self, name: str, version: int, path: str, tags: Sequence[str] = ("serve",)
    ) -> None:
        from tensorflow.python.saved_model import loader_impl

        self.name = name
        self.version = version
        self.path = path
        self.tags = tuple(tags)
        load_text_ops()
        graphs = loader_impl.parse_saved_model(path).meta_graphs
        graph = next(
            (g for g in graphs if set(g.meta_info_def.tags) == set(tags)), None
        )
        if graph is None:
            held = [sorted(g.meta_info_def.tags) for g in graphs]
            raise ValueError(
                f"{path} holds no graph with the tags {sorted(tags)}; it has {held}"
            )
        self.signature_defs: dict[str, Any] = dict(graph.signature_def)
        self._loaded = tf.saved_model.load(path, tags=list(tags))
        self._functions = {
            key: GraphFunction(function)
            for key, function in self._loaded.signatures.items()
        }

    def signature(self, name: str) -> Any:
        """The `SignatureDef` called `name`; the default one for "".

        Raises:
            ServingError: FAILED_PRECONDITION where there is none.
        """
        name = name or DEFAULT_SIGNATURE
        if name not in self._functions:
            raise ServingError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'Serving signature key "{name}" not found.',
            )
        return self.signature_defs[name]

    def run(
        self,
        signature: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str] = (),
        cancellation: Cancellation | None = None,
    ) -> dict[str, Array]:
        """Runs a signature on arrays.

        Args:
            signature: its name, or "" for `serving_default`.
            inputs: an array for each input: exact dtype (strings as object arrays of
                bytes) and a shape that the signature accepts.
            outputs: names of those to return; all when empty.
            cancellation: stops the run when cancelled.

        Raises:
            ServingError: FAILED_PRECONDITION for the signature, INVALID_ARGUMENT for
                inputs and outputs that do not fit it, or the code that the graph
                itself fails with.
        """
        definition = self.signature(signature)
        wanted = _wanted(definition, outputs)
        feed = _checked(definition, inputs)
        try:
            found = self._functions[signature or DEFAULT_SIGNATURE](feed, cancellation)
        except tf.errors.OpError as error:
            raise ServingError.from_number(error.error_code, error.message) from error
        return {name: found[name] for name in wanted}

    def warmup_records(self) -> Iterator[Any]:
        """The `PredictionLog` protos that came with the model, if any."""
        from tensorflow_serving.apis import prediction_log_pb2

        path = os.path.join(self.path, WARMUP_FILE)
        if tf.io.gfile.exists(path):
            records = tf.data.TFRecordDataset(path).take(MAX_WARMUP_RECORDS)
            for record in records.as_numpy_iterator():
                yield prediction_log_pb2.PredictionLog.FromString(record)


def _wanted(definition: Any, outputs: Sequence[str]) -> list[str]:
    seen: set[str] = set()
    for name in outputs:
        if name not in definition.outputs:
            known = ",".join(sorted(definition.outputs))
            raise ServingError.invalid(
                f"output tensor alias not found in signature: {name} "
                f"Outputs expected to be in the set {{{known}}}."
            )
        if name in seen:
            raise ServingError.invalid(f"duplicate output tensor alias: {name}")
        seen.add(name)
    return list(outputs) or sorted(definition.outputs)


def _checked(definition: Any, inputs: Mapping[str, Array]) -> dict[str, Any]:
    """Tensors for every input of the signature, or what is wrong with them."""
    known = set(definition.inputs)
    extra, missing = set(inputs) - known, known - set(inputs) - set(definition.defaults)
    if len(inputs) != len(known) and (extra or missing):
        raise ServingError.invalid(
            f"input size does not match signature: {len(inputs)}!={len(known)} "
            f"len({{{','.join(sorted(inputs))}}}) != "
            f"len({{{','.join(sorted(known))}}}). "
            f"Sent extra: {{{','.join(sorted(extra))}}}. "
            f"Missing but required: {{{','.join(sorted(missing))}}}."
        )
    if extra:
        raise ServingError.invalid(
            f"input tensor alias not found in signature: {sorted(extra)[0]}. "
            f"Inputs expected to be in the set {{{','.join(sorted(known))}}}."
        )
    feed = {}
    for name, info in definition.inputs.items():
        if name in inputs:
            array = inputs[name]
        else:
            array = tensors.to_array(definition.defaults[name])
        _check_one(name, info, array)
        feed[name] = tf.constant(array, tf.as_dtype(info.dtype))
    return feed


def _check_one(name: str, info: Any, array: Array) -> None:
    expected = tf.as_dtype(info.dtype)
    found = tf.string if array.dtype == object else tf.as_dtype(array.dtype)
    if found != expected:
        raise ServingError.invalid(
            f"input {name}: expected a tensor of {expected.name}, got {found.name}"
        )
    shape = tf.TensorShape(info.tensor_shape)
    if not shape.is_compatible_with(array.shape):
        raise ServingError.invalid(
            f"input {name}: expected shape {shape}, got {tuple(np.shape(array))}"
        )
