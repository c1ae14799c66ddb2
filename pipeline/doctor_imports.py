"""Every third-party module that the product's code imports, imported.

The list is read from the code itself, lazy imports included, so it cannot fall behind.
`polymodal doctor` calls `main` in a process of its own, because a broken native library
may take the process with it.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

PACKAGES = ("trainer", "pipeline", "serving")
# Commands of other packages that the README tells people to type.
COMMANDS = ("tensorboard.main",)
# Extras of setup.py: their absence is a choice, a broken one is not.
OPTIONAL = ("gradio",)


def imported(root: Path | None = None) -> list[str]:
    """Names of the third-party modules that the code imports, sorted.

    Args:
        root: the folder that holds `PACKAGES`; this installation's by default.
    """
    root = root or Path(__file__).resolve().parent.parent
    found = {
        name
        for package in PACKAGES
        for path in (root / package).rglob("*.py")
        for name in _names(ast.parse(path.read_bytes()))
    }
    known = {*PACKAGES, *sys.stdlib_module_names}
    return sorted(
        {*COMMANDS, *(name for name in found if name.partition(".")[0] not in known)}
    )


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            # A module of a package, or what the module defines: `failures` tells.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def failures(names: Iterable[str]) -> dict[str, str]:
    """Imports modules; the reason of each that could not be imported.

    A name whose last part is an attribute of the module before it counts as imported.
    """
    out: dict[str, str] = {}
    for name in sorted(names, key=_order):
        if name in OPTIONAL and importlib.util.find_spec(name) is None:
            continue
        try:
            _import(name)
        except Exception as error:  # a module may raise anything while it is imported
            parent = name.rpartition(".")[0]
            if parent not in out:
                out[name] = f"{type(error).__name__}: {error}"
    return out


def _order(name: str) -> tuple[bool, str]:
    # KerasCV must see Keras 3: before Transform makes `tf.keras` Keras 2.
    return not name.startswith("keras_cv"), name


def _import(name: str) -> None:
    if name.startswith("keras_cv"):
        from trainer.backbones import keras_cv

        keras_cv()
        return
    parent, _, last = name.rpartition(".")
    if parent and hasattr(sys.modules.get(parent), last):
        return
    importlib.import_module(name)


def main() -> None:
    """Prints JSON: how many modules were `tried`, and {module: reason} of `failed`."""
    warnings.simplefilter("ignore")
    names = imported()
    print(json.dumps({"tried": len(names), "failed": failures(names)}))
