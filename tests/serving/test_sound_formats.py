"""What libsndfile and SciPy hear in a file is what our WAV of it holds."""

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
import scipy.io.wavfile
import soundfile

from serving import media
from serving.media import MediaError
from tests.serving import sound_files

RATE = 48000
# [frames, channels], clear of the ends: encoders of 8 bits overflow there.
WAVES = np.random.default_rng(5).normal(0, 0.15, (4800, 2)).clip(-0.9, 0.9)
ID3 = b"ID3\4\0\0" + bytes([0, 0, 2, 0]) + bytes(256)


def encoded(kind: str, subtype: str, endian: str = "FILE") -> bytes:
    out = io.BytesIO()
    soundfile.write(out, WAVES, RATE, subtype, endian, kind)
    return out.getvalue()


def heard(data: bytes) -> tuple[int, np.ndarray]:
    """What SciPy reads of our WAV, as floats [frames, channels]."""
    wav = media.servable_audio(data, verify=True)
    rate, samples = scipy.io.wavfile.read(io.BytesIO(wav))
    assert samples.dtype == np.int16
    return rate, samples.reshape(len(samples), -1) / 32768.0


def reason(data: bytes) -> str:
    with pytest.raises(MediaError) as caught:
        media.servable_audio(data)
    return caught.value.reason


@pytest.mark.parametrize(
    ("kind", "subtype", "endian"),
    [
        *(("WAV", s, "FILE") for s in ("PCM_U8", "PCM_24", "PCM_32", "FLOAT")),
        *(("WAV", s, "FILE") for s in ("ALAW", "ULAW", "IMA_ADPCM", "MS_ADPCM")),
        ("WAV", "PCM_16", "BIG"),
        ("WAVEX", "PCM_16", "FILE"),
        ("WAVEX", "PCM_24", "FILE"),
        ("RF64", "PCM_16", "FILE"),
        ("RF64", "FLOAT", "FILE"),
        ("W64", "PCM_16", "FILE"),
        *(("AIFF", s, "FILE") for s in ("PCM_S8", "PCM_16", "PCM_24", "FLOAT")),
        ("AIFF", "PCM_16", "LITTLE"),
        ("AIFF", "ULAW", "FILE"),
        ("AU", "PCM_16", "FILE"),
        ("AU", "PCM_16", "LITTLE"),
        ("CAF", "PCM_16", "FILE"),
        ("CAF", "ALAC_24", "FILE"),
        ("NIST", "PCM_16", "FILE"),
        *(("FLAC", s, "FILE") for s in ("PCM_S8", "PCM_16", "PCM_24")),
        ("OGG", "VORBIS", "FILE"),
        ("OGG", "OPUS", "FILE"),
        ("MP3", "MPEG_LAYER_III", "FILE"),
    ],
)
def test_samples_are_the_librarys(kind: str, subtype: str, endian: str) -> None:
    data = encoded(kind, subtype, endian)
    wanted, _ = soundfile.read(io.BytesIO(data), dtype="float64", always_2d=True)
    rate, got = heard(data)
    assert rate == RATE
    assert got.shape == wanted.shape
    # Half a step of 16 bits.
    np.testing.assert_allclose(got, wanted.clip(-1, 1 - 2**-15), atol=0.51 / 32768)
    found = media.describe(data, "audio")
    assert (found["sample_rate_hz"], found["channels"]) == (RATE, 2)
    # MP3's first and last frames hold what decoders leave out again.
    assert found["seconds"] == pytest.approx(len(wanted) / RATE, abs=0.07)


