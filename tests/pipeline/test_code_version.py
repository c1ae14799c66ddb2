"""The pipeline's cache sees every change of code that a component runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.code_version import ROOT, code_files, code_version
from tests.pipeline.conftest import environment
from tests.pipeline.samples import png, wav, write_csv

TREE = {
    "pipeline/__init__.py": "",
    "pipeline/entry.py": (
        "import json\nfrom pipeline import direct\n"
        "def one():\n    from trainer.deep.inner import value\n"
        "def two():\n    import serving.other\n"
    ),
    "pipeline/direct.py": "from .sibling import x as y\n",
    "pipeline/sibling.py": "COMMAND = ['python', '-m', 'serving.started']\n",
    "pipeline/unused.py": "",
    "trainer/__init__.py": "",
    "trainer/deep/__init__.py": "from . import registered\n",
    "trainer/deep/inner.py": "from ..above import z\n",
    "trainer/deep/registered.py": "",
    "trainer/above.py": "",
    "serving/__init__.py": "",
    "serving/other.py": "",
    "serving/started.py": "",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in TREE.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def changed(tree: Path, entry: str) -> set[str]:
    """The files whose change changes the version."""
    found = set()
    for name in TREE:
        before = code_version(entry, root=tree)
        (tree / name).write_text(TREE[name] + "\n# other\n")
        if code_version(entry, root=tree) != before:
            found.add(name)
        (tree / name).write_text(TREE[name])
        assert code_version(entry, root=tree) == before
    return found


def test_a_change_of_any_file_that_is_run_shows(tree: Path) -> None:
    """Imports in functions, of packages' own __init__, and what is started by name."""
    assert changed(tree, "pipeline.entry") == set(TREE) - {"pipeline/unused.py"}


def test_of_one_function_only_its_own_imports_count(tree: Path) -> None:
    assert changed(tree, "pipeline.entry:two") == {
        "pipeline/__init__.py", "pipeline/entry.py", "pipeline/direct.py",
        "pipeline/sibling.py", "serving/__init__.py", "serving/other.py",
        "serving/started.py",
    }  # fmt: skip


def test_a_module_that_is_not_there_is_no_version(tree: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"pipeline\.nothing"):
        code_version("pipeline.nothing", root=tree)


def test_reading_rows_loads_no_other_code(tmp_path: Path) -> None:
    """Held against what the interpreter has loaded after rows of each kind were read."""
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "a.wav").write_bytes(wav())
    row = {"image": "a.png", "sound": "a.wav", "note": "n", "age": 3, "label": "a"}
    manifest = write_csv(tmp_path / "m.csv", [{"id": i, **row} for i in range(3)])
    config = {
        "name": "all",
        "inputs": [
            {"name": "image", "modality": "image"}, {"name": "sound", "modality": "audio"},
            {"name": "note", "modality": "text"},
            {"name": "table", "modality": "tabular", "numeric": ["age"]},
        ],
        "heads": [{"name": "label", "kind": "classification", "classes": ["a", "b"]}],
        "data": {"id": "id"},
    }  # fmt: skip
    code = (
        "import json, sys\nfrom trainer.config import from_mapping\n"
        "from pipeline.rows import Row, iter_rows\nimport pipeline.example_gen\n"
        f"config = from_mapping(json.loads({json.dumps(json.dumps(config))}))\n"
        f"rows = list(iter_rows(config, {str(manifest)!r}))\n"
        "assert len(rows) == 3 and all(isinstance(r, Row) for r in rows), rows\n"
        "ours = ('pipeline', 'trainer', 'serving')\n"
        "print(json.dumps([m.__file__ for n, m in sys.modules.items()"
        " if n.split('.')[0] in ours and m.__file__]))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=environment(),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    loaded = {Path(name) for name in json.loads(done.stdout.splitlines()[-1])}
    known = set(code_files("pipeline.example_gen"))
    assert loaded <= known
    names = {str(path.relative_to(ROOT)) for path in known}
    assert names >= {
        "pipeline/cells.py", "pipeline/rows.py", "pipeline/splits.py",
        "serving/dicom.py", "serving/pictures.py", "serving/media.py",
        "trainer/features.py",
    }  # fmt: skip
    assert not names & {"trainer/train.py", "serving/rest.py", "pipeline/judge.py"}


def test_each_component_is_told_its_own_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline import pipeline as module
    from pipeline.scan import scan
    from trainer.config import from_mapping

    monkeypatch.setattr(module, "code_version", lambda *entries: f"of {entries}")
    config = from_mapping(
        {
            "name": "m",
            "inputs": [{"name": "note", "modality": "text"}],
            "heads": [
                {"name": "label", "kind": "classification", "classes": ["a", "b"]}
            ],
        }
    )
    rows = [{"note": "n", "label": "ab"[i % 2]} for i in range(40)]
    manifest = str(write_csv(tmp_path / "m.csv", rows))
    made = module.create_pipeline(
        config, scan(config, manifest), manifest, str(tmp_path)
    )
    found: dict[str, Any] = {}
    for one in made.components:
        settings = json.loads(one.exec_properties.get("custom_config") or "{}") or {}
        code = one.exec_properties.get("code") or settings.get("code")
        if code:
            found[one.id] = code
    assert found == {
        "ManifestExampleGen": "of ('pipeline.example_gen',)",
        "Transform": "of ('pipeline.module_file:preprocessing_fn',)",
        "Trainer": "of ('pipeline.module_file:run_fn',)",
    }
