"""Unions of dataclasses in a schema, told apart by a tag: `kind:` or `modality:`."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, Literal, Union

TAGS = ("modality", "kind")


def union_members(kind: Any) -> dict[str, type] | None:
    """Tag value -> dataclass for a union of tagged dataclasses, else None."""
    if typing.get_origin(kind) not in (Union, types.UnionType):
        return None
    members = [a for a in typing.get_args(kind) if dataclasses.is_dataclass(a)]
    if not members:
        return None
    if len(members) == 1 and tag_of(members[0])[1] is None:
        return None
    return {str(tag_of(member)[1]): typing.cast(type, member) for member in members}


def tag_of(cls: Any) -> tuple[str, str | None]:
    """The tag field of a dataclass and its single literal value."""
    hints = typing.get_type_hints(cls)
    for tag in TAGS:
        if typing.get_origin(hints.get(tag)) is Literal:
            return tag, typing.get_args(hints[tag])[0]
    return "kind", None
