"""A request's JSON body to Python values, within limits that are checked before."""

import secrets
from typing import Any

import numpy as np

from serving.json_long_lists import LongList, find_long_lists
from serving.json_parser import ParseError, Text, loads, type_name
from serving.options import Limits
from serving.status import ServingError

# Lists, objects and strings outside of long lists. Each costs 50 to 100 bytes where its
# text can be two: 64 MB of "[]," would take gigabytes.
MAX_VALUES = 2**21

_BOM = b"\xef\xbb\xbf"
# Stands for a long list in the text that is left; random, so that nobody sends it.
_KEY = secrets.token_hex(16)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class Document:
    """A JSON object; a value of it may be a long list, see `long_list`."""

    def __init__(self, values: dict[str, Any], long_lists: list[LongList]) -> None:
        self.values = values
        self._long_lists = long_lists

    def long_list(self, value: Any) -> LongList | None:
        """The long list that a value stands for, or None where it is what it is."""
        if self._long_lists and type(value) is dict and _KEY in value:
            return self._long_lists[value[_KEY]]
        return None

    def type_name(self, value: Any) -> str:
        """JSON's name of a value's type."""
        return "Array" if self.long_list(value) is not None else type_name(value)


def parse(body: Text, limits: Limits) -> Document:
    """Reads a request's body, which must be a JSON object.

    `NaN`, `Infinity` and `-Infinity` are numbers; whole numbers outside of 64 bits are
    floats, as in TF Serving.

    Args:
        body: JSON text, not to be changed while the document is in use.
        limits: how large and deep it may be.

    Raises:
        ServingError: INVALID_ARGUMENT; the message tells where, and quotes nothing.
    """
    if body.startswith(_BOM):
        body = body[len(_BOM) :]
    if not body or body.isspace():
        raise ServingError.invalid("JSON Parse error: The document is empty")
    text, cuts = _cut(body)
    _check_nesting(text, limits)
    try:
        values = loads(text)
    except ParseError as error:
        at = error.at
        # Counted from the left: each cut before the place moves it to the right.
        for index, (start, end) in enumerate(cuts):
            placeholder = len(_placeholder(index))
            if at >= start + placeholder:
                at += end - start - placeholder
        raise error.refusal(at) from error
    found = Document(values, [LongList(body, start, end) for start, end in cuts])
    if not isinstance(values, dict):
        raise ServingError.invalid(
            f"JSON Value Type: {found.type_name(values)} Is not object"
        )
    return found


def _placeholder(index: int) -> bytes:
    return b'{"%b":%d}' % (_KEY.encode(), index)


def _cut(body: Text) -> tuple[Text, list[tuple[int, int]]]:
    """The text with a placeholder for each long list, and where those were."""
    cuts = find_long_lists(body)
    parts, at = [], 0
    for index, (start, end) in enumerate(cuts):
        parts += [body[at:start], _placeholder(index)]
        at = end
    return b"".join([*parts, body[at:]]) if cuts else body, cuts


def _check_nesting(text: Text, limits: Limits) -> None:
    """Refuses text that would make too many or too deep values.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    if len(text) > MAX_VALUES and text.count(b'"') // 2 > MAX_VALUES:
        raise _too_many_values()
    plain = text
    if b"\\" in text:
        plain = text.replace(rb"\\", b"").replace(rb"\"", b"")
    brackets = b"".join(plain.split(b'"')[::2]).translate(None, _NOT_BRACKETS)
    if len(brackets) // 2 > MAX_VALUES:
        raise _too_many_values()
    if len(brackets) <= limits.max_json_depth:
        return
    codes = np.frombuffer(brackets, np.uint8)
    steps = np.where((codes == ord("[")) | (codes == ord("{")), 1, -1)
    if int(steps.cumsum().max()) > limits.max_json_depth:
        raise ServingError.invalid(
            f"JSON Parse error: nested deeper than {limits.max_json_depth} levels"
        )


def _too_many_values() -> ServingError:
    return ServingError.invalid(
        f"the JSON holds more than {MAX_VALUES} lists, objects and strings; send fewer "
        "rows at a time, or use gRPC"
    )
