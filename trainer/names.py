"""Which names a config may give, and what answers are called after them.

The one place that says so: the config's checks, `polymodal init` and the signatures all
look here.
"""

from __future__ import annotations

import re
from typing import ClassVar

NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
"""Names of inputs, columns and heads: what every client can spell. Keys and layers of our
own hold a `:` or a `.` instead, so that the two never meet."""

RESERVED = (
    "_present",
    "_scores",
    "_classes",
    "_selected",
    "_abstained",
    "_embedding",
    "_match",
)
"""Ends of answers' names, by which clients tell them apart: no name may end so."""

ROW_KEYS = ("id", "error", "model_version")
"""What stands beside the heads' answers in a row of a client's or of `predict`'s."""


def reserved_end(name: str) -> str | None:
    """The reserved end that a name has; None = it may be used."""
    return next((end for end in RESERVED if name.endswith(end)), None)


class Answering:
    """A head that answers under its name with these ends."""

    name: str
    ends: ClassVar[tuple[str, ...]] = ("",)

    @property
    def answers(self) -> tuple[str, ...]:
        """What the signatures answer for it, by name."""
        return tuple(self.name + end for end in self.ends)


def present_key(input_name: str) -> str:
    """Key of the presence mask of an input, in tensors and in answers."""
    return f"{input_name}_present"


def unknown_key(column_name: str) -> str:
    """The answer whether a row's category is in no vocabulary of the column's."""
    return f"{column_name}_unknown"
