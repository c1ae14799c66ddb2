"""Reads plain mappings into frozen dataclasses and back, and says every problem.

The dataclasses of `trainer.config` are the schema; this file only knows how to walk
them: nested dataclasses, tuples, optional values, literals, and unions of dataclasses
told apart by a tag (`kind:` or `modality:`).
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Union

from trainer.config_error import ConfigError
from trainer.unions import tag_of, union_members

_NONE = type(None)
_MAX_SHOWN = 120


def option(default: Any, doc: str) -> Any:
    """A dataclass field with a default and the sentence that says why it is so."""
    if isinstance(default, (dict, list)) or dataclasses.is_dataclass(default):
        # A copy each: what one config holds is no other's.
        return dataclasses.field(
            default_factory=lambda: copy.deepcopy(default), metadata={"doc": doc}
        )
    return dataclasses.field(default=default, metadata={"doc": doc})


def required(doc: str) -> Any:
    """A dataclass field without a default."""
    return dataclasses.field(metadata={"doc": doc})


def renamed(key: str, field: Any) -> Any:
    """A field whose key in the YAML is no Python name: `from`."""
    return dataclasses.field(
        default=field.default, metadata={**field.metadata, "key": key}
    )


def key_of(field: dataclasses.Field[Any]) -> str:
    """The field's key in the YAML."""
    return str(field.metadata.get("key", field.name))


def shown(value: Any) -> str:
    """A value in a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def nearest(name: str, known: Sequence[str]) -> str:
    """` Did you mean 'x'?` for the closest known name, or an empty string."""
    close = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def named(where: str, name: str, known: Sequence[str], what: str) -> Iterator[str]:
    """A problem where `name` is no name of a `what` of the config."""
    if name not in known:
        yield (
            f"{where}: no such {what}.{nearest(name, known)}"
            f" {what.capitalize()}s: {', '.join(known)}"
        )


def _numbers(holder: Any, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Each named number, each of a list's, under its field's name; None has none."""
    for name in names:
        value = getattr(holder, name)
        for one in value if isinstance(value, tuple) else (value,):
            if one is not None:
                yield name, one


def positive(holder: Any, *names: str) -> Iterator[str]:
    """A problem for each named field that is 0 or less."""
    for name, value in _numbers(holder, names):
        if value <= 0:
            yield f"{name}: must be above 0. Received: {shown(value)}"


def not_negative(holder: Any, *names: str) -> Iterator[str]:
    """A problem for each named field that is less than 0."""
    for name, value in _numbers(holder, names):
        if value < 0:
            yield f"{name}: must not be below 0. Received: {shown(value)}"


def fraction(holder: Any, *names: str, below_one: bool = True) -> Iterator[str]:
    """A problem for each named field outside of [0, 1), or [0, 1]."""
    for name, value in _numbers(holder, names):
        if not 0 <= value <= 1 or (below_one and value == 1):
            bound = "[0, 1)" if below_one else "[0, 1]"
            yield f"{name}: must be in {bound}. Received: {shown(value)}"


def read(kind: Any, value: Any, path: str, problems: list[str]) -> Any:
    """Converts `value` to the annotated type `kind`.

    Every problem is appended to `problems` with its key path; what is returned after
    a problem is not to be used.
    """
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    members = union_members(kind)
    if members is not None:
        if value is None and _NONE in args:
            return None
        return _read_union(members, value, path, problems)
    if origin in (Union, types.UnionType):
        if value is None and _NONE in args:
            return None
        return _read_plain_union(args, value, path, problems)
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(typing.cast(type, kind), value, path, problems)
    if origin is Literal:
        if value is False and "off" in args:
            value = "off"  # YAML 1.1 reads the bare word as false.
        if value not in args or isinstance(value, bool) != isinstance(args[0], bool):
            known = ", ".join(map(repr, args))
            problems.append(
                f"{path}: expected one of {known}.{nearest(value, [str(a) for a in args])}"
                f" Received: {shown(value)}"
            )
        return value
    if origin is tuple:
        return _read_tuple(args, value, path, problems)
    if origin is dict:
        if not isinstance(value, Mapping):
            problems.append(f"{path}: expected a mapping. Received: {shown(value)}")
            return {}
        return {
            str(k): read(args[1], v, f"{path}.{k}", problems) for k, v in value.items()
        }
    return _read_scalar(kind, value, path, problems)


