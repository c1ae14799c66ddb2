"""A flag, and how the texts of the kinds of flags are read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


def boolean(text: str) -> bool:
    """`true`, `false`, `1` or `0`."""
    if text.lower() not in ("true", "false", "1", "0"):
        raise ValueError
    return text.lower() in ("true", "1")


def at_least(least: int) -> Callable[[str], int]:
    """A parser of whole numbers that are not less."""

    def parse(text: str) -> int:
        if int(text) < least:
            raise ValueError
        return int(text)

    return parse


def port(text: str) -> int:
    """A TCP port."""
    if not 0 <= int(text) <= 65535:
        raise ValueError
    return int(text)


def rate(text: str) -> float:
    """A share, from 0 to 1."""
    if not 0 <= float(text) <= 1:
        raise ValueError
    return float(text)


def names(text: str) -> tuple[str, ...]:
    """A comma-separated list."""
    return tuple(one.strip() for one in text.split(",") if one.strip())


def arguments(text: str) -> tuple[tuple[str, int | str], ...]:
    """`a=1,b=c`; values that are whole numbers are passed as such."""
    found: list[tuple[str, int | str]] = []
    for pair in names(text):
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise ValueError
        number = value.removeprefix("-").isdigit()
        found.append((key, int(value) if number else value))
    return tuple(found)


@dataclass(frozen=True)
class Flag:
    """One flag.

    Attributes:
        name: without the dashes.
        parse: value of a text; raises ValueError for an unusable one.
        default: what it is where it is not given; `shown` is its text in the docs.
        expected: what a text is expected to be.
        help: what it does.
        ours: whether tensorflow_model_server lacks it.
    """

    name: str
    parse: Callable[[str], Any]
    default: Any
    expected: str
    help: str
    ours: bool = False
    shown: str = ""

    def default_text(self) -> str:
        """The default as the help and the docs print it."""
        if self.shown:
            return self.shown
        if isinstance(self.default, bool):
            return str(self.default).lower()
        if self.default in ("", ()):
            return "empty"
        if isinstance(self.default, tuple):
            return ",".join(self.default)
        return str(self.default)
