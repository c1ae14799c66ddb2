"""JSON of TF Serving's REST predict calls to arrays.

Row format: `instances`; column format: `inputs`. Types are never converted: 1.5 is no
int32 and 1 is no bool. No value of a request stands in an error: where it is and of
which type it is do.
"""

from dataclasses import dataclass
from typing import Any

from serving.json_arrays import Column, to_array
from serving.json_parser import Text
from serving.json_text import Document, parse
from serving.json_values import is_base64
from serving.options import Limits
from serving.status import ServingError
from serving.tensors import Array

# A client may send any key; an error shows its beginning.
_SHOWN_KEY = 64


@dataclass(frozen=True)
class JsonRequest:
    """A parsed predict call.

    Attributes:
        document: the whole body.
        signature: name of the signature, or "" for the default one.
    """

    document: Document
    signature: str

    @property
    def rows(self) -> bool:
        """Whether it has the row format, and its answer must have it too."""
        return "instances" in self.document.values


def read(body: Text, limits: Limits) -> JsonRequest:
    """Reads a predict call's body.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    document = parse(body, limits)
    return JsonRequest(document, signature_name(document))


def signature_name(document: Document) -> str:
    """The optional key `signature_name`.

    Raises:
        ServingError: INVALID_ARGUMENT where it is no string.
    """
    name = document.values.get("signature_name", "")
    if not isinstance(name, str):
        raise ServingError.invalid("'signature_name' key must be a string value.")
    return name


def inputs(request: JsonRequest, definition: Any, limits: Limits) -> dict[str, Array]:
    """Arrays for a signature's inputs.

    Args:
        request: as `read` gave it.
        definition: the `SignatureDef` that it asks for.
        limits: how many elements an input may have.

    Raises:
        ServingError: INVALID_ARGUMENT, or UNIMPLEMENTED for types that JSON lacks.
    """
    names = sorted(definition.inputs)
    if not names:
        raise ServingError.invalid(
            f"Failed to get input map for signature: {request.signature or 'DEFAULT'}"
        )
    values = request.document.values
    if "instances" in values and "inputs" in values:
        raise ServingError.invalid(
            "Not formatted correctly expecting only one of 'inputs' or 'instances' "
            "keys to exist"
        )
    if "instances" in values:
        columns = _from_rows(request.document, names)
    elif "inputs" in values:
        columns = _from_columns(request.document, names)
    else:
        raise ServingError.invalid("Missing 'inputs' or 'instances' key")
    return {
        column.name: to_array(
            column, definition.inputs[column.name].dtype, request.document, limits
        )
        for column in columns
    }


def _from_rows(document: Document, names: list[str]) -> list[Column]:
    instances = document.values["instances"]
    if document.long_list(instances) is None:
        if not isinstance(instances, list):
            raise ServingError.invalid("Expecting 'instances' to be a list/array")
        if not instances:
            raise ServingError.invalid("No values in 'instances' array")
        if _is_object(document, instances[0]):
            return _from_objects(document, names)
        for index, one in enumerate(instances):
            if _is_object(document, one):
                raise ServingError.invalid(
                    f"Expecting value/list but got object at item {index} of input list"
                )
    if len(names) != 1:
        raise ServingError.invalid(
            "instances is a plain list, but expecting list of objects as multiple "
            f"input tensors required: {', '.join(names)}"
        )
    return [Column(names[0], instances, "instances")]


def _from_objects(document: Document, names: list[str]) -> list[Column]:
    instances, known = document.values["instances"], set(names)
    for index, one in enumerate(instances):
        if not _is_object(document, one):
            raise ServingError.invalid(
                f"Expecting object but got {document.type_name(one)} at item {index} "
                "of input list"
            )
        if one.keys() != known:
            keys = ",".join(shown(key) for key in sorted(one)[: len(names) + 8])
            raise ServingError.invalid(
                f"Failed to process element: {index} of 'instances' list. Its keys "
                f"{keys} must be equal to: {','.join(names)}"
            )
    return [
        Column(name, [one[name] for one in instances], "instances", f".{name}")
        for name in names
    ]


def _from_columns(document: Document, names: list[str]) -> list[Column]:
    content = document.values["inputs"]
    if _is_object(document, content):
        missing = [name for name in names if name not in content]
        if missing:
            raise ServingError.invalid(
                f"Missing named input: {', '.join(missing)} in 'inputs' object."
            )
        return [Column(name, content[name], f"inputs.{name}") for name in names]
    if len(names) != 1:
        raise ServingError.invalid(
            "inputs is a plain value/list, but expecting an object as multiple input "
            f"tensors required: {', '.join(names)}"
        )
    return [Column(names[0], content, "inputs")]


def shown(key: str) -> str:
    """A key of a request as an error shows it."""
    return key if len(key) <= _SHOWN_KEY else key[:_SHOWN_KEY] + "..."


def _is_object(document: Document, value: Any) -> bool:
    return (
        type(value) is dict
        and not is_base64(value)
        and document.long_list(value) is None
    )
