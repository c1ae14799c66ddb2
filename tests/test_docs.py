"""docs/ says what the code does: the config reference is current, the example works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
_STEP = re.compile(
    r"^<!-- (?P<what>edit|file): (?P<path>\S+) -->\n```(?:diff|python)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def reference(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(root / "scripts/config_reference.py"), *words],
        capture_output=True,
        text=True,
        check=False,
    )


def test_config_reference_is_current() -> None:
    done = reference(ROOT, "--check")
    assert done.returncode == 0, done.stderr


def test_a_stale_config_reference_is_noticed(tmp_path: Path) -> None:
    for folder in ("docs", "scripts", "trainer"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    page = tmp_path / "docs/config.md"
    page.write_text(page.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    done = reference(tmp_path, "--check")
    assert done.returncode == 1
    assert "docs/config.md is stale: python scripts/config_reference.py" in done.stderr
    assert reference(tmp_path).returncode == 0
    assert reference(tmp_path, "--check").returncode == 0


def test_the_reference_has_every_dataclass_and_says_something_of_every_key() -> None:
    page = (DOCS / "config.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    assert [row for row in rows if row.endswith("|  |")] == []
    for kind in ("image", "audio", "text", "tabular", "gated", "regression", "bag"):
        assert f": {kind}`" in page


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda p: p.name)
def test_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [t for t in local if not (path.parent / t).exists()] == []


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda p: p.name)
def test_files_that_are_named_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    new = {found["path"] for found in _STEP.finditer(text) if found["what"] == "file"}
    named = re.findall(
        r"`((?:trainer|pipeline|serving|tests|scripts|configs)/[\w/.-]+)`", text
    )
    assert [n for n in named if n not in new and not (ROOT / n).exists()] == []


def edited(source: str, diff: str) -> str:
    """The source with the one place that the diff's `-` lines name replaced."""
    lines = diff.splitlines()
    old = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("+"))
    new = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("-"))
    assert source.count(old) == 1, f"is not, or is not once, in the file:\n{old}"
    return source.replace(old, new)


def follow(root: Path) -> list[str]:
    """Does in `root` what docs/adding_a_modality.md says; the files it touched."""
    page = (DOCS / "adding_a_modality.md").read_text(encoding="utf-8")
    touched = []
    for step in _STEP.finditer(page):
        path = root / step["path"]
        text = step["text"]
        if step["what"] == "edit":
            text = edited(path.read_text(encoding="utf-8"), text)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        touched.append(step["path"])
    return touched


def test_the_steps_fit_the_code(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "trainer", tmp_path / "trainer")
    assert follow(tmp_path) == [
        "trainer/input_config.py",
        "trainer/features.py",
        "trainer/modalities/signal.py",
        "trainer/modalities/__init__.py",
        "trainer/modalities/__init__.py",
        "tests/trainer/test_signal.py",
    ]


@pytest.mark.slow
def test_the_new_modality_works(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "trainer", tmp_path / "trainer")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    follow(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "ignore", "-p", "no:cacheprovider",
         "tests/trainer/test_signal.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    assert "2 passed" in done.stdout
