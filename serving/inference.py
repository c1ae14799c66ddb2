"""Classify, Regress and MultiInference: what goes into a signature and comes out.

As in TF Serving 2.16 without its check of method names, so that TF2's signatures, which
carry none, answer: any signature with the input `inputs` and the right outputs will do.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import grpc
import numpy as np
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    model_pb2,
    regression_pb2,
)

from serving.servable import DEFAULT_SIGNATURE, Servable
from serving.status import ServingError
from serving.tensors import Array

INPUTS, CLASSES, SCORES, OUTPUTS = "inputs", "classes", "scores", "outputs"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
_FLOAT, _STRING = 1, 7  # DataType numbers


def examples(given: Any) -> Array:
    """The serialized tf.Examples of an `Input`, an object array of bytes.

    Those of an ExampleListWithContext begin with the context: in protobuf, appending
    one message's bytes to another's merges them, the later fields winning.

    Raises:
        ServingError: INVALID_ARGUMENT where there are none.
    """
    kind = given.WhichOneof("kind")
    found: list[bytes] = []
    if kind == "example_list":
        found = [one.SerializeToString() for one in given.example_list.examples]
    elif kind == "example_list_with_context":
        listed = given.example_list_with_context
        context = listed.context.SerializeToString()
        found = [context + one.SerializeToString() for one in listed.examples]
    if not found:
        raise ServingError.invalid("Input is empty.")
    array = np.empty(len(found), object)
    array[:] = found
    return array


def fill_spec(spec: Any, servable: Servable, signature: str) -> None:
    """Writes which version and signature answered into a response's ModelSpec."""
    spec.name = servable.name
    spec.signature_name = signature
    spec.version.value = servable.version


def classify_outputs(definition: Any, check_method: bool = False) -> list[str]:
    """The outputs that Classify takes from a signature.

    With `check_method`, the signature's method name has to be Classify's.

    Raises:
        ServingError: INVALID_ARGUMENT or FAILED_PRECONDITION for one that does not fit.
    """
    if check_method:
        _check_method(definition, "classification", CLASSIFY)
    _check_input(definition, "classification")
    if len(definition.outputs) not in (1, 2):
        raise ServingError.invalid(
            f"Expected one or two output Tensors, found {len(definition.outputs)}"
        )
    found = [name for name in (CLASSES, SCORES) if name in definition.outputs]
    if not found:
        raise ServingError.failed_precondition(
            "Expected classification signature outputs to contain at least one of "
            f'"{CLASSES}" or "{SCORES}". Signature was: {definition}'
        )
    return found


def regress_outputs(definition: Any, check_method: bool = False) -> list[str]:
    """The outputs that Regress takes from a signature.

    With `check_method`, the signature's method name has to be Regress's.

    Raises:
        ServingError: INVALID_ARGUMENT or FAILED_PRECONDITION for one that does not fit.
    """
    if check_method:
        _check_method(definition, "regression", REGRESS)
    _check_input(definition, "regression")
    if len(definition.outputs) != 1:
        raise ServingError.invalid("Expected one output Tensor.")
    if OUTPUTS not in definition.outputs:
        raise ServingError.failed_precondition(
            f"No regression outputs found in SignatureDef: {definition}"
        )
    return [OUTPUTS]


def _check_method(definition: Any, kind: str, method: str) -> None:
    if definition.method_name != method:
        raise ServingError.invalid(
            f"Expected {kind} signature method_name to be {method}. Was: "
            f"{definition.method_name}"
        )


def _check_input(definition: Any, kind: str) -> None:
    if len(definition.inputs) != 1:
        raise ServingError.invalid("Expected one input Tensor.")
    if INPUTS not in definition.inputs:
        raise ServingError.failed_precondition(
            f"No {kind} inputs found in SignatureDef: {definition}"
        )


def classifications(found: Mapping[str, Array], count: int) -> Any:
    """The `ClassificationResult` of `count` examples.

    Args:
        found: `classes`, strings, and `scores`, float32, or one of them; (count, n).
        count: the examples that were asked about.

    Raises:
        ServingError: INVALID_ARGUMENT for outputs of another shape or dtype.
    """
    for name, wants, dtype in (
        (CLASSES, "DT_STRING", object),
        (SCORES, "DT_FLOAT", "f4"),
    ):
        if name in found:
            array = found[name]
            if array.ndim != 2:
                raise ServingError.invalid(
                    "Expected Tensor shape: [batch_size num_classes] but got "
                    f"{_shape(array)}"
                )
            if array.dtype != np.dtype(dtype):
                raise ServingError.invalid(
                    f"Expected {name} Tensor of {wants}. Got: {_type(array)}"
                )
            if len(array) != count:
                raise ServingError.invalid(
                    f"Expected {name} output batch size of {count}. Got: {len(array)}"
                )
    classes, scores = found.get(CLASSES), found.get(SCORES)
    if classes is not None and scores is not None and classes.shape != scores.shape:
        raise ServingError.invalid(
            "Tensors class and score should match in dim_size(1). Got "
            f"{classes.shape[1]} vs. {scores.shape[1]}"
        )
    labels = [[]] * count if classes is None else classes.tolist()
    numbers = [[]] * count if scores is None else scores.tolist()
    result = classification_pb2.ClassificationResult()
    for row_labels, row_numbers in zip(labels, numbers, strict=True):
        row = result.classifications.add().classes
        for _ in range(max(len(row_labels), len(row_numbers))):
            row.add()
        for one, label in zip(row, row_labels, strict=False):
            one.label = _text(label)
        for one, number in zip(row, row_numbers, strict=False):
            one.score = number
    return result


