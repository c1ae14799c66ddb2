"""What a user can mend ends as one sentence and exit status 2, whatever the command."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from pipeline.cli import main
from pipeline.explained import ExplainedGroup
from pipeline.outputs import OutputError, held
from tests.pipeline.conftest import environment

CONFIG = """
name: small
inputs: [{name: note, modality: text}]
heads: [{name: label, kind: classification, classes: [a, b]}]
"""
ROWS = "note,label\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(40))


def polymodal(*words: str) -> Result:
    return CliRunner().invoke(main, [*words])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a config, a manifest, and what is none."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(CONFIG)
    (tmp_path / "m.csv").write_text(ROWS)
    (tmp_path / "bytes.yaml").write_bytes(bytes(range(256)))
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    return tmp_path


RUN = ("run", "c.yaml", "--data", "m.csv", "--output")
DEPLOY = ("deploy", "c.yaml", "--models", "gs://b/m", "--target", "kubernetes")
EVALUATE = ("evaluate", "--model", "none", "--data", "m.csv")
MONITOR = ("monitor", "--logs", "none", "--baseline")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*RUN, "/proc/out"), "cannot write /proc/out: "),
        ((*RUN, "file"), "cannot write file: Not a directory"),
        ((*RUN, "file/out"), "cannot write file/out: Not a directory"),
        ((*RUN, "s3://bucket/out"), "expected a folder of this machine"),
        ((*RUN, "o", "--set", "nothing=1"), "nothing"),
        (("run", "c.yaml", "--data", "folder", "--output", "o"), "folder: "),
        (("run", "folder", "--data", "m.csv", "--output", "o"), "folder: Is a directory"),
        (("run", "none", "--data", "m.csv", "--output", "o"), "none: 1 problem"),
        (("render", "bytes.yaml"), "not valid YAML in UTF-8"),
        (("render", "folder"), "folder: Is a directory"),
        (("render", "c.yaml", "--set", "training.epoch=2"), "epoch"),
        (("check", "folder"), "folder"),
        (("check", "file/c.yaml"), "Not a directory"),
        (("init", "m.csv", "-o", "/proc/c.yaml"), "/proc/c.yaml: "),
        (("init", "m.csv", "-o", "file/c.yaml"), "file"),
        ((*EVALUATE, "--json", "folder"), "cannot write folder: Is a directory"),
        (EVALUATE, "none: no SavedModel here"),
        (("predict", "--data", "m.csv", "--output", "o"), "--model or --target"),
        (
            ("predict", "--model", "none", "--data", "m.csv", "--output", "folder"),
            "cannot write folder: Is a directory",
        ),
        (
            ("predict", "--model", "folder", "--data", "m.csv", "--output", "o"),
            "folder: no SavedModel here",
        ),
        (
            ("predict", "--target", "nowhere", "--data", "m.csv", "--output", "o"),
            "'nowhere' is not HOST:PORT/NAME",
        ),
        (
            ("predict", "--target", "localhost:1/m", "--data", "m.csv", "--output", "o",
             "--token-file", "folder"),
            "folder: Is a directory",
        ),
        (("demo-data", "d", "--examples", "3"), "40 or more examples"),
        (("demo-data", "d", "--seed", "-1"), "-1"),
        (("demo-data", "file"), "cannot write file: Not a directory"),
        (("demo", "--output", "file"), "cannot write file: Not a directory"),
        (("doctor", "--port", "99999"), "99999 is not in the range 1<=x<=65535"),
        (("doctor", "--port", "0"), "0 is not in the range"),
        ((*DEPLOY, "--output", "file"), "cannot write file/"),
        (("deploy", "folder", "--models", "gs://b/m"), "folder: Is a directory"),
        ((*MONITOR, "folder"), "folder"),
        ((*MONITOR, "file"), "file"),
    ],
)  # fmt: skip
def test_one_sentence_and_status_2(
    folder: Path, words: tuple[str, ...], said: str
) -> None:
    before = sorted(str(path) for path in folder.rglob("*"))
    done = polymodal(*words)
    assert done.exit_code == 2, done.output
    assert isinstance(done.exception, SystemExit)
    assert said in " ".join(done.output.split()), done.output
    left = sorted(str(path) for path in folder.rglob("*"))
    allowed = {
        str(folder / name) for name in ("o", "o/.polymodal.lock", "o/config.yaml")
    }
    assert set(left) - set(before) <= allowed


@pytest.mark.parametrize("name", ["out [1]", "out*", "what?", "a\\b"])
def test_a_path_that_is_a_pattern_is_refused_before_anything_runs(
    folder: Path, name: str
) -> None:
    done = polymodal(*RUN, name)
    assert done.exit_code == 2
    said = " ".join(done.output.split())
    assert f"cannot write {folder / name}: " in said
    assert "is a pattern to TensorFlow and Beam" in said
    assert not (folder / name).exists()


def test_a_working_folder_that_is_a_pattern_is_refused_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a [1]").mkdir()
    monkeypatch.chdir(folder / "a [1]")
    done = polymodal("run", "../c.yaml", "--data", "../m.csv", "--output", "out")
    assert done.exit_code == 2
    assert "is a pattern" in done.output


def test_a_target_without_a_server_is_said_before_rows_are_read(folder: Path) -> None:
    done = polymodal(
        "predict", "--target", "localhost:9/m", "--data", "m.csv", "--output", "o.jsonl",
        "--config", "c.yaml",
    )  # fmt: skip
    assert done.exit_code == 2, done.output
    assert "error: localhost:9/m: UNAVAILABLE" in done.output
    assert not list(folder.glob("o.jsonl*"))


def test_two_runs_do_not_share_a_folder(folder: Path) -> None:
    (folder / "out").mkdir()
    with held("out"):
        done = polymodal(*RUN, "out")
        assert done.exit_code == 2
        said = " ".join(done.output.split())
        assert (
            f"{folder / 'out'}: a run is under way there (process {os.getpid()}" in said
        )
        assert "scanning" not in said
        assert not (folder / "out/config.yaml").exists()
        assert polymodal("demo", "--output", "out").exit_code == 2
    with held("out"):  # the end of one lets the next one in
        pass


def test_a_killed_run_frees_its_folder(folder: Path) -> None:
    code = (
        "import time; from pipeline.outputs import held\n"
        "with held('out'):\n    print('held', flush=True); time.sleep(60)"
    )
    (folder / "out").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with (
            pytest.raises(OutputError, match=f"process {process.pid}, since"),
            held("out"),
        ):
            pass
        process.send_signal(signal.SIGKILL)
    with held("out"):
        pass


def failing(error: Callable[[], BaseException]) -> Result:
    """A command that fails so, below a group as `polymodal` is one."""

    @click.group(cls=ExplainedGroup)
    def group() -> None:
        pass

    @group.command()
    def fails() -> None:
        raise error()

    return CliRunner().invoke(group, ["fails"])


def caused(cause: Exception) -> Exception:
    error = RuntimeError("a component failed")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "x.csv"),
         "cannot read or write x.csv: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"),
         "cannot write: No space left on device"),
        (OSError(errno.EROFS, "Read-only file system", "/mnt/o"),
         "cannot read or write /mnt/o: Read-only file system"),
        (OSError(errno.EADDRINUSE, "Address already in use"), "Address already in use"),
        (caused(OSError(errno.ENOSPC, "No space left on device", "a.gz")),
         "cannot read or write a.gz: No space left on device"),
        (RuntimeError("Traceback ...\nOSError: [Errno 28] No space left on device"
                      " [while running 'Write-ptransform-1']"),
         "cannot read or write: No space left on device"),
    ],
    ids=["denied", "full", "read-only", "port", "cause", "worker"],
)  # fmt: skip
def test_what_the_machine_refuses(error: Exception, said: str) -> None:
    done = failing(lambda: error)
    assert done.exit_code == 2
    assert done.output.splitlines() == [f"error: {said}"]


def test_what_tensorflow_cannot_open(tmp_path: Path) -> None:
    import tensorflow as tf

    def opened() -> BaseException:
        try:
            tf.io.gfile.GFile(str(tmp_path / "none")).read()
        except tf.errors.NotFoundError as error:
            found: BaseException = error
        return found

    done = failing(opened)
    assert done.exit_code == 2
    path = tmp_path / "none"
    assert (
        done.output
        == f"error: cannot read or write {path}: No such file or directory\n"
    )


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    done = failing(lambda: KeyError("a bug"))
    assert isinstance(done.exception, KeyError)


def test_control_c_ends_with_130(tmp_path: Path) -> None:
    assert failing(KeyboardInterrupt).exit_code == 130
    code = (
        "import sys, time, pipeline.cli as c, pipeline.demo as d\n"
        "d.write_data = lambda *a: (print('ready', flush=True), time.sleep(60))\n"
        f"sys.argv = ['polymodal', 'demo-data', {str(tmp_path)!r}]\n"
        "c.main()"
    )
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code], env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == b"interrupted\n"


def test_a_reader_that_goes_is_no_error() -> None:
    """`polymodal ... | head -1`: neither a traceback nor a note of a failed flush."""
    code = (
        "import click; from pipeline.explained import ExplainedGroup\n"
        "@click.group(cls=ExplainedGroup)\ndef main(): pass\n"
        "@main.command()\ndef many():\n"
        "    for i in range(1_000_000): click.echo(f'line {i}')\n"
        "main(['many'])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"line 0\n"
        process.stdout.close()
        process.stdout = None
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 141
    assert errors == b""
