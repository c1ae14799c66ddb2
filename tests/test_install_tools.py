"""scripts/install_tools.sh, on a path that holds only what each test puts there."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "install_tools.sh"


def program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (folder / name).chmod(0o755)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    for name in ("bash", "sort", "cat", "chmod"):
        found = shutil.which(name)
        assert found is not None
        os.symlink(found, tmp_path / name)
    program(tmp_path, "id", "echo 0")
    return tmp_path


def run(path: Path, *tools: str) -> tuple[int, str]:
    done = subprocess.run(
        ["bash", str(SCRIPT), *tools],
        env={"PATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def apt_get(path: Path, script: str) -> Path:
    """An apt-get that logs its arguments and then does what the script says."""
    log = path / "log"
    log.touch()
    program(path, "apt-get", f'echo "$*" >> {log}\n{script}')
    return log


def test_what_is_there_is_left_alone(path: Path) -> None:
    program(path, "promtool", "")
    log = apt_get(path, "exit 1")
    assert run(path, "promtool") == (0, "")
    assert log.read_text(encoding="utf-8") == ""


def test_what_is_missing_is_installed(path: Path) -> None:
    install = "\n".join(
        f"printf '#!/bin/sh\\n' > {path / name}; chmod +x {path / name}"
        for name in ("promtool", "h2load")
    )
    log = apt_get(path, install)
    assert run(path, "promtool", "h2load")[0] == 0
    (line,) = log.read_text(encoding="utf-8").splitlines()
    assert line.startswith("install --yes ")
    assert line.endswith(" nghttp2-client prometheus")
    assert run(path, "promtool", "h2load") == (0, "")  # nothing more to do


def test_old_lists_of_packages_are_renewed_once(path: Path) -> None:
    tool = path / "promtool"
    log = apt_get(
        path,
        f'[ "$1" = update ] && touch {path / "updated"} && exit 0\n'
        f"[ -e {path / 'updated'} ] || exit 100\n"
        f"printf '#!/bin/sh\\n' > {tool}; chmod +x {tool}",
    )
    # `touch` is what the fake uses, so it has to be there too.
    os.symlink(str(shutil.which("touch")), path / "touch")
    assert run(path, "promtool")[0] == 0
    verbs = [line.split()[0] for line in log.read_text(encoding="utf-8").splitlines()]
    assert verbs == ["install", "update", "install"]


def test_a_failed_installation_fails(path: Path) -> None:
    apt_get(path, "exit 100")
    code, said = run(path, "promtool")
    assert code == 1
    assert "promtool is still missing" in said


@pytest.mark.parametrize("lacks", ["root", "apt-get"])
def test_where_nothing_can_be_installed_it_says_what_is_needed(
    path: Path, lacks: str
) -> None:
    if lacks == "root":
        program(path, "id", "echo 1000")
        apt_get(path, "")
    code, said = run(path, "chromium", "chromedriver")
    assert code == 3
    assert "as root: apt-get install chromium chromium-driver" in said


def test_an_unknown_tool_is_named(path: Path) -> None:
    code, said = run(path, "promtol")
    assert code == 2
    assert "unknown tool promtol; known: " in said
