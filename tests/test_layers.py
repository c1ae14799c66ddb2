"""Holds the imports to the layers: who may know of whom (see BUILD_NOTES.md).

Read with `ast`, without importing anything; imports inside functions count too.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Low to high: a module imports only what is on its own level or below. A module that is
# not named is a helper: it stands nowhere itself, but what it imports counts for those
# who import it.
LEVELS = (
    ("trainer.config",),
    ("trainer.features", "trainer.layers"),
    ("trainer.modalities", "trainer.fusion", "trainer.heads", "trainer.objectives"),
    ("trainer.model", "trainer.dataset"),
    ("trainer.learner",),
    ("trainer.train", "trainer.tune", "trainer.export", "trainer.convert"),
)
# One file each, found by its name, removable without touching another.
FAMILIES = LEVELS[2]
# A package -> what it may not import: packages by their top-level name.
FORBIDDEN = {
    "trainer": {"pipeline", "serving", "tfx"},
    "serving": {
        *("trainer", "pipeline", "keras", "tf_keras", "keras_cv", "keras_hub"),
        *("keras_nlp", "tfx", "apache_beam", "tensorflow_transform"),
    },
    "pipeline": set(),
}
# The one file that may name tensorflow-io.
TENSORFLOW_IO = "serving.filesystems"


@dataclass(frozen=True)
class Import:
    line: int
    module: str


def modules(root: Path) -> dict[str, Path]:
    """Every module of the three packages by its dotted name."""
    found = {}
    for package in ("trainer", "pipeline", "serving"):
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = path
    return found


def imports(name: str, path: Path, known: dict[str, Path]) -> Iterator[Import]:
    """What a file imports, relative imports and `from package import module` resolved."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                kept = parents[: len(parents) - node.level + 1]
                base = ".".join([*kept, *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                # tensorflow's own keras is Keras as well.
                whole = inner in known or inner == "tensorflow.keras"
                yield Import(node.lineno, inner if whole else base)
        elif (
            isinstance(node, ast.Attribute)
            and node.attr == "keras"
            and isinstance(node.value, ast.Name)
            and node.value.id in ("tf", "tensorflow")
        ):
            yield Import(node.lineno, "tensorflow.keras")


def top(module: str) -> str:
    """The package a module is of; `tensorflow.keras` is of keras."""
    return "keras" if module.startswith("tensorflow.keras") else module.split(".")[0]


def level(module: str) -> int | None:
    """The index in LEVELS; None for helpers."""
    for index, names in enumerate(LEVELS):
        if any(module == name or module.startswith(name + ".") for name in names):
            return index
    return None


def member(module: str) -> str | None:
    """The family (folder) that a module is a file of, if it is one."""
    return next((f for f in FAMILIES if module.startswith(f + ".")), None)


def shared(module: str) -> bool:
    """What the files of a family have in common: `base`, and files named `_so`."""
    return module.rpartition(".")[2].startswith(("base", "_"))


def violations(root: Path) -> list[str]:
    """One line for each import that the layers do not allow."""
    known = modules(root)
    graph = {name: list(imports(name, path, known)) for name, path in known.items()}

    def reached(module: str, seen: set[str]) -> Iterator[str]:
        """A module, and through helpers what they import in their turn."""
        if module in seen:
            return
        seen.add(module)
        yield module
        if module in graph and module.startswith("trainer.") and level(module) is None:
            for further in graph[module]:
                yield from reached(further.module, seen)

    def reasons(name: str, module: str) -> Iterator[str]:
        package = name.split(".")[0]
        barred = FORBIDDEN[package] | {"tensorflow_io"}
        if name == TENSORFLOW_IO:
            barred = barred - {"tensorflow_io"}
        if top(module) in barred:
            yield f"{package} may not import {top(module)}"
        own = level(name)
        family = member(name)
        for target in reached(module, set()):
            other = level(target)
            if own is not None and other is not None and other > own:
                yield f"{target} is in a higher layer"
            # Another folder's dict may be used: it names no file. The own one may not:
            # whoever reads it knows the siblings.
            into = member(target) or (target if target == family else None)
            if family and into and not shared(target):
                yield f"files of {family} may not know {target}"

    found = []
    for name, path in known.items():
        for one in graph[name]:
            for reason in reasons(name, one.module):
                where = f"{path.relative_to(root)}:{one.line}"
                found.append(f"{where} imports {one.module}: {reason}")
    return found


def test_the_project_keeps_its_layers() -> None:
    assert violations(ROOT) == []


def fake(root: Path, files: dict[str, str]) -> list[str]:
    """The violations in a tree of these files."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return violations(root)


def test_what_is_allowed_passes(tmp_path: Path) -> None:
    allowed = {
        "trainer/config.py": "import yaml",
        "trainer/features.py": "from trainer.config import Config",
        "trainer/helper.py": "from trainer import features",
        "trainer/modalities/__init__.py": "from trainer.modalities import image",
        "trainer/modalities/base.py": "",
        "trainer/heads/__init__.py": "",
        "trainer/objectives/supervised.py": "from trainer.heads import heads",
        "trainer/modalities/image.py": "import keras\nfrom .base import Modality\n"
        "from trainer.helper import helped\nimport tensorflow_transform as tft",
        "trainer/model.py": "from trainer.modalities import MODALITIES",
        "trainer/train.py": "from trainer import learner, tune",
        "trainer/tune.py": "",
        "trainer/learner.py": "from trainer.model import build_model",
        "pipeline/pipeline.py": "import tfx.v1 as tfx\nfrom trainer import train\n"
        "from serving import media",
        "serving/media.py": "from serving import files",
        "serving/filesystems.py": "import tensorflow_io",
        "serving/server.py": "import tensorflow as tf\nfrom serving import media",
    }
    assert fake(tmp_path, allowed) == []


def test_each_constructed_violation_is_found(tmp_path: Path) -> None:
    found = fake(
        tmp_path,
        {
            "trainer/config.py": "from trainer import features",
            "trainer/features.py": "",
            "trainer/layers.py": "from trainer.helper import x",
            "trainer/helper.py": "def f():\n    from trainer import learner",
            "trainer/learner.py": "import tfx.v1",
            "trainer/model.py": "from serving import media",
            "trainer/modalities/__init__.py": "",
            "trainer/modalities/image.py": "from trainer.modalities import text",
            "trainer/modalities/text.py": "from .image import x",
            "trainer/modalities/audio.py": "from trainer.modalities import MODALITIES",
            "trainer/heads/ranking.py": "from ..modalities.image import x",
            "pipeline/example_gen.py": "import tensorflow_io",
            "serving/media.py": "",
            "serving/filesystems.py": "import tensorflow_io",
            "serving/server.py": "import tensorflow_io.audio\nimport trainer.config",
            "serving/client.py": "import tensorflow as tf\nx = tf.keras.Model",
            "serving/rest.py": "def f():\n    from tensorflow import keras",
        },
    )
    assert found == [
        "trainer/config.py:1 imports trainer.features: "
        "trainer.features is in a higher layer",
        "trainer/heads/ranking.py:1 imports trainer.modalities.image: "
        "files of trainer.heads may not know trainer.modalities.image",
        "trainer/layers.py:1 imports trainer.helper: "
        "trainer.learner is in a higher layer",
        "trainer/learner.py:1 imports tfx.v1: trainer may not import tfx",
        "trainer/modalities/audio.py:1 imports trainer.modalities: "
        "files of trainer.modalities may not know trainer.modalities",
        "trainer/modalities/image.py:1 imports trainer.modalities.text: "
        "files of trainer.modalities may not know trainer.modalities.text",
        "trainer/modalities/text.py:1 imports trainer.modalities.image: "
        "files of trainer.modalities may not know trainer.modalities.image",
        "trainer/model.py:1 imports serving.media: trainer may not import serving",
        "pipeline/example_gen.py:1 imports tensorflow_io: "
        "pipeline may not import tensorflow_io",
        "serving/client.py:2 imports tensorflow.keras: serving may not import keras",
        "serving/rest.py:2 imports tensorflow.keras: serving may not import keras",
        "serving/server.py:1 imports tensorflow_io.audio: "
        "serving may not import tensorflow_io",
        "serving/server.py:2 imports trainer.config: serving may not import trainer",
    ]
