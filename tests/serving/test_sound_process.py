"""Whatever native code does with one sound file, that file alone is refused."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from serving import media, sound_process
from serving.media import MediaError
from tests.serving import sound_files

SAMPLES = np.arange(-500, 500, dtype=np.int16)[:, None]
FLAC = sound_files.flac(SAMPLES, 8000, 16)
WAV = sound_files.wav(SAMPLES, 8000)


@pytest.fixture(autouse=True)
def _fresh_helpers() -> Iterator[None]:
    sound_process.close_all()
    yield
    sound_process.close_all()


def act(monkeypatch: pytest.MonkeyPatch, path: Path, action: str) -> None:
    """Helpers that do `action` in the place of decoding the first sound."""
    path.write_text(
        "import os, signal, time\n"
        "from serving import sound_helper\n"
        f"def act(*_): {action}\n"
        "sound_helper._answer = act\n"
        "sound_helper.main()\n"
    )
    monkeypatch.setattr(sound_process, "COMMAND", [sys.executable, str(path)])


def reason() -> str:
    with pytest.raises(MediaError, match=r"^a\.flac: ") as caught:
        media.servable_audio(FLAC, name="a.flac")
    return caught.value.reason


def test_a_hanging_decoder_is_killed_at_the_deadline(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sound_process, "DEADLINE_SECONDS", 0.5)
    act(monkeypatch, tmp_path / "hang.py", "time.sleep(1000)")
    assert reason() == "decoder_timeout"
    assert sound_process._idle == []
    monkeypatch.undo()
    assert media.servable_audio(FLAC) == WAV


def test_a_hanging_decoder_ends_itself_when_nobody_waits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    act(monkeypatch, tmp_path / "hang.py", "time.sleep(1000)")
    monkeypatch.setattr(sound_process, "DEADLINE_SECONDS", -4.0)  # alarm after 1 s
    helper = sound_process._Helper()
    request = sound_process.REQUEST.pack(len(FLAC), 1.0, 1000, 1, True)
    helper.channel.sendall(request + FLAC)
    assert helper.process.wait(20) == -signal.SIGALRM
    helper.kill()


def test_a_crashing_decoder_refuses_that_file_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    act(monkeypatch, tmp_path / "crash.py", "os.kill(os.getpid(), signal.SIGSEGV)")
    assert reason() == "corrupt_audio"
    monkeypatch.undo()
    assert media.servable_audio(FLAC) == WAV


def test_a_helper_killed_while_it_waited_is_no_fault_of_the_file() -> None:
    assert media.servable_audio(FLAC) == WAV
    (helper,) = sound_process._idle
    os.kill(helper.process.pid, signal.SIGKILL)
    helper.process.wait()
    helper.process.returncode = None
    assert media.servable_audio(FLAC) == WAV


def test_a_decoder_that_cannot_start_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound_process, "COMMAND", [sys.executable, "-c", "raise 1"])
    assert reason() == "decoder_failed"


def test_helpers_are_kept_between_files_and_threads_share_them() -> None:
    media.servable_audio(FLAC)
    began = [helper.process.pid for helper in sound_process._idle]
    media.servable_audio(FLAC)
    assert [helper.process.pid for helper in sound_process._idle] == began
    wrong: list[bytes] = []

    def read() -> None:
        for _ in range(10):
            if (wav := media.servable_audio(FLAC)) != WAV:
                wrong.append(wav)

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(sound_process._idle) <= max(2, os.cpu_count() or 1)


def test_a_forked_child_has_helpers_of_its_own() -> None:
    media.servable_audio(FLAC)
    child = multiprocessing.get_context("fork").Process(target=_read_in_child)
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert media.servable_audio(FLAC) == WAV


def _read_in_child() -> None:
    assert sound_process._idle == []
    assert media.servable_audio(FLAC) == WAV
    sound_process.close_all()


def test_a_helper_ends_with_the_process_that_started_it() -> None:
    helper = sound_process._Helper()
    helper.channel.close()
    assert helper.process.wait(20) == 0


def test_speed_of_small_files() -> None:
    media.servable_audio(FLAC)
    began = time.monotonic()
    for _ in range(50):
        media.servable_audio(FLAC)
    # 0.7 ms each on a quiet core; starting a process takes 150.
    assert time.monotonic() - began < 50 * 0.1
