"""Prometheus' own checks, for the tests here: `promtool` and `prometheus`."""

import shutil
import subprocess
from pathlib import Path

import pytest

INSTALLER = Path(__file__).resolve().parents[2] / "scripts" / "install_tools.sh"


def need(*tools: str) -> None:
    """Installs what is missing, as `make test` does; fails the test where that cannot be."""
    if all(shutil.which(tool) for tool in tools):
        return
    done = subprocess.run(
        [str(INSTALLER), *tools],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if done.returncode:
        said = (done.stdout + done.stderr).strip()
        pytest.fail(f"{INSTALLER} {' '.join(tools)} failed:\n{said}")


def promtool(*arguments: str, input: str | None = None) -> tuple[int, str]:
    """Runs promtool; its exit status and all that it said."""
    need("promtool")
    done = subprocess.run(
        ["promtool", *arguments],
        input=input,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr
