"""JSON of TF Serving's REST classify and regress calls to protos and back."""

from typing import Any

import numpy as np
import orjson

from serving.json_inputs import shown, signature_name
from serving.json_long_lists import check_elements
from serving.json_outputs import printable
from serving.json_parser import Text, type_name
from serving.json_text import Document, parse
from serving.json_values import from_base64, is_base64
from serving.options import Limits
from serving.status import ServingError

_FLOAT_MAX = float(np.finfo(np.float32).max)
# JSON type -> the kind of a feature's list that takes it.
_KINDS: dict[type, str] = {
    bool: "int64",
    int: "int64",
    float: "float",
    str: "bytes",
    dict: "bytes",
}


def fill_request(request: Any, body: Text, limits: Limits) -> None:
    """Fills a `ClassificationRequest` or `RegressionRequest` from a call's body.

    `examples` is a list of objects, feature name -> value or list of values; `context`
    is such an object for all of them. A whole number makes an int64, a decimal a float,
    true and false 1 and 0.

    Args:
        request: the proto, with name and version of its model.
        body: JSON text.
        limits: how large and how deep it may be.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    document = parse(body, limits)
    request.model_spec.signature_name = signature_name(document)
    if "examples" not in document.values:
        raise ServingError.invalid(
            "When method is classify or regress, key 'examples' is expected and was "
            "not found"
        )
    examples = document.values["examples"]
    if not isinstance(examples, list):
        raise ServingError.invalid("Expecting 'examples' value to be a list/array")
    if not examples:
        raise ServingError.invalid("'examples' value is an empty array")
    reader = _Reader(document, limits)
    found = request.input.example_list
    if "context" in document.values:
        found = request.input.example_list_with_context
        reader.read(document.values["context"], found.context, "context")
    for index, one in enumerate(examples):
        reader.read(one, found.examples.add(), f"examples[{index}]")


class _Reader:
    """JSON objects to `tf.train.Example` protos; counts the values of a request."""

    def __init__(self, document: Document, limits: Limits) -> None:
        self._document = document
        self._limits = limits
        self._count = 0

    def read(self, value: Any, example: Any, place: str) -> None:
        document = self._document
        if type(value) is not dict or document.long_list(value) is not None:
            raise ServingError.invalid(
                f"Example must be JSON object but got JSON {document.type_name(value)} "
                f"({place})"
            )
        for name, content in value.items():
            where = f"{place}.{shown(name)}"
            flat = self._flat(content, where)
            self._count += len(flat)
            check_elements(self._count, "the list of examples", self._limits)
            _fill(example.features.feature[name], flat, where)

    def _flat(self, content: Any, where: str) -> list[Any]:
        long = self._document.long_list(content)
        if long is None:
            return content if type(content) is list else [content]
        if len(long.shape(where, self._limits)) > 1:
            raise _unexpected(where, "Array")
        return [value for piece in long.pieces() for value in piece]


def _fill(feature: Any, flat: list[Any], where: str) -> None:
    types = set(map(type, flat))
    for index, one in enumerate(flat if types - {bool, int, float, str} else ()):
        if type(one) not in _KINDS or (type(one) is dict and not is_base64(one)):
            raise _unexpected(f"{where}[{index}]", type_name(one))
    kinds = {_KINDS[one] for one in types}
    if len(kinds) > 1:
        raise ServingError.invalid(
            f"Unexpected element type in feature: {where} expecting type: "
            f"{_KINDS[type(flat[0])]}"
        )
    if kinds == {"int64"}:
        if max(flat) >= 2**63:
            raise ServingError.invalid(
                f"Feature: {where} has uint64 element. Only int64 is supported."
            )
        feature.int64_list.value.extend(map(int, flat))
    elif kinds == {"float"}:
        values = np.array(flat, np.float64)
        if np.any(np.isfinite(values) & (np.abs(values) > _FLOAT_MAX)):
            raise ServingError.invalid(
                f"Cannot convert JSON value at {where} to float without loss of "
                "precision."
            )
        feature.float_list.value.extend(flat)
    elif kinds == {"bytes"}:
        feature.bytes_list.value.extend(
            from_base64(one, f"{where}[{index}]") if type(one) is dict else one.encode()
            for index, one in enumerate(flat)
        )


def _unexpected(where: str, name: str) -> ServingError:
    return ServingError.invalid(
        f"Feature: {where} has element with unexpected JSON type: {name}"
    )


def classifications(response: Any) -> bytes:
    """JSON text of a `ClassificationResponse`: `[label, score]` pairs, by example.

    Raises:
        ServingError: INVALID_ARGUMENT where there are none.
    """
    found = response.result.classifications
    if not found:
        raise ServingError.invalid("Cannot convert empty ClassificationResults to JSON")
    results = []
    for one in found:
        scores = np.array([each.score for each in one.classes], np.float32)
        labels = [each.label for each in one.classes]
        results.append(list(zip(labels, printable(scores), strict=True)))
    return _results(results)


def regressions(response: Any) -> bytes:
    """JSON text of a `RegressionResponse`: a number for each example.

    Raises:
        ServingError: INVALID_ARGUMENT where there are none.
    """
    found = response.result.regressions
    if not found:
        raise ServingError.invalid("Cannot convert empty RegressionResults to JSON")
    return _results(printable(np.array([one.value for one in found], np.float32)))


def _results(results: list[Any]) -> bytes:
    return orjson.dumps({"results": results}, option=orjson.OPT_SERIALIZE_NUMPY)
