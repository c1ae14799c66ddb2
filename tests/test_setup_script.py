"""`scripts/setup.sh` with a stand-in for uv: what it installs, into what, and when."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
UV = """#!/bin/bash
echo "$*" >>calls
case "$1" in
    venv) python3.11 -m venv --without-pip "${@: -1}" ;;
    pip) [ ! -e fail ] ;;
esac
"""


class Clone:
    """A folder with a space in its name, as if just cloned."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "a clone"
        self.tools = folder / "tools"
        (self.path / "scripts").mkdir(parents=True)
        self.tools.mkdir()
        for name in ("scripts/setup.sh", "setup.py"):
            shutil.copy(ROOT / name, self.path / name)
        (self.path / "requirements.lock").write_text("numpy==1\n")
        (self.path / "requirements-gpu.lock").write_text("numpy==1\ncuda==1\n")
        self.tool("uv", UV)
        base = Path(sys.base_prefix, "bin", "python3.11")
        self.tool("python3.11", f'#!/bin/sh\nexec "{base}" "$@"\n')

    def tool(self, name: str, text: str) -> None:
        (self.tools / name).write_text(text)
        (self.tools / name).chmod(0o755)

    def setup(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "scripts/setup.sh"],
            cwd=self.path,
            env={"PATH": f"{self.tools}:/usr/bin:/bin", **environment},
            capture_output=True,
            text=True,
        )

    def calls(self) -> list[str]:
        """The first words of what uv was asked since the last look."""
        log = self.path / "calls"
        asked = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [" ".join(a.split()[:2]) for a in asked if a != "--version"]


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


FRESH = ["venv --quiet", "pip sync", "pip install"]
AGAIN = ["pip sync", "pip install"]


def test_a_second_call_does_nothing_and_a_changed_lock_installs(clone: Clone) -> None:
    assert clone.setup().returncode == 0
    assert clone.calls() == FRESH
    assert clone.setup().returncode == 0
    assert clone.calls() == []
    (clone.path / "requirements.lock").write_text("numpy==2\n")
    assert clone.setup().returncode == 0
    assert clone.calls() == AGAIN


def test_a_failed_installation_is_made_afresh(clone: Clone) -> None:
    (clone.path / "fail").touch()
    failed = clone.setup()
    assert failed.returncode == 1
    assert "packages of requirements.lock could not be installed" in failed.stderr
    (clone.path / "fail").unlink()
    clone.calls()
    again = clone.setup()
    assert "its installation was cut short" in again.stdout
    assert clone.calls() == FRESH


def test_nothing_is_installed_into_the_python_behind_a_broken_environment(
    clone: Clone,
) -> None:
    clone.setup()
    clone.calls()
    # What an interrupted removal leaves: a link to the base Python.
    (clone.path / ".venv" / "pyvenv.cfg").unlink()
    again = clone.setup()
    assert again.returncode == 0
    assert "not a working environment" in again.stdout
    assert clone.calls() == FRESH
    # And where uv makes no environment, nothing is installed at all.
    shutil.rmtree(clone.path / ".venv")
    bare = '#!/bin/bash\necho "$*" >>calls\nmkdir -p .venv/bin\n'
    clone.tool("uv", bare + 'ln -s "$(command -v python3.11)" .venv/bin/python\n')
    refused = clone.setup()
    assert refused.returncode == 1
    assert "is not a virtual environment" in refused.stderr
    assert clone.calls() == ["venv --quiet"]


def test_a_moved_folder_is_made_afresh(clone: Clone) -> None:
    clone.setup()
    clone.path = clone.path.rename(clone.path.with_name("moved"))
    clone.calls()
    assert "moved or copied" in clone.setup().stdout
    assert clone.calls() == FRESH


def test_the_gpu_lock_stays_until_it_is_changed_back(clone: Clone) -> None:
    clone.setup(POLYMODAL_LOCK="requirements-gpu.lock")
    clone.calls()
    clone.setup()
    assert clone.calls() == []
    assert clone.setup(POLYMODAL_LOCK="requirements.lock").returncode == 0
    assert clone.calls() == AGAIN
    unknown = clone.setup(POLYMODAL_LOCK="other.lock")
    assert unknown.returncode == 1
    assert "'other.lock' does not exist" in unknown.stderr


def test_without_python_3_10_the_message_says_what_to_install(clone: Clone) -> None:
    clone.tool("python3.11", "#!/bin/sh\nexit 127\n")
    failed = clone.setup()
    assert failed.returncode == 1
    assert "pyenv install 3.11" in failed.stderr
    assert clone.calls() == ["python install", "python find"]
