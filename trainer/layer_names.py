"""What the model's layers are called, and with them the paths of its variables.

`inputs.INPUT.*` reads an input, `fusion.*` and `fusion.INPUT.*` join them,
`heads.HEAD.*` answers. No name in a config holds a dot, so that layers of two parts never
share a name, whatever inputs, columns and heads are called.
"""

from __future__ import annotations

import re


def input_layers(name: str) -> str:
    """What the names of an input's layers begin with, before a dot."""
    return f"inputs.{name}"


def logits_layer(head: str) -> str:
    """The layer of a head on the fused embedding."""
    return f"heads.{head}.logits"


def auxiliary_layer(head: str, name: str) -> str:
    """The layer of a head's copy that sees one input alone."""
    return f"heads.{head}.from.{name}"


def tops(paths: list[str]) -> str:
    """How variables' paths begin, for messages: `fusion.out, heads.grade, inputs.note`."""
    return ", ".join(
        sorted({".".join(path.split("/")[0].split(".")[:2]) for path in paths})
    )


def former_path(path: str) -> str:
    """A variable's path in models that were exported when names were joined by `_`."""
    layer, slash, rest = path.partition("/")
    layer = re.sub(r"^(inputs|heads)\.", "", layer)
    layer = re.sub(r"^(fusion\.[^.]+)\.(features|hidden)$", r"\1", layer)
    return layer.replace(".", "_") + slash + rest
