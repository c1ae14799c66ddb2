"""YAML with comments: mappings in, text out, for people who will edit it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

_WIDTH = 88
# Quoted more often than PyYAML would: 1e3 and 0o7 are numbers to others.
_PLAIN = re.compile(r"(\.{0,2}/|[A-Za-z])[\w./@ -]*(:[\w./@-]+)*|\d+[A-Za-z]+")


@dataclass(frozen=True)
class Document:
    """One YAML document.

    Args:
        body: mappings, lists and scalars.
        head: a comment above all of it.
        notes: dotted path of a key -> a comment above that key; list items by index.
    """

    body: Mapping[str, Any]
    head: str = ""
    notes: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """The document; KeyError where a note has no key (any more)."""
        used: set[str] = set()
        lines = [*_comment(self.head, 0), *self._mapping(self.body, "", 0, used)]
        if missing := set(self.notes) - used:
            raise KeyError(f"notes on keys that are not there: {sorted(missing)}")
        return "\n".join(lines) + "\n"

    def _mapping(
        self, body: Mapping[str, Any], path: str, indent: int, used: set[str]
    ) -> Iterator[str]:
        for key, value in body.items():
            inner = f"{path}.{key}" if path else str(key)
            if inner in self.notes:
                used.add(inner)
                yield from _comment(self.notes[inner], indent)
            yield from self._entry(
                f"{' ' * indent}{_scalar(key)}:", value, inner, indent, used
            )

    def _entry(
        self, start: str, value: Any, path: str, indent: int, used: set[str]
    ) -> Iterator[str]:
        if isinstance(value, Mapping) and value:
            yield start
            yield from self._mapping(value, path, indent + 2, used)
        elif _is_list(value) and value:
            yield start
            yield from self._items(value, path, indent + 2, used)
        elif isinstance(value, str) and "\n" in value:
            yield f"{start} |" if value.endswith("\n") else f"{start} |-"
            yield from (
                f"{' ' * (indent + 2)}{line}".rstrip()
                for line in value.removesuffix("\n").split("\n")
            )
        else:
            yield f"{start} {_scalar(value)}"

    def _items(
        self, items: Sequence[Any], path: str, indent: int, used: set[str]
    ) -> Iterator[str]:
        for index, item in enumerate(items):
            inner = f"{path}.{index}"
            if inner in self.notes:
                used.add(inner)
                yield from _comment(self.notes[inner], indent)
            if isinstance(item, Mapping) and item:
                # The first key stands behind the dash, the others below it; so do the
                # comments, the first key's above the dash.
                lines = list(self._mapping(item, inner, indent + 2, used))
                first = next(
                    n
                    for n, line in enumerate(lines)
                    if not line.lstrip().startswith("#")
                )
                yield from (line[2:] for line in lines[:first])
                yield f"{' ' * indent}- {lines[first].lstrip()}"
                yield from lines[first + 1 :]
            else:
                yield f"{' ' * indent}- {_scalar(item)}"


def join(*documents: Document) -> str:
    """Several documents as one file."""
    return "---\n".join(document.text() for document in documents)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _comment(text: str, indent: int) -> Iterator[str]:
    for line in text.splitlines():
        start = " " * indent + "# "
        yield from textwrap.wrap(
            line,
            _WIDTH,
            initial_indent=start,
            subsequent_indent=start,
            break_long_words=False,
            break_on_hyphens=False,
        ) or [start.rstrip()]


def _scalar(value: Any) -> str:
    """A scalar, or an empty list or mapping, as every YAML reader understands it."""
    if isinstance(value, str):
        style = None if _PLAIN.fullmatch(value) else '"'
        text = yaml.safe_dump(
            value, default_style=style, allow_unicode=True, width=10**6
        )
    else:
        if isinstance(value, tuple):
            value = list(value)
        text = yaml.safe_dump(value, default_flow_style=True, width=10**6)
    return text.removesuffix("...\n").strip()
