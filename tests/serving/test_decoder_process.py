"""Whatever a file does to its decoder, the answer is a reason, and the next file's own."""

import contextlib
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving import decoder_child, decoder_process
from serving.decoder_process import Child
from serving.media import MediaError, servable_image
from tests.serving.hostile_decoders import TASKS
from tests.serving.picture_files import encoded, smooth

ROOT = Path(__file__).parents[2]


@pytest.fixture
def decode(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`decoder_process.decode` over decoders that do what a test wants."""
    monkeypatch.setattr(decoder_process, "_idle", [])
    monkeypatch.setattr(
        decoder_process, "Child", lambda: Child(TASKS, cpu_seconds=1, wall_seconds=30)
    )
    yield decoder_process.decode
    decoder_process._end_all()


def reason(call: Any, *args: Any, **options: Any) -> str:
    with pytest.raises(MediaError) as caught:
        call(*args, **options)
    return caught.value.reason


def test_an_answer_is_an_array_or_a_value_whatever_is_printed(decode: Any) -> None:
    for times in (1, 2, 0):
        got = decode("turned", b"\x01\x02\x03", times=times)
        assert got.dtype == np.uint16
        assert got.tolist() == [[3, 2, 1]] * times
    assert decode("told", bytes(3_000_000)) == {"bytes": 3_000_000}


def test_refusals_name_the_file(decode: Any) -> None:
    with pytest.raises(MediaError, match=r"^a\.dcm: there is no such frame$"):
        decode("refused", b"x", "a.dcm")
    assert reason(decode, "refused", b"x") == "bad_frame"
    with pytest.raises(MediaError, match=r"cannot be decoded \(ZeroDivisionError\)"):
        decode("broken", b"x", "a.dcm")


def test_a_file_that_ends_its_decoder_ends_nothing_else(decode: Any) -> None:
    for task, how in (("killed", "signal 6"), ("gone", "exit status 3")):
        with pytest.raises(MediaError, match=how) as caught:
            decode(task, b"x", "a.tiff")
        assert caught.value.reason == "decoder_failed"
        assert str(caught.value).startswith("a.tiff: the file ended its decoder")
        assert decode("told", b"next") == {"bytes": 4}


def test_nothing_is_left_of_children_that_ended(monkeypatch: Any) -> None:
    made: list[Child] = []

    def child() -> Child:
        made.append(Child(TASKS, wall_seconds=30))
        return made[-1]

    monkeypatch.setattr(decoder_process, "_idle", [])
    monkeypatch.setattr(decoder_process, "Child", child)
    before = len(os.listdir("/proc/self/fd"))
    for task in ("killed", "gone", "told", "hungry", "killed"):
        with contextlib.suppress(MediaError):
            decoder_process.decode(task, b"x")
    decoder_process._end_all()
    assert len(made) == 4
    assert len(os.listdir("/proc/self/fd")) == before
    assert not any(os.path.exists(f"/proc/{one.process.pid}") for one in made)


def test_a_child_that_was_killed_while_it_waited_is_replaced(decode: Any) -> None:
    decode("told", b"x")
    decoder_process._idle[-1].process.kill()
    decoder_process._idle[-1].process.wait()
    assert decode("told", b"next") == {"bytes": 4}


def test_an_endless_loop_ends_with_its_cpu_time(decode: Any) -> None:
    with pytest.raises(MediaError, match="not decoded within 1 s of CPU") as caught:
        decode("endless", b"x")
    assert caught.value.reason == "decoder_timeout"
    assert decode("told", b"next") == {"bytes": 4}


def test_a_decoder_that_only_waits_ends_too(
    decode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        decoder_process, "Child", lambda: Child(TASKS, wall_seconds=0.5)
    )
    assert reason(decode, "asleep", b"x") == "decoder_timeout"


def test_no_file_holds_its_caller_for_minutes() -> None:
    child = Child(TASKS)
    try:
        assert child._wall_seconds <= 60
        child._wall_seconds = 0.5  # and no CPU time is used up by then
        with pytest.raises(decoder_process._Ended, match=r"not decoded within 0\.5 s;"):
            child.ask("asleep", b"x", {})
        assert not child.usable
        assert child.process.returncode is not None
    finally:
        child.end()


def test_a_child_whose_time_ran_out_as_it_answered_gets_no_other_file(
    decode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = Child(TASKS)

    def late(stream: Any) -> Any:
        found = decoder_child.receive(stream)
        child._expire()
        return found

    monkeypatch.setattr(decoder_process, "Child", lambda: child)
    monkeypatch.setattr(decoder_process, "receive", late)
    assert decode("told", b"x") == {"bytes": 1}
    assert decoder_process._idle == []


def test_a_child_that_lacked_memory_gets_no_other_file(decode: Any) -> None:
    decode("told", b"x")
    (child,) = decoder_process._idle
    assert reason(decode, "hungry", b"x") == "too_many_pixels"
    assert decoder_process._idle == []
    assert child.process.returncode is not None


def test_children_know_no_credentials_and_no_module_of_the_working_folder(
    decode: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "resource.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    found = decode("environment", b"x")
    assert found["TMPDIR"] == str(tmp_path)
    assert "hunter2" not in found.values()


def test_limits_of_the_account_that_are_lower_stay() -> None:
    code = (
        "import resource as r; r.setrlimit(r.RLIMIT_AS, (2**32, 2**32));"
        "r.setrlimit(r.RLIMIT_CPU, (20, 20));"
        "from serving import decoder_process as d; from tests.serving import "
        "hostile_decoders as h; c = d.Child(h.TASKS); print(c.ask('told', b'x', {})[0]);"
        "c.end()"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert found.stdout == "{'value': {'bytes': 1}, 'bytes': 0}\n", found.stderr


def test_memory_has_a_limit(decode: Any) -> None:
    assert reason(decode, "hungry", b"x") == "too_many_pixels"
    assert decode("told", b"next") == {"bytes": 4}


def test_threads_and_forks_have_children_of_their_own(decode: Any) -> None:
    wrong: list[int] = []

    def many(first: int) -> None:
        for i in range(first, first + 20):
            if decode("turned", bytes([i, 1])).tolist() != [[1, i]]:
                wrong.append(i)

    threads = [threading.Thread(target=many, args=(10 * k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(decoder_process._idle) >= 1
    fork = multiprocessing.get_context("fork").Process(target=many, args=(5,))
    fork.start()
    fork.join(60)
    assert fork.exitcode == 0
    assert decode("told", b"next") == {"bytes": 4}


def test_pictures_are_decoded_there() -> None:
    data = encoded(smooth(), "WEBP", lossless=True)
    with pytest.raises(MediaError) as caught:
        servable_image(data[: len(data) // 2], name="half.webp")
    assert str(caught.value).startswith("half.webp: ")
    assert servable_image(data).startswith(b"\x89PNG")
