"""`polymodal deploy`: a config and the place of its models in, files out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.deploy import compose, kserve, kubernetes, monitoring, steps, storage
from pipeline.deploy.plan import DeployError, Plan, check
from pipeline.outputs import writable_file

TARGETS = ("compose", "kubernetes", "kserve")


def render(plan: Plan, targets: Sequence[str], output: Path) -> dict[str, str]:
    """Path below `output` -> text of every file; nothing is written.

    Raises:
        DeployError: a target cannot serve these models; or there are none.
    """
    check(plan, targets)
    found: dict[str, str] = {}
    if "compose" in targets:
        found |= compose.files(plan, output)
    if "kubernetes" in targets:
        found |= kubernetes.files(plan)
    if "kserve" in targets:
        found |= kserve.files(plan)
    if "kubernetes" in targets or "kserve" in targets:
        found |= storage.files(plan)
    if "kubernetes" in targets:
        found |= monitoring.files(plan)
    found["NEXT_STEPS.md"] = steps.text(plan, targets, output)
    return found


def write(
    plan: Plan, targets: Sequence[str], output: Path, force: bool = False
) -> list[Path]:
    """Writes the files; the same config and models give the same bytes.

    Raises:
        DeployError: as `render`; or a file is there with other contents (somebody's
            edits), and not `force`. Nothing is written then.
        OutputError: a file cannot be written. Nothing is written then.
    """
    texts = {
        output / name: text for name, text in render(plan, targets, output).items()
    }
    edited = [
        str(path)
        for path, text in texts.items()
        if path.is_file() and path.read_text(encoding="utf-8") != text
    ]
    if edited and not force:
        raise DeployError(
            f"{len(edited)} files are there with other contents, such as {edited[0]};"
            " nothing was written. --force overwrites them."
        )
    for path in texts:
        writable_file(path)
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(texts)
