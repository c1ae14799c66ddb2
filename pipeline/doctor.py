"""`polymodal doctor`: whether this machine can run the project, and what to do if not."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MIN_DISK_GB = 5.0
MIN_MEMORY_GB = 4.0
# TensorFlow takes ten seconds to import here, several times that on a cold disk.
PROBE_SECONDS = 120.0

_REINSTALL = "make setup"
_DEVICES = (
    "import json, tensorflow as tf; print(json.dumps([tf.__version__, "
    "[d.name for d in tf.config.list_physical_devices()]]))"
)
_IMPORTS = "from pipeline.doctor_imports import main; main()"
_TENSORFLOW_IO = (
    "import json, tensorflow_io as io; "
    "io.audio.decode_flac; from tensorflow_io.python.ops import core_ops; "
    "core_ops.io_decode_dicom_image; print(json.dumps(io.__version__))"
)


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Attributes:
        name: what was looked at.
        ok: whether it will do.
        found: what is there.
        advice: what to do about it; empty if nothing.
    """

    name: str
    ok: bool
    found: str
    advice: str = ""


def run(ports: Sequence[int] = (8500, 8501), path: str = ".") -> list[Check]:
    """Looks at the machine; changes nothing. Takes half a minute to a minute.

    Args:
        ports: TCP ports that the model server is to listen on.
        path: where data and models are to be written.

    Returns:
        The checks, in the order in which failures are best mended.
    """
    checks = [check_python(), *check_packages(), check_espeak(), check_installers()]
    checks += [check_disk(path), check_memory(), *map(check_port, ports)]
    return [*checks, check_devices(), check_tensorflow_io(), check_imports()]


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Check:
    """Python is 3.11, the only version that the whole stack has wheels for."""
    found = ".".join(map(str, version)) + f" in {sys.prefix}"
    if version[:2] == (3, 11):
        return Check("Python", True, found)
    return Check("Python", False, found, "expected 3.11: install it, then make setup")


def declared_ranges(project: str = "polymodal") -> dict[str, str]:
    """Version range of each direct dependency, as setup.py declared it when installed.

    Raises:
        PackageNotFoundError: the project itself is not installed.
    """
    from packaging.requirements import Requirement

    required = map(Requirement, importlib.metadata.requires(project) or ())
    return {
        one.name: str(one.specifier)
        for one in required
        if one.marker is None or one.marker.evaluate({"extra": ""})
    }


def check_packages(ranges: Mapping[str, str] | None = None) -> list[Check]:
    """Installed versions lie in the ranges the code is written for; one row if all do."""
    from packaging.specifiers import SpecifierSet

    if ranges is None:
        try:
            ranges = declared_ranges()
        except importlib.metadata.PackageNotFoundError:
            found = f"polymodal is not installed in {sys.prefix}"
            return [Check("packages", False, found, _REINSTALL)]
    failures = []
    for name, wanted in ranges.items():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            advice = f"expected {name}{wanted}: {_REINSTALL}"
            failures.append(Check(f"package {name}", False, "not installed", advice))
            continue
        if not SpecifierSet(wanted).contains(version, prereleases=True):
            advice = f"expected {name}{wanted}: {_REINSTALL}"
            failures.append(Check(f"package {name}", False, version, advice))
    return failures or [Check("packages", True, f"all {len(ranges)} in range")]


def check_devices(code: str = _DEVICES, timeout_s: float = PROBE_SECONDS) -> Check:
    """TensorFlow imports, in a process of its own; a missing GPU is no failure."""
    answer = _probe("TensorFlow", code, timeout_s)
    if isinstance(answer, Check):
        return answer
    version, devices = answer
    gpus = [name for name in devices if ":GPU:" in name]
    found = f"{version}: {', '.join(name.split(':', 1)[1] for name in devices)}"
    if gpus:
        return Check("TensorFlow", True, found)
    advice = "no GPU, which is fine; to use an NVIDIA one: make setup-gpu"
    return Check("TensorFlow", True, found, advice)


def check_tensorflow_io(
    code: str = _TENSORFLOW_IO, timeout_s: float = PROBE_SECONDS
) -> Check:
    """tensorflow-io's native operations load beside this TensorFlow."""
    answer = _probe("tensorflow-io", code, timeout_s)
    if isinstance(answer, Check):
        return answer
    return Check("tensorflow-io", True, f"{answer}, native operations load")


