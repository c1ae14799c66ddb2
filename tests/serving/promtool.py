"""Prometheus' own checks, for the tests here: `promtool` and `prometheus`."""

import shutil
import subprocess
from pathlib import Path

import pytest

INSTALLER = Path(__file__).resolve().parents[2] / "scripts" / "install_tools.sh"
_CANNOT_INSTALL = 3


def need(*tools: str) -> None:
    """Installs what is missing, as `make test` does; skips only where that cannot be.

    Fails the test where an installation that should work does not.
    """
    if all(shutil.which(tool) for tool in tools):
        return
    done = subprocess.run(
        [str(INSTALLER), *tools],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if done.returncode == _CANNOT_INSTALL:
        pytest.skip(f"NOT RUN: {done.stdout.strip()}")
    if done.returncode:
        pytest.fail(f"{INSTALLER} {' '.join(tools)} failed:\n{done.stderr}")


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