def regressions(found: Mapping[str, Array], count: int) -> Any:
    """The `RegressionResult` of `count` examples.

    Args:
        found: `outputs`, float32, (count,) or (count, 1).
        count: the examples that were asked about.

    Raises:
        ServingError: INVALID_ARGUMENT for an output of another shape or dtype.
    """
    array = found[OUTPUTS]
    if array.ndim != 1 and (array.ndim != 2 or array.shape[1] != 1):
        raise ServingError.invalid(
            "Expected output Tensor shape to be either [batch_size] or "
            f"[batch_size, 1] but got {_shape(array)}"
        )
    if len(array) != count:
        raise ServingError.invalid(
            "Input batch size did not match output batch size: "
            f"{count} vs. {len(array)}"
        )
    if array.dtype != np.float32:
        raise ServingError.invalid(
            f"Expected output Tensor of DT_FLOAT.  Got: {_type(array)}"
        )
    result = regression_pb2.RegressionResult()
    for value in array.ravel().tolist():
        result.regressions.add().value = value
    return result


class Task(NamedTuple):
    """What a method wants of a signature: which outputs, and how to read them."""

    method: str
    signature: str
    outputs: list[str]

    def result(self, found: Mapping[str, Array], count: int) -> Any:
        """The `ClassificationResult` or `RegressionResult` of `count` examples.

        Raises:
            ServingError: INVALID_ARGUMENT for outputs that do not fit the method.
        """
        read = classifications if self.method == CLASSIFY else regressions
        return read(found, count)


def task(
    servable: Servable,
    spec: Any,
    method: str,
    check_method: bool = False,
    missing: str = "No signature was found with the name: ",
) -> Task:
    """What a method wants of the signature that a ModelSpec asks for.

    Args:
        servable: the version that answers.
        spec: the `ModelSpec`.
        method: `CLASSIFY` or `REGRESS`; anything else is UNIMPLEMENTED.
        check_method: the signature's method name has to be this one.
        missing: words before the name of a signature that does not exist.

    Raises:
        ServingError: INVALID_ARGUMENT or FAILED_PRECONDITION for a signature that does
            not exist or does not fit.
    """
    name = spec.signature_name or DEFAULT_SIGNATURE
    if not servable.has_signature(name):
        raise ServingError.invalid(f"{missing}{name}")
    definition = servable.signature(name)
    if method == CLASSIFY:
        return Task(method, name, classify_outputs(definition, check_method))
    if method == REGRESS:
        return Task(method, name, regress_outputs(definition, check_method))
    raise ServingError(
        grpc.StatusCode.UNIMPLEMENTED, f"Unsupported signature method_name: {method}"
    )


def first_task(request: Any) -> Any:
    """What chooses the model of a MultiInferenceRequest; a nameless spec without any."""
    if request.tasks and request.tasks[0].HasField("model_spec"):
        return request.tasks[0]
    return inference_pb2.InferenceTask(model_spec=model_pb2.ModelSpec())


def tasks(servable: Servable, request: Any, check_method: bool = False) -> list[Task]:
    """The tasks of a MultiInferenceRequest.

    Raises:
        ServingError: as `task`; INVALID_ARGUMENT for two models, or one signature
            twice.
    """
    found: list[Task] = []
    for one in request.tasks:
        if not one.model_spec.name:
            raise ServingError.invalid("Found ModelSpec with an empty model name.")
        if one.model_spec.name != servable.name:
            raise ServingError.invalid(
                "All ModelSpecs in a MultiInferenceRequest must access the same model "
                "name."
            )
        name = one.model_spec.signature_name or DEFAULT_SIGNATURE
        if name in [earlier.signature for earlier in found]:
            raise ServingError.invalid(f"Duplicate evaluation of signature: {name}")
        missing = "Requested signature not found in model graph: "
        found.append(
            task(servable, one.model_spec, one.method_name, check_method, missing)
        )
    return found


def _shape(array: Array) -> str:
    return f"[{','.join(map(str, array.shape))}]"


def _type(array: Array) -> str:
    names = {"object": "STRING", "float32": "FLOAT", "float64": "DOUBLE"}
    return f"DT_{names.get(array.dtype.name, array.dtype.name.upper())}"


def _text(label: bytes) -> str:
    try:
        return label.decode()
    except UnicodeDecodeError as error:
        raise ServingError.invalid(
            "Expected classes of UTF-8 text, which a Classification's labels are"
        ) from error
