"""Long lists of numbers in JSON, which stay text until their data type is known.

They are then read piece by piece: a parser that reads 60 MB in one call keeps every
other thread of the process waiting for a second, and the nested lists that it makes
take ten times the room of the array.
"""

from collections.abc import Iterator
from typing import Any

from serving.json_parser import ParseError, Text, loads
from serving.options import Limits
from serving.status import ServingError

# NumPy's; TensorFlow's is 254.
MAX_RANK = 32

_LONG = 8 * 1024
_PIECE = 64 * 1024
_TO_SPACES = bytes.maketrans(b"[]", b"  ")
_SPACE = b" \t\r\n"
_NOT_STRUCTURE = bytes(set(range(256)) - set(b"[],"))


class LongList:
    """A list of numbers, however nested, that is still text: `body[start:end]`."""

    def __init__(self, body: Text, start: int, end: int) -> None:
        self._body = body
        self._start = start
        self._end = end

    def shape(self, name: str, limits: Limits) -> tuple[int, ...]:
        """The sizes of its levels.

        Args:
            name: what to call it in an error.
            limits: how many numbers and levels it may have.

        Raises:
            ServingError: INVALID_ARGUMENT where lists of a level differ in length, or
                where it is beyond the limits.
        """
        found = b"".join(
            self._body[at : min(at + _PIECE, self._end)].translate(None, _NOT_STRUCTURE)
            for at in range(self._start, self._end, _PIECE)
        )
        check_elements(found.count(b",") + 1, name, limits)
        rank = len(found) - len(found.lstrip(b"["))
        if rank > min(MAX_RANK, limits.max_json_depth):
            raise ServingError.invalid(
                f"{name}: lists nested deeper than "
                f"{min(MAX_RANK, limits.max_json_depth)} levels"
            )
        sizes: list[int] = []
        unit = b""
        for level in reversed(range(rank)):
            at = level + 1 + len(unit)
            size = 1
            while found[at : at + 1 + len(unit)] == b"," + unit:
                at += 1 + len(unit)
                size += 1
            sizes.insert(0, size)
            unit = b"[" + b",".join([unit] * size) + b"]"
        if unit != found:
            raise ServingError.invalid(
                f"{name}: Encountered list at unexpected size: its first elements make "
                f"the shape {sizes}, others differ from them"
            )
        return tuple(sizes)

    def pieces(self) -> Iterator[list[Any]]:
        """Its values in order, some thousands at a time.

        Raises:
            ServingError: INVALID_ARGUMENT where the text is no JSON.
        """
        at = self._start
        while at < self._end:
            stop = self._end
            if stop - at > _PIECE:
                comma = self._body.rfind(b",", at, at + _PIECE)
                if comma < 0:  # an endless number, or white space
                    comma = self._body.find(b",", at, stop)
                stop = comma + 1 or stop
            piece = self._body[at:stop].translate(_TO_SPACES)
            if stop < self._end:
                piece = piece[:-1]
            try:
                values = loads(b"[" + piece + b"]")
            except ParseError as error:
                raise error.refusal(at + error.at - 1) from error
            yield values
            at = stop


def check_elements(count: int, name: str, limits: Limits) -> None:
    """Refuses what has too many elements.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    if count > limits.max_tensor_elements:
        raise ServingError.invalid(
            f"{name} has {count} elements; at most {limits.max_tensor_elements} are "
            "accepted"
        )


def find_long_lists(body: Text) -> list[tuple[int, int]]:
    """Start and end of the long lists of numbers in a JSON text.

    What it finds may turn out to be something else: that shows where it is read.
    """
    if len(body) < 2 * _LONG:
        return []
    return [found for gap in _gaps(body) if (found := _list_in(body, *gap))]


def _gaps(body: Text) -> Iterator[tuple[int, int]]:
    """Stretches of at least `_LONG` bytes without a string in them."""
    shadow: Text = body
    if b"\\" in body:
        shadow = body.replace(rb"\\", b"__").replace(rb"\"", b"__")
    at = quotes = counted = 0
    while at < len(shadow):
        # A long stretch covers one of these half-length steps.
        if shadow.find(b'"', at, at + _LONG // 2) >= 0:
            at += _LONG // 2
            continue
        start = shadow.rfind(b'"', 0, at) + 1
        end = shadow.find(b'"', at)
        end = len(shadow) if end < 0 else end
        quotes += shadow.count(b'"', counted, start)
        counted = start
        if quotes % 2 == 0 and end - start >= _LONG:
            yield start, end
        at = end + 1 if end == at else end


def _list_in(body: Text, start: int, end: int) -> tuple[int, int] | None:
    """Where a list stands between two strings, if there is one and it is long."""
    first = body.find(b"[", start, end)
    if first < 0:
        return None
    for brace in (b"{", b"}"):
        at = body.find(brace, first, end)
        end = at if at >= 0 else end
    last = body.rfind(b"]", first, end) + 1
    if last - first < _LONG:
        return None
    depth, before = 0, b""
    for at in range(first, last, _PIECE):  # other threads wait while one call counts
        piece = bytes(body[at : min(at + _PIECE, last)]).translate(None, _SPACE)
        depth += piece.count(b"[") - piece.count(b"]")
        if b"[]" in before + piece[:1] or b"[]" in piece:
            return None  # empty lists have no numbers
        before = piece[-1:] or before
    return (first, last) if depth == 0 else None
