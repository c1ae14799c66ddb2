"""Whatever native code does with one sound file, that file alone is refused."""

import time
from typing import Any

import numpy as np
import pytest

from serving import decoder_process, media
from serving.decoder_process import Child
from serving.media import MediaError
from tests.serving import sound_files
from tests.serving.hostile_decoders import SOUND_TASKS

SAMPLES = np.arange(-500, 500)[:, None]
FLAC = sound_files.flac(SAMPLES, 8000, 16)
WAV = sound_files.wav(SAMPLES.astype(np.int16), 8000)


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Children whose decoders of sounds do what a test wants."""
    monkeypatch.setattr(decoder_process, "_idle", [])
    monkeypatch.setattr(
        decoder_process,
        "Child",
        lambda: Child(SOUND_TASKS, cpu_seconds=1, wall_seconds=0.7),
    )
    yield monkeypatch
    decoder_process._end_all()


def test_a_hanging_decoder_ends_at_the_deadline(hostile: Any) -> None:
    with pytest.raises(MediaError, match=r"^a\.flac: .* convert it to WAV") as caught:
        media.servable_audio(FLAC, name="a.flac")
    assert caught.value.reason == "decoder_timeout"
    assert decoder_process._idle == []
    hostile.undo()
    assert media.servable_audio(FLAC) == WAV


@pytest.mark.parametrize(
    ("task", "reason", "says"),
    [
        ("sound_endless", "decoder_timeout", "convert it to WAV"),
        ("sound_killed", "decoder_failed", "convert it to WAV"),
        ("sound_broken", "corrupt_audio", "ZeroDivisionError.; convert it to WAV"),
        ("sound_hungry", "too_long_audio", "more memory"),
    ],
)
def test_refusals_speak_of_sounds(
    hostile: Any, task: str, reason: str, says: str
) -> None:
    with pytest.raises(MediaError, match=says) as caught:
        decoder_process.decode(task, b"x")
    assert caught.value.reason == reason


def test_small_files_cost_no_process_each() -> None:
    media.servable_audio(FLAC)
    began = time.monotonic()
    for _ in range(50):
        assert media.servable_audio(FLAC) == WAV
    # 1 ms each on a quiet core; starting a process takes 300.
    assert time.monotonic() - began < 50 * 0.15


def test_sixteen_bit_pcm_needs_no_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.sound.decode", None)
    assert media.servable_audio(WAV) == WAV
    extensible = sound_files.wav(SAMPLES.astype(np.int16), 8000, extensible=True)
    assert media.servable_audio(extensible) == WAV
