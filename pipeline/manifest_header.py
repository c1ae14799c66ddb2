"""The names in the first line of a CSV or TSV manifest, and what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.config import UserError

# What separates cells elsewhere, and what to do about it.
_SEPARATORS = {
    ";": "semicolons; separate columns by commas.",
    "\t": "tabs; let its name end in .tsv.",
    "|": "vertical bars; separate columns by commas.",
    ",": "commas; let its name end in .csv.",
}


class ManifestError(UserError, ValueError):
    """A manifest that cannot be used: what is wrong, where, and what to do."""


@dataclass(frozen=True)
class Header:
    """The columns of a manifest whose rows are lines.

    Attributes:
      columns: The names that rows are read by.
      index: The first column has no name: row numbers, as pandas writes them. They are
        read past.
    """

    columns: tuple[str, ...]
    index: bool = False

    @property
    def cells(self) -> int:
        """How many cells each line has."""
        return len(self.columns) + self.index


def read_header(
    path: str, first: Sequence[str] | None, second: Sequence[str] | None
) -> Header:
    """The columns that the first line names.

    Args:
      path: Of the manifest, for messages.
      first: The cells of the first line; None where there is none.
      second: Those of the line behind it, which tells a comment from a header.

    Raises:
      ManifestError: the line does not name every column once.
    """
    if not first or not any(name.strip() for name in first):
        raise ManifestError(
            f"{path}: the first line must name the columns. Received: nothing there."
        )
    if any(has_surrogate(n) for n in first) or "\x00" in "".join(first):
        raise ManifestError(
            f"{path}: not UTF-8 text; save it as UTF-8 (in Excel: CSV UTF-8; from GBK, as"
            " Chinese Windows writes it: iconv -f GB18030 -t UTF-8 OLD > NEW)."
        )
    names = [n.strip() for n in first]
    _no_names(path, names, second or ())
    if len(names) == 1:
        for separator, advice in _SEPARATORS.items():
            if separator in names[0] and not _is_own(separator, path):
                raise ManifestError(f"{path}: seems to use {advice}")
    twice = sorted({n for n in names if n and names.count(n) > 1})
    if twice:
        raise ManifestError(
            f"{path}: every column needs a name of its own. Twice: {', '.join(twice)}"
        )
    index = len(names) > 1 and not names[0]
    nameless = [i for i, name in enumerate(names) if not name and i > 0]
    if nameless:
        last = all(not name for name in names[nameless[0] :])
        raise ManifestError(
            f"{path}: every column needs a name of its own. Column"
            f" {nameless[0] + 1} of {len(names)} (behind {names[nameless[0] - 1]!r}) has"
            f" none; name it, or {'end no line with a comma' if last else 'remove it'}."
        )
    return Header(tuple(names[index:]), index)


def _is_own(separator: str, path: str) -> bool:
    return separator == ("\t" if path.lower().endswith(".tsv") else ",")


def _no_names(path: str, names: Sequence[str], second: Sequence[str]) -> None:
    """Raises where the first line is something else than a header."""
    if re.fullmatch(r"sep=.?", names[0], re.IGNORECASE) and not any(names[1:]):
        raise ManifestError(
            f"{path}: line 1 is a note to Excel ({names[0]!r}), not the names of the"
            " columns; delete this line."
        )
    if all(re.fullmatch(r"'.+'", name) for name in names):
        raise ManifestError(
            f"{path}: the names of the columns stand in single quotes"
            f" ({','.join(names)[:60]}); quote cells by double quotes, or not at all."
        )
    if names[0].startswith("#") and len(names) != len(second):
        raise ManifestError(
            f"{path}: line 1 seems to be a comment ({','.join(names)[:60]!r}), but the"
            " first line must name the columns; delete lines that begin with #."
        )


def wrong_count(expected: int, cells: Sequence[str]) -> str:
    """What is wrong with a line that has not as many cells as the header."""
    hint = "is a quote or a comma missing?"
    if any(re.match(r'\s+"', cell) for cell in cells):
        hint = "a blank before a quote? A quoted cell begins right behind the comma"
    elif any(re.match(r"\s*[\u201c\u201d\u201e\u300c]", cell) for cell in cells):
        hint = 'typographic quotes? Only straight ones, ", hold a cell together'
    elif cells[0].startswith("#"):
        hint = "a comment? There are none in a manifest"
    return (
        f"expected {expected} cells as in the header ({hint}). Received: {len(cells)}"
    )


def has_surrogate(text: str) -> bool:
    """Whether bytes stand in the text that are no UTF-8."""
    return not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text)
