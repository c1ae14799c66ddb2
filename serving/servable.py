"""One loaded version of a model: its signatures, and running them."""

import contextlib
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import grpc
import numpy as np

from serving import files, tensors
from serving.graph_errors import asserted_words, safe_text
from serving.graph_function import Cancellation, GraphFunction
from serving.status import ServingError
from serving.tensorflow_core import load_text_ops
from serving.tensors import Array, tf

DEFAULT_SIGNATURE = "serving_default"
WARMUP_FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")


class _Input(NamedTuple):
    """What a signature takes: a DataType number, NumPy's dtype and the shape."""

    number: int
    dtype: "np.dtype[Any]"
    shape: tuple[int | None, ...] | None


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
        # Assets are read when the graph first needs them: the copy lives as long.
        stack = contextlib.ExitStack()
        weakref.finalize(self, stack.close)
        self._folder = stack.enter_context(files.local_folder(path))
        graphs = loader_impl.parse_saved_model(self._folder).meta_graphs
        graph = next(
            (g for g in graphs if set(g.meta_info_def.tags) == set(tags)), None
        )
        if graph is None:
            held = [sorted(g.meta_info_def.tags) for g in graphs]
            raise ValueError(
                f"{path} holds no graph with the tags {sorted(tags)}; it has {held}"
            )
        self.signature_defs: dict[str, Any] = dict(graph.signature_def)
        self._words = asserted_words(graph.graph_def.library.function)
        self._loaded = tf.saved_model.load(self._folder, tags=list(tags))
        self._functions = {
            key: GraphFunction(function)
            for key, function in self._loaded.signatures.items()
        }
        self._inputs = {
            key: _inputs(self.signature_defs[key]) for key in self._functions
        }
        self._dtypes = {
            key: {name: int(o.dtype) for name, o in definition.outputs.items()}
            for key, definition in self.signature_defs.items()
        }

    def has_signature(self, name: str) -> bool:
        """Whether there is a signature of that name."""
        return name in self._functions

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

    def output_dtypes(self, signature: str) -> Mapping[str, int]:
        """DataType number of each output of a signature that exists."""
        return self._dtypes[signature]

    def wanted(self, signature: str, outputs: Sequence[str]) -> Sequence[str]:
        """The outputs asked for: the given ones, all when there are none.

        Raises:
            ServingError: INVALID_ARGUMENT for one that is unknown or given twice.
        """
        known = self._dtypes[signature]
        if not outputs:
            return list(known)
        seen: set[str] = set()
        for name in outputs:
            if name not in known:
                raise ServingError.invalid(
                    f"output tensor alias not found in signature: {name} "
                    f"Outputs expected to be in the set {{{','.join(sorted(known))}}}."
                )
            if name in seen:
                raise ServingError.invalid(f"duplicate output tensor alias: {name}")
            seen.add(name)
        return list(outputs)

    def checked(self, signature: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """An array for every input of the signature, its defaults filled in.

        Args:
            signature: its name.
            inputs: an array for each input: exact dtype (strings as object arrays of
                bytes) and a shape that the signature accepts.

        Raises:
            ServingError: INVALID_ARGUMENT for what does not fit.
        """
        expected = self._inputs[signature]
        if inputs.keys() != expected.keys():
            inputs = _completed(self.signature_defs[signature], inputs)
        for name, (number, dtype, shape) in expected.items():
            array = inputs[name]
            if array.dtype != dtype:
                wants = tf.as_dtype(number).name
                found = "string" if array.dtype == object else array.dtype.name
                raise ServingError.invalid(
                    f"input {name}: expected a tensor of {wants}, got {found}"
                )
            if shape is not None and not _fits(shape, array.shape):
                raise ServingError.invalid(
                    f"input {name}: expected shape {tf.TensorShape(shape)}, "
                    f"got {array.shape}"
                )
        return dict(inputs)

    def execute(
        self,
        signature: str,
        inputs: Mapping[str, Array],
        cancellation: Cancellation | None = None,
    ) -> dict[str, Array]:
        """Runs a signature on arrays that `checked` has seen; gives every output.

        Raises:
            ServingError: with the code that the graph fails with, and no input value
                in its message.
        """
        function = self._functions[signature]
        expected = self._inputs[signature]
        try:
            feed = {
                name: function.tensor(array, expected[name].number)
                for name, array in inputs.items()
            }
            return function(feed, cancellation)
        except tf.errors.OpError as error:
            text = safe_text(error.message, self._words)
            raise ServingError.from_number(error.error_code, text) from None

    def run(
        self,
        signature: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str] = (),
        cancellation: Cancellation | None = None,
    ) -> dict[str, Array]:
        """Checks the inputs, runs a signature, and gives the outputs asked for.

        Args:
            signature: its name, or "" for `serving_default`.
            inputs: as `checked` takes them.
            outputs: names of those to return; all when empty.
            cancellation: stops the run when cancelled.

        Raises:
            ServingError: as `signature`, `wanted`, `checked` and `execute`.
        """
        signature = signature or DEFAULT_SIGNATURE
        self.signature(signature)
        feed = self.checked(signature, inputs)
        wanted = self.wanted(signature, outputs)
        found = self.execute(signature, feed, cancellation)
        return {name: found[name] for name in wanted}

    def warmup_records(self) -> Iterator[Any]:
        """The `PredictionLog` protos that came with the model, if any."""
        from tensorflow_serving.apis import prediction_log_pb2

        path = os.path.join(self._folder, WARMUP_FILE)
        if tf.io.gfile.exists(path):
            for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
                yield prediction_log_pb2.PredictionLog.FromString(record)


def _inputs(definition: Any) -> dict[str, _Input]:
    return {
        name: _Input(
            int(info.dtype),
            tensors.known_kind(info.dtype).dtype,
            None
            if info.tensor_shape.unknown_rank
            else tuple(tf.TensorShape(info.tensor_shape).as_list()),
        )
        for name, info in definition.inputs.items()
    }


def _fits(expected: tuple[int | None, ...], found: tuple[int, ...]) -> bool:
    return len(expected) == len(found) and all(
        size is None or size == have for size, have in zip(expected, found, strict=True)
    )


def _completed(definition: Any, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The inputs and the signature's defaults, or what is wrong with their names."""
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
    defaults = {
        name: tensors.to_array(definition.defaults[name])
        for name in known - set(inputs)
    }
    return {**defaults, **inputs}