def check_imports(code: str = _IMPORTS, timeout_s: float = PROBE_SECONDS) -> Check:
    """Every module that the code and the README's commands use can be imported."""
    answer = _probe("imports", code, timeout_s)
    if isinstance(answer, Check):
        return answer
    if not answer["failed"]:
        return Check("imports", True, f"all {answer['tried']} modules")
    reasons = [f"{name} ({reason})" for name, reason in answer["failed"].items()]
    return Check(
        "imports", False, "; ".join(reasons), f"rm -rf .venv, then {_REINSTALL}"
    )


def check_espeak() -> Check:
    """The speech library of the demo data is there."""
    try:
        import espeakng_loader

        library = Path(espeakng_loader.get_library_path())
        voices = Path(espeakng_loader.get_data_path())
    except (ImportError, RuntimeError) as error:
        return Check("eSpeak NG", False, str(error), f"{_REINSTALL} (espeakng-loader)")
    if library.is_file() and voices.is_dir():
        return Check("eSpeak NG", True, str(library.name))
    advice = f"{library} is missing: reinstall espeakng-loader"
    return Check("eSpeak NG", False, "no library", advice)


def check_port(port: int, host: str = "127.0.0.1") -> Check:
    """Nothing listens on a TCP port."""
    name = f"port {port}"
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a connection that is just closing does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            advice = (
                f"see who holds it (ss -ltnp 'sport = :{port}') and stop that, or "
                "serve on another port"
            )
            return Check(name, False, error.strerror or str(error), advice)
    return Check(name, True, "free")


def check_disk(path: str, minimum_gb: float = MIN_DISK_GB) -> Check:
    """There is room at a path; for one that does not exist yet, at its parent."""
    place = Path(path).absolute()
    while not place.exists():
        place = place.parent
    free_gb = shutil.disk_usage(place).free / 1e9
    found = f"{free_gb:.1f} GB free at {place}"
    if free_gb >= minimum_gb:
        return Check("disk", True, found)
    advice = f"expected {minimum_gb:g} GB: make room, or write to another disk"
    return Check("disk", False, found, advice)


def check_memory(minimum_gb: float = MIN_MEMORY_GB) -> Check:
    """Enough memory is available for a pipeline's largest step."""
    import psutil

    memory = psutil.virtual_memory()
    found = f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB available"
    if memory.available / 1e9 >= minimum_gb:
        return Check("memory", True, found)
    advice = f"expected {minimum_gb:g} GB available: close programs, or add memory"
    return Check("memory", False, found, advice)


def check_installers() -> Check:
    """Pip is in this environment: Transform calls it. uv is named where it is found."""
    try:
        pip = importlib.metadata.version("pip")
    except importlib.metadata.PackageNotFoundError:
        advice = f"TFX's Transform calls `python -m pip`: {_REINSTALL}"
        return Check("pip", False, "not in this environment", advice)
    own = Path(sys.prefix).parent / ".uv" / "bin" / "uv"
    uv = shutil.which("uv") or (str(own) if own.is_file() else None)
    found = f"pip {pip}, {'uv at ' + uv if uv else 'no uv'}"
    return Check("pip, uv", True, found, "" if uv else f"{_REINSTALL} brings uv")


def _probe(name: str, code: str, timeout_s: float) -> Any:
    """What a Python program prints as JSON, or the failed check."""
    try:
        child = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
    except subprocess.TimeoutExpired:
        advice = "the machine is overloaded, or a GPU driver hangs (try nvidia-smi)"
        return Check(name, False, f"no answer in {timeout_s:g} s", advice)
    if child.returncode == 0:
        return json.loads(child.stdout.strip().splitlines()[-1])
    reason = (child.stderr.strip().splitlines() or ["no message"])[-1]
    found = f"exit code {child.returncode}: {reason}"
    if child.returncode == -4:
        advice = (
            f"this processor ({platform.machine()}) lacks AVX, which the wheels need"
        )
    else:
        advice = f"rm -rf .venv, then {_REINSTALL}"
    return Check(name, False, found, advice)


def show(checks: Sequence[Check]) -> None:
    """Prints the checks as a table."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("", "check", "found", "what to do")
    for check in checks:
        mark = Text("ok", "green") if check.ok else Text("FAIL", "bold red")
        # As plain text: paths may hold brackets, which rich would take for markup.
        table.add_row(mark, Text(check.name), Text(check.found), Text(check.advice))
    Console().print(table)


def main(ports: Sequence[int] = (8500, 8501), path: str = ".") -> int:
    """Runs and prints the checks.

    Returns:
        0 if all will do, 1 if any fails: an exit status.
    """
    checks = run(ports, path)
    show(checks)
    failed = [check.name for check in checks if not check.ok]
    print(f"failed: {', '.join(failed)}" if failed else "all checks passed")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