def _read_tuple(
    args: tuple[Any, ...], value: Any, path: str, problems: list[str]
) -> tuple[Any, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        problems.append(f"{path}: expected a list. Received: {shown(value)}")
        return ()
    return tuple(
        read(args[0], item, f"{path}[{_label(item, i)}]", problems)
        for i, item in enumerate(value)
    )


def _label(item: Any, index: int) -> str:
    name = item.get("name") if isinstance(item, Mapping) else None
    return str(name) if name else str(index)


def _read_plain_union(
    args: tuple[Any, ...], value: Any, path: str, problems: list[str]
) -> Any:
    attempts: list[list[str]] = []
    for arg in args:
        if arg is _NONE:
            continue
        trial: list[str] = []
        result = read(arg, value, path, trial)
        if not trial:
            return result
        attempts.append(trial)
    # The attempt that got deepest is the one that the writer meant.
    problems.extend(max(attempts, key=lambda trial: max(map(len, trial))))
    return value


def _read_union(
    members: dict[str, type], value: Any, path: str, problems: list[str]
) -> Any:
    tag = tag_of(next(iter(members.values())))[0]
    known = ", ".join(members)
    if not isinstance(value, Mapping):
        problems.append(
            f"{path}: expected a mapping with `{tag}:` (one of {known})."
            f" Received: {shown(value)}"
        )
        return None
    chosen = value.get(tag)
    if chosen not in members:
        problems.append(
            f"{path}.{tag}: expected one of {known}."
            f"{nearest(str(chosen), list(members))} Received: {chosen!r}"
        )
        return None
    return _read_dataclass(members[chosen], value, path, problems)


def _read_dataclass(cls: type, value: Any, path: str, problems: list[str]) -> Any:
    if isinstance(value, cls):
        return value
    if not isinstance(value, Mapping):
        problems.append(f"{path}: expected a mapping. Received: {shown(value)}")
        return None
    hints = typing.get_type_hints(cls)
    fields = {key_of(f): f for f in dataclasses.fields(cls)}
    before = len(problems)
    for key in value:
        if key not in fields:
            problems.append(
                f"{path}.{key}: unknown key.{nearest(str(key), list(fields))}"
                f" Known keys: {', '.join(fields)}"
            )
    values: dict[str, Any] = {}
    for key, field in fields.items():
        name = field.name
        if key in value:
            values[name] = read(hints[name], value[key], f"{path}.{key}", problems)
        elif (
            field.default is dataclasses.MISSING
            and field.default_factory is dataclasses.MISSING
        ):
            problems.append(f"{path}.{key}: missing. {field.metadata.get('doc', '')}")
    if len(problems) > before:
        return None
    try:
        result = cls(**values)
    except ConfigError as error:
        problems.extend(f"{path}.{text}" for text in error.problems)
        return None
    check = getattr(result, "problems", None)
    if check is not None and not hasattr(cls, "__post_init__"):
        problems.extend(f"{path}.{text}" if text else path for text in check())
    return result


def _read_scalar(kind: Any, value: Any, path: str, problems: list[str]) -> Any:
    if kind is Any:
        return value
    if isinstance(value, float) and not math.isfinite(value):
        problems.append(f"{path}: must be a finite number. Received: {shown(value)}")
        return value
    if (
        kind is float
        and isinstance(value, (int, float))
        and not isinstance(value, bool)
    ):
        return float(value)
    if kind is float and isinstance(value, str):
        # YAML 1.1 reads 1e-3 (no dot) as text.
        try:
            return float(value)
        except ValueError:
            pass
    if kind is bool and isinstance(value, bool):
        return value
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind is str and isinstance(value, (str, int, float)):
        if isinstance(value, bool):
            problems.append(
                f"{path}: YAML reads this as true or false; put it in quotes."
                f" Received: {shown(value)}"
            )
        return str(value)
    if kind not in (float, int, str, bool):
        raise TypeError(f"{path}: the schema has an annotation it cannot read: {kind}")
    problems.append(f"{path}: expected {kind.__name__}. Received: {shown(value)}")
    return value


def plain(value: Any) -> Any:
    """Dataclasses back to mappings, lists and scalars, ready for YAML."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            key_of(f): plain(getattr(value, f.name)) for f in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    return value
