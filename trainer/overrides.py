"""`--set KEY.PATH=VALUE`: one key of a config's mapping, set from the command line."""

from __future__ import annotations

from typing import Any

import yaml

from trainer.config_error import ConfigError
from trainer.schema import nearest


def override_key(mapping: Any, override: str) -> None:
    """Sets one key, lists by index or by the `name` of their items, in place."""
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError("--set", [f"expected key.path=value. Received: {override!r}"])
    *parents, last = key.strip().split(".")
    node = mapping
    for part in parents:
        node = _step(node, part, key)
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError("--set", [f"{key}: not a YAML value: {error}"]) from None
    if isinstance(node, list):
        node[_position(node, last, key)] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        raise ConfigError("--set", [f"{key}: {parents[-1]!r} is not a mapping."])


def _step(node: Any, part: str, key: str) -> Any:
    if isinstance(node, list):
        return node[_position(node, part, key)]
    if isinstance(node, dict):
        if node.get(part) is None:
            node[part] = {}
        return node[part]
    raise ConfigError("--set", [f"{key}: nothing lies under {part!r}."])


def _position(items: list[Any], part: str, key: str) -> int:
    names = [str(i.get("name", n)) for n, i in enumerate(items) if isinstance(i, dict)]
    if part in names:
        return names.index(part)
    if part.isdigit() and int(part) < len(items):
        return int(part)
    raise ConfigError(
        "--set", [f"{key}: no {part!r} here.{nearest(part, names)} Known: {names}"]
    )
