"""Holds a dataclass that was made in Python to what one in a file is held to."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from trainer.schema import key_of, plain, read


def checked(holder: Any) -> tuple[dict[str, Any], list[str]]:
    """Reads what a dataclass was made of as a mapping of a file is read.

    Returns:
        Field -> value, not to be used where there are problems; and the problems, but
        for those of the holder itself.
    """
    hints, problems = typing.get_type_hints(type(holder)), list[str]()
    values = {
        field.name: read(
            hints[field.name],
            plain(getattr(holder, field.name)),
            f".{key_of(field)}",
            problems,
        )
        for field in dataclasses.fields(holder)
    }
    return values, problems
