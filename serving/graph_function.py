"""Runs one signature of a loaded SavedModel so that it can be stopped.

A signature called the usual way cannot be cancelled safely by several threads at once:
TensorFlow 2.16 keeps the current cancellation manager in a module variable. Executing
the function by its name takes the manager as an argument instead, stops within a few
milliseconds, and skips Python wrappers that cost as much as a small model.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from serving.tensors import Array, tf


class Cancellation:
    """Stops the run that it is given to; `cancel` may be called by any thread."""

    def __init__(self) -> None:
        from tensorflow.python.eager import cancellation

        self.manager = cancellation.CancellationManager()

    def cancel(self) -> None:
        """Stops the run; does nothing once it is over."""
        self.manager.start_cancel()


class GraphFunction:
    """A signature function of `tf.saved_model.load(...).signatures`, by input name."""

    def __init__(self, function: Any) -> None:
        from tensorflow.python import pywrap_tfe
        from tensorflow.python.eager import context, core
        from tensorflow.python.framework import errors, ops

        self._function = function  # keeps the graph and what it captured
        self._names = list(function._arg_keywords)
        self._captured = list(function.captured_inputs)
        self._context = context.context()
        self._context.ensure_initialized()
        options = self._context.function_call_options.as_attrs()
        self._attributes = tuple(item for pair in options.items() for item in pair)
        self._name = function._inference_function.name
        if isinstance(self._name, bytes):
            self._name = self._name.decode()
        self._count = len(function.outputs)
        self._order: dict[str, int] = tf.nest.pack_sequence_as(
            function.structured_outputs, list(range(self._count))
        )
        self._execute = pywrap_tfe.TFE_Py_ExecuteCancelable
        self._tensor_type = ops.EagerTensor
        self._status_error = core._NotOkStatusException
        self._error_type = errors.exception_type_from_error_code
        self._invalid_argument = errors.InvalidArgumentError

    def tensor(self, array: Array, dtype: int) -> Any:
        """An array as a tensor of the DataType number; it may share its memory."""
        return self._tensor_type(array, self._context.device_name, dtype)

    def __call__(
        self, inputs: Mapping[str, Any], cancellation: Cancellation | None = None
    ) -> dict[str, Array]:
        """Runs the signature.

        Args:
            inputs: a tensor for each input name.
            cancellation: stops the run when cancelled.

        Returns:
            Every output by its name. The arrays may share memory with tensors that
            nothing else refers to.

        Raises:
            tf.errors.OpError: as the graph does; CancelledError when stopped.
        """
        feed = [inputs[name] for name in self._names]
        try:
            flat = self._execute(
                self._context._handle,
                self._context.device_name,
                self._name,
                feed + self._captured,
                self._attributes,
                (cancellation or Cancellation()).manager._impl,
                self._count,
            )
        except self._status_error as error:
            kind = self._error_type(error.code)
            raise kind(None, None, error.message) from None
        except UnicodeDecodeError as error:
            # TensorFlow's message quotes bytes that are no UTF-8, and pybind11 fails to
            # make a str of it before the code is told. Only inputs hold such bytes.
            text = error.object.decode("utf-8", "replace")
            raise self._invalid_argument(None, None, text) from None
        return {
            name: np.asarray(flat[index]._numpy_internal())
            for name, index in self._order.items()
        }
