"""JSON text to Python values by orjson, and by `json` where a number is not finite."""

import json
import re
from typing import Any

import orjson

from serving.status import ServingError

# What came in pieces is a bytearray, which grows without being copied.
Text = bytes | bytearray

_STRINGS_AND_NAMES = re.compile(
    rb'"[^"\\]*(?:\\.[^"\\]*)*"|NaN|Infinity', re.DOTALL
)  # DOTALL for the character after a backslash


class ParseError(Exception):
    """Text that is no JSON.

    Attributes:
        reason: what is wrong, without a word of the text.
        at: where, in characters from its beginning.
    """

    def __init__(self, reason: str, at: int) -> None:
        self.reason = reason
        self.at = at
        super().__init__(reason)

    def refusal(self, at: int) -> ServingError:
        """What a request is answered in which it happened at `at`."""
        return ServingError.invalid(f"JSON Parse error: {self.reason} at offset: {at}")


def loads(text: Text) -> Any:
    """JSON with `NaN`, `Infinity` and `-Infinity` among its numbers.

    Whole numbers outside of 64 bits are floats, as in TF Serving. One call keeps all
    threads waiting: at about 200 MB of text a second.

    Raises:
        ParseError: for anything else.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if b"NaN" not in text and b"Infinity" not in text:
            raise ParseError(error.msg, error.pos) from error
    # `json` is laxer: orjson judges everything but these names.
    try:
        orjson.loads(_STRINGS_AND_NAMES.sub(_without_name, text))
        return json.loads(text.decode(), parse_int=_whole)
    except json.JSONDecodeError as error:  # orjson's is one too
        raise ParseError(error.msg, error.pos) from error
    except RecursionError as error:
        raise ParseError("nested too deep", 0) from error


def _without_name(found: "re.Match[bytes]") -> bytes:
    token = found[0]
    return token if token.startswith(b'"') else b"0".ljust(len(token))


def _whole(digits: str) -> int | float:
    value = int(digits)  # orjson was here before: no more than 309 digits
    return value if -(2**63) <= value < 2**64 else float(digits)


def type_name(value: Any) -> str:
    """JSON's name of a value's type."""
    return _TYPE_NAMES[type(value)]


_TYPE_NAMES: dict[type, str] = {
    type(None): "Null",
    bool: "Boolean",
    dict: "Object",
    list: "Array",
    str: "String",
    int: "Number",
    float: "Number",
}
