"""A hash over all of our code that a piece of work may run: new code, new results.

Which files those are is read from the imports themselves, from file to file, those inside
of functions too; nobody keeps a list.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("pipeline", "trainer", "serving")
"""Whose files are ours; other packages change with the lock file."""

_SPELLED = re.compile(rf"(?:{'|'.join(PACKAGES)})(?:\.\w+)+")


def code_version(*entries: str, root: Path = ROOT) -> str:
    """Hash over the files that are run from some entries.

    Args:
        entries: `package.module`, all of it; or `package.module:function`, which leaves
            out what only the module's other functions import.
        root: the folder of the packages.

    Raises:
        ModuleNotFoundError: there is no such module of ours.
    """
    digest = hashlib.sha256()
    for path in code_files(*entries, root=root):
        digest.update(str(path.relative_to(root)).encode())
        digest.update(b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def code_files(*entries: str, root: Path = ROOT) -> list[Path]:
    """The files that `code_version` is about, sorted."""
    found: dict[str, Path] = {}
    waiting: list[tuple[str, str]] = []
    for entry in entries:
        module, _, function = entry.partition(":")
        if _file(module, root) is None:
            raise ModuleNotFoundError(f"{module}: no module of {', '.join(PACKAGES)}")
        waiting.append((module, function))
    while waiting:
        module, function = waiting.pop()
        path = _file(module, root)
        if path is None or module in found:
            continue
        found[module] = path
        imported = _imports(path, module, function, path.stat().st_mtime_ns)
        # To import a module is to run its packages' __init__ first.
        parents = {
            ".".join(module.split(".")[:n]) for n in range(1, module.count(".") + 1)
        }
        waiting += [(name, "") for name in sorted({*imported, *parents})]
    return sorted(found.values())


def _file(module: str, root: Path) -> Path | None:
    if module.split(".")[0] not in PACKAGES:
        return None
    place = root.joinpath(*module.split("."))
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if path.is_file():
            return path
    return None


@functools.lru_cache(maxsize=4096)
def _imports(path: Path, module: str, function: str, _changed: int) -> frozenset[str]:
    """Names that a file imports; a module's attribute is among them as if it were one."""
    tree = ast.parse(path.read_bytes())
    body: list[ast.stmt] = tree.body
    if function:
        body = [
            node
            for node in tree.body
            if not isinstance(node, ast.FunctionDef) or node.name == function
        ]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return frozenset(
        name for node in body for one in ast.walk(node) for name in _named(one, package)
    )


def _named(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Constant):
        # `python -m serving.sound_helper`, and what TFX is given by its name.
        if isinstance(node.value, str) and _SPELLED.fullmatch(node.value):
            yield from (node.value, node.value.rpartition(".")[0])
    elif isinstance(node, ast.Import):
        yield from (one.name for one in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            above = package.split(".")[: package.count(".") + 2 - node.level]
            base = ".".join([*above, *filter(None, [node.module])])
        yield base
        yield from (f"{base}.{one.name}" for one in node.names)