@pytest.mark.parametrize(
    "kind", ["WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "OGG"]
)
def test_a_file_cut_short_is_no_shorter_sound(kind: str) -> None:
    data = encoded(kind, "VORBIS" if kind == "OGG" else "PCM_16")
    assert reason(data[: -len(data) // 3]) == "truncated_audio"


def test_what_tensorflow_io_reads_we_read_alike() -> None:
    import tensorflow_io as tfio

    flac = encoded("FLAC", "PCM_16")
    np.testing.assert_array_equal(
        heard(flac)[1] * 32768, tfio.audio.decode_flac(flac, dtype=np.int16).numpy()
    )
    for data, decode in (
        (encoded("OGG", "VORBIS"), tfio.audio.decode_vorbis),
        (encoded("MP3", "MPEG_LAYER_III"), tfio.audio.decode_mp3),
        (sound_files.mp3_tone(20), tfio.audio.decode_mp3),
    ):
        theirs = decode(data).numpy()
        _, ours = heard(data)
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, atol=0.51 / 32768)


@pytest.mark.parametrize("rate", [192_001, 250_000, 384_000, 500_000, 2_000_000])
def test_ultrasound_keeps_its_rate(rate: int) -> None:
    plain = sound_files.wav(np.ones((10, 1), np.int16), rate)
    assert media.servable_audio(plain, verify=True) == plain
    wide = sound_files.wav(np.ones((10, 1), np.float32), rate, 32, 3)
    assert heard(wide)[0] == rate


def test_a_rate_that_no_recorder_has_is_named() -> None:
    data = sound_files.wav(np.ones((10, 1), np.int16), 10_000_001)
    with pytest.raises(MediaError, match="10000001 Hz.* at most 10000000") as caught:
        media.servable_audio(data)
    assert caught.value.reason == "corrupt_audio"
    assert reason(sound_files.wav(np.ones((9, 1), np.int16), 0)) == "corrupt_audio"


@pytest.mark.parametrize("channels", [1, 6, 64, 1000])
def test_many_channels_stay(channels: int) -> None:
    samples = np.random.default_rng(1).normal(0, 0.1, (50, channels))
    data = sound_files.wav(samples.astype(np.float32), 8000, 32, 3)
    np.testing.assert_allclose(heard(data)[1], samples, atol=0.51 / 32768)


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "CAF", "FLAC", "W64", "AU"])
def test_no_sample_is_an_empty_file(kind: str) -> None:
    out = io.BytesIO()
    soundfile.write(out, WAVES[:0], RATE, "PCM_24", format=kind)
    assert reason(out.getvalue()) == "empty_file"


def wav_with_size(change: Callable[[int], int], dtype: str = "<i2") -> bytes:
    """16-bit or float WAV whose data chunk says another size than it has."""
    samples = (WAVES * 32768).astype("<i2") if dtype == "<i2" else WAVES.astype(dtype)
    bits, tag = (16, 1) if dtype == "<i2" else (32, 3)
    whole = sound_files.wav(samples, RATE, bits, tag)
    return sound_files.wav(
        samples, RATE, bits, tag, data_size=change(len(whole) - 44) % 2**32
    )


@pytest.mark.parametrize("dtype", ["<i2", "<f4"])
@pytest.mark.parametrize(
    "size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF - 36, 0x7FFFFFFF - 36]
)
def test_sizes_that_streaming_recorders_leave(size: int, dtype: str) -> None:
    rate, got = heard(wav_with_size(lambda _: size, dtype))
    np.testing.assert_allclose(got, WAVES, atol=1 / 32768)


def test_a_size_below_what_follows_is_believed_as_libsndfile_does() -> None:
    data = wav_with_size(lambda size: size // 2)
    wanted, _ = soundfile.read(io.BytesIO(data), always_2d=True)
    assert len(wanted) == len(WAVES) // 2
    np.testing.assert_array_equal(heard(data)[1], wanted)


@pytest.mark.parametrize(
    "tail", [b"\xf8\xff\xfe", b"LIST\4\0\0\0abcd", b"data\xff\0\0\0"]
)
def test_what_stands_behind_the_samples_is_left_out(tail: bytes) -> None:
    plain = encoded("WAV", "PCM_16")
    assert media.servable_audio(plain + tail, verify=True) == plain


@pytest.mark.parametrize(
    "kind", [("FLAC", "PCM_16"), ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_16")]
)
def test_tags_before_a_sound_are_passed_over(kind: tuple[str, str]) -> None:
    plain = encoded(*kind)
    np.testing.assert_array_equal(heard(ID3 + plain)[1], heard(plain)[1])
    assert media.describe(ID3 + plain, "audio") == media.describe(plain, "audio")
    wav = encoded("WAV", "PCM_16")
    assert media.servable_audio(ID3 + wav) == wav


def test_nothing_behind_a_tag_says_so() -> None:
    with pytest.raises(MediaError, match="nothing known follows its ID3 tag"):
        media.servable_audio(ID3 + b"hello")


def test_what_libsndfile_cannot_read_is_named() -> None:
    gsm = sound_files.wav(np.zeros((130, 1), np.int8), 8000, 8, 0x99)
    with pytest.raises(MediaError, match="tag 153 and 8 bits.* convert it") as caught:
        media.servable_audio(gsm)
    assert caught.value.reason == "unsupported_format"
    with pytest.raises(MediaError, match="FLAC, MP3, Ogg") as caught:
        media.servable_audio(struct.pack(">I4s", 24, b"ftyp") + b"M4A " + bytes(20))
    assert caught.value.reason == "unsupported_format"


def test_decoded_samples_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.sound.MAX_SAMPLES", 2 * len(WAVES) - 1)
    for kind in ("FLAC", "CAF"):
        assert reason(encoded(kind, "PCM_16")) == "too_long_audio"
