import importlib.metadata
import json
import socket
from pathlib import Path

import pytest

from pipeline import doctor, doctor_imports


def test_this_environment_has_every_declared_dependency() -> None:
    ranges = doctor.declared_ranges()
    assert ranges["tensorflow"] == "<2.17,>=2.16.2"
    assert "pytest" not in ranges, "extras are not asked for"
    assert [check.found for check in doctor.check_packages() if not check.ok] == []
    assert doctor.check_python().ok
    assert doctor.check_espeak().ok
    assert doctor.check_installers().ok


def test_a_version_out_of_range_and_a_missing_package_fail() -> None:
    checks = doctor.check_packages({"numpy": ">=99", "no-such-package": ">=1"})
    assert [(check.name, check.ok) for check in checks] == [
        ("package numpy", False),
        ("package no-such-package", False),
    ]
    assert checks[0].found == importlib.metadata.version("numpy")
    assert checks[0].advice == "expected numpy>=99: make setup"
    assert checks[1].found == "not installed"


def test_an_environment_without_the_project_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def requires(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", requires)
    (check,) = doctor.check_packages()
    assert not check.ok
    assert check.advice == "make setup"


def test_another_python_fails() -> None:
    check = doctor.check_python((3, 12, 1))
    assert not check.ok
    assert check.found.startswith("3.12.1")
    assert "expected 3.11" in check.advice


def test_an_occupied_port_fails_and_is_free_again_afterwards() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        taken = doctor.check_port(port)
    assert not taken.ok
    assert taken.found == "Address already in use"
    assert f":{port}" in taken.advice
    assert doctor.check_port(port) == doctor.Check(f"port {port}", True, "free")


def test_too_little_disk_and_memory_fail(tmp_path: Path) -> None:
    missing = tmp_path / "not" / "there" / "yet"
    assert doctor.check_disk(str(missing), minimum_gb=0).ok
    disk = doctor.check_disk(str(missing), minimum_gb=1e9)
    assert not disk.ok
    assert str(tmp_path) in disk.found
    assert disk.advice.startswith("expected 1e+09 GB")
    assert not doctor.check_memory(minimum_gb=1e9).ok


def test_devices_are_listed_and_a_missing_gpu_is_no_failure() -> None:
    def devices(*names: str) -> doctor.Check:
        listed = [f"/physical_device:{name}" for name in names]
        return doctor.check_devices(f"import json; print(json.dumps(['2', {listed}]))")

    alone = devices("CPU:0")
    assert alone.ok
    assert alone.found == "2: CPU:0"
    assert "make setup-gpu" in alone.advice
    assert devices("CPU:0", "GPU:0") == doctor.Check(
        "TensorFlow", True, "2: CPU:0, GPU:0"
    )


def test_a_library_that_does_not_load_or_hangs_fails() -> None:
    broken = doctor.check_tensorflow_io("raise ImportError('undefined symbol: _Z')")
    assert not broken.ok
    assert broken.found == "exit code 1: ImportError: undefined symbol: _Z"
    hanging = doctor.check_devices("import time; time.sleep(60)", timeout_s=0.5)
    assert not hanging.ok
    assert hanging.found == "no answer in 0.5 s"
    killed = doctor.check_devices("import os, signal; os.kill(os.getpid(), 4)")
    assert "AVX" in killed.advice


def test_what_the_code_imports_is_read_from_the_code(tmp_path: Path) -> None:
    for package in doctor_imports.PACKAGES:
        (tmp_path / package / "deep").mkdir(parents=True)
    (tmp_path / "serving" / "deep" / "one.py").write_text(
        "import os\nfrom trainer import model\nfrom . import two\n"
        "def later():\n    import aiohttp.web\n    from scipy.signal import stft\n"
    )
    assert doctor_imports.imported(tmp_path) == [
        "aiohttp.web",
        "scipy.signal",
        "scipy.signal.stft",
        "tensorboard.main",
    ]
    real = doctor_imports.imported()
    assert {"tensorflow", "keras_cv", "tensorflow_io", "tensorboard.main"} <= set(real)


def test_everything_that_the_code_imports_is_there() -> None:
    check = doctor.check_imports()
    assert check.ok, check.found


def test_a_module_without_its_own_dependencies_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "board_of_old").mkdir()
    (tmp_path / "board_of_old" / "__init__.py").touch()
    (tmp_path / "board_of_old" / "main.py").write_text("import no_such_resources\n")
    monkeypatch.syspath_prepend(tmp_path)
    reason = "ModuleNotFoundError: No module named 'no_such_resources'"
    names = ["board_of_old.main", "board_of_old.main.run", "json.dumps"]
    assert doctor_imports.failures(names) == {"board_of_old.main": reason}
    failed = json.dumps({"tried": 2, "failed": {"board_of_old.main": reason}})
    check = doctor.check_imports(f"print({failed!r})")
    assert not check.ok
    assert check.found == f"board_of_old.main ({reason})"
    assert check.advice == "rm -rf .venv, then make setup"
    fine = doctor.check_imports("""print('{"tried": 187, "failed": {}}')""")
    assert fine == doctor.Check("imports", True, "all 187 modules")


@pytest.mark.parametrize(("ok", "status"), [(True, 0), (False, 1)])
def test_the_exit_status_says_whether_anything_failed(
    ok: bool,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    check = doctor.Check("disk", ok, "at [/a]", "" if ok else "make room")
    monkeypatch.setattr(doctor, "run", lambda ports, path: [check])
    assert doctor.main() == status
    printed = capsys.readouterr().out
    assert "at [/a]" in printed, "brackets are not markup"
    assert ("failed: disk" in printed) is not ok


@pytest.mark.slow
def test_the_real_run_looks_at_everything(tmp_path: Path) -> None:
    checks = doctor.run(ports=(), path=str(tmp_path))
    names = {check.name for check in checks}
    assert {"Python", "packages", "eSpeak NG", "pip, uv", "memory"} <= names
    assert {check.name for check in checks if "load" in check.found} == {
        "tensorflow-io"
    }
    assert "imports" in names
