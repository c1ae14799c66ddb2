"""Whatever a sound file or an archive holds, it is read or refused with a reason."""

import contextlib
import io
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from serving import media
from serving.media import MediaError
from tests.serving.fuzz_targets.settings import fuzz

REASONS = {
    "empty_file", "unsupported_format", "corrupt_audio", "truncated_audio",
    "too_long_audio",
}  # fmt: skip
READ_REASONS = {
    "missing_file", "corrupt_archive", "unreadable_file", "too_many_bytes",
    "empty_file",
}  # fmt: skip
KINDS = [
    ("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "MS_ADPCM"), ("WAV", "ALAW"),
    ("WAVEX", "FLOAT"), ("RF64", "PCM_16"), ("W64", "PCM_16"), ("AIFF", "PCM_16"),
    ("AIFF", "IMA_ADPCM"), ("AU", "PCM_16"), ("CAF", "ALAC_16"), ("NIST", "PCM_16"),
    ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"),
]  # fmt: skip

mutations = st.lists(
    st.tuples(
        st.sampled_from(("set", "cut", "insert", "repeat")),
        # Headers are what parsers stumble over: half of the places lie there.
        st.one_of(st.integers(0, 80), st.integers(0, 2**16)),
        st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=4,
)


def mutated(data: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    for kind, place, what in changes:
        at = place % (len(data) + 1)
        if kind == "set":
            data = data[:at] + what + data[at + len(what) :]
        elif kind == "insert":
            data = data[:at] + what + data[at:]
        elif kind == "cut":
            data = data[: max(at, 1)]
        else:
            data = data[:at] + data[max(0, at - 64 * len(what)) :]
    return data


def outcome(call: Callable[[], bytes]) -> bytes | str:
    """What comes out, or the reason of the refusal; any other error is a failure."""
    try:
        return call()
    except MediaError as error:
        return error.reason


@cache
def encoded(kind: str, subtype: str) -> bytes:
    out = io.BytesIO()
    wave = np.random.default_rng(2).normal(0, 0.1, (900, 2))
    soundfile.write(out, wave, 16000, subtype, format=kind)
    return out.getvalue()


@pytest.mark.parametrize(("kind", "subtype"), KINDS)
@fuzz(60)
@given(changes=mutations, tagged=st.booleans())
def test_a_damaged_sound_is_heard_or_refused(
    kind: str, subtype: str, changes: list[tuple[str, int, bytes]], tagged: bool
) -> None:
    data = mutated(encoded(kind, subtype), changes)
    if tagged:
        data = b"ID3\4\0\0\0\0\0\1x" + data
    wav = outcome(lambda: media.servable_audio(data, max_seconds=5.0, verify=True))
    if isinstance(wav, str):
        assert wav in REASONS
    else:
        found = media.describe(wav, "audio")
        assert found["format"] == "wav"
        assert 0 < found["seconds"] <= 5.0


@given(data=st.binary(max_size=200), start=st.sampled_from(KINDS))
@fuzz(200)
def test_bytes_behind_a_known_beginning(data: bytes, start: tuple[str, str]) -> None:
    for whole in (encoded(*start)[:12] + data, b"ID3" + data, data):
        found = outcome(partial(media.servable_audio, whole, verify=True))
        assert isinstance(found, bytes) or found in REASONS
        with contextlib.suppress(MediaError):
            media.describe(whole, "audio")


@cache
def archive(method: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        file.writestr("图/a.png", bytes(range(256)) * 4)
        file.writestr("m", b"member " * 90)
    return out.getvalue()


@pytest.mark.parametrize("method", [0, 8, 12, 14])
@fuzz(150)
@given(changes=mutations)
def test_a_damaged_archive_is_read_or_refused(
    method: int, changes: list[tuple[str, int, bytes]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.zip")
        path.write_bytes(mutated(archive(method), changes))
        for member in ("m", "图/a.png", "absent"):
            found = outcome(
                partial(media.read_media, f"{path}!{member}", max_bytes=100_000)
            )
            assert found in READ_REASONS or (found and member != "absent")
