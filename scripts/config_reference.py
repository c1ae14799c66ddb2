"""Writes docs/config.md: every key of the config, out of the dataclasses themselves.

python scripts/config_reference.py           write it
python scripts/config_reference.py --check   exit status 1 where it is stale
"""

from __future__ import annotations

import dataclasses
import json
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from trainer.config import Config  # noqa: E402
from trainer.schema import key_of, plain  # noqa: E402
from trainer.unions import tag_of, union_members  # noqa: E402

TARGET = ROOT / "docs" / "config.md"
_NONE = type(None)
_SCALARS = {int: "whole number", float: "number", str: "text", bool: "true or false"}

HEAD = """\
# Config reference

<!-- Written by scripts/config_reference.py out of the dataclasses: change those. -->

Every key that a config can have. A key without a default must be given; an unknown key
is refused, with the nearest known name. `polymodal render CONFIG` prints a config with
all defaults filled in, and `--set KEY.PATH=VALUE` overrides one key of `polymodal run`:
items of a list are named by their `name` or their index (`--set inputs.image.height=96`).
"""


def reference() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_sections()]).rstrip() + "\n"


def _sections() -> Iterator[str]:
    """One section for each dataclass, in the order in which a reader meets it."""
    waiting: list[tuple[str, type]] = [("", Config)]
    seen: set[type] = set()
    while waiting:
        path, cls = waiting.pop(0)
        if cls in seen:
            continue
        seen.add(cls)
        yield from _section(path, cls)
        hints = typing.get_type_hints(cls)
        below = [
            found
            for field in dataclasses.fields(cls)
            for found in _below(hints[field.name], _join(path, cls, field.name))
        ]
        # Depth first: what belongs to an input stands under that input.
        waiting[:0] = below


def _join(path: str, cls: type, name: str) -> str:
    """Where a key of a section lies: `inputs[image].encoder`."""
    kind = tag_of(cls)[1]
    if kind is not None:
        path = f"{path.removesuffix('[]')}[{kind}]"
    return f"{path}.{name}" if path else name


def _below(kind: Any, path: str) -> Iterator[tuple[str, type]]:
    """The dataclasses that an annotation names, each with its place in the YAML."""
    if typing.get_origin(kind) is tuple:
        yield from _below(typing.get_args(kind)[0], f"{path}[]")
    elif (members := union_members(kind)) is not None:
        for member in members.values():
            yield path, member
    elif dataclasses.is_dataclass(kind):
        yield path, typing.cast(type, kind)
    else:
        for part in typing.get_args(kind):
            if dataclasses.is_dataclass(part):
                yield path, typing.cast(type, part)


def _title(path: str, cls: type) -> str:
    tag, value = tag_of(cls)
    if not path:
        return "The file"
    return f"`{path}`" if value is None else f"`{path}`, `{tag}: {value}`"


def _section(path: str, cls: type) -> Iterator[str]:
    yield f"## {_title(path, cls)}\n"
    yield " ".join((cls.__doc__ or "").split()) + "\n"
    yield "| key | type | default | |\n|---|---|---|---|"
    hints = typing.get_type_hints(cls)
    tag, value = tag_of(cls)
    for field in dataclasses.fields(cls):
        if value is not None and field.name == tag:
            yield f"| `{tag}` | `{value}` | required | Chooses this section. |"
            continue
        cells = (
            f"`{key_of(field)}`",
            _type(hints[field.name]),
            _default(field),
            " ".join(str(field.metadata.get("doc", "")).split()),
        )
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""


def _type(kind: Any) -> str:
    """An annotation in words."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    members = union_members(kind)
    if members is not None:
        tag = tag_of(next(iter(members.values())))[0]
        words = f"mapping with `{tag}:` " + ", ".join(f"`{name}`" for name in members)
        return words + (" or null" if _NONE in args else "")
    if origin in (Union, types.UnionType):
        return " or ".join("null" if arg is _NONE else _type(arg) for arg in args)
    if origin is Literal:
        return ", ".join(f"`{json.dumps(a).strip(chr(34))}`" for a in args)
    if origin is tuple:
        return f"list of: {_type(args[0])}"
    if origin is dict:
        return f"mapping of names to: {_type(args[1])}"
    if dataclasses.is_dataclass(kind):
        return "mapping"
    return _SCALARS[kind]


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        value = plain(field.default)
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return "required"
    if dataclasses.is_dataclass(value):
        tag, name = tag_of(type(value))
        return "its own defaults" if name is None else f"`{{{tag}: {name}}}`"
    if isinstance(value, float):
        return f"`{value!r}`"
    text = json.dumps(value, ensure_ascii=False)
    return f"`{text.strip(chr(34)) or chr(34) * 2}`"


def main(arguments: list[str]) -> int:
    """Writes the page, or with --check compares it."""
    text = reference()
    if "--check" not in arguments:
        TARGET.write_text(text, encoding="utf-8")
        return 0
    if TARGET.exists() and TARGET.read_text(encoding="utf-8") == text:
        return 0
    print(
        f"{TARGET.relative_to(ROOT)} is stale: python scripts/config_reference.py",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
