"""Sounds: constructed files in, 16-bit PCM WAV out."""

import hashlib
import io
import time
import wave

import numpy as np
import pytest

from serving import media
from serving.media import MediaError
from tests.serving import sound_files

RATE = 22050


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    """int16 [300, 2] with both extremes."""
    values = np.random.default_rng(3).integers(-32768, 32768, (300, 2))
    values[0] = (-32768, 32767)
    return values.astype(np.int16)


def read_wav(data: bytes) -> tuple[int, np.ndarray]:
    with wave.open(io.BytesIO(data)) as file:
        assert file.getsampwidth() == 2
        values = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return file.getframerate(), values.reshape(-1, file.getnchannels())


def reason(data: bytes, **kwargs: float) -> str:
    with pytest.raises(MediaError) as caught:
        media.servable_audio(data, **kwargs)  # type: ignore[arg-type]
    return caught.value.reason


def test_16_bit_pcm_passes_unchanged(samples: np.ndarray) -> None:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((2, 2, RATE, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    assert media.servable_audio(out.getvalue(), verify=True) == out.getvalue()


@pytest.mark.parametrize(
    ("stored", "bits", "tag", "expected"),
    [
        (np.array([0, 128, 255], np.uint8), 8, 1, [-32768, 0, 32512]),
        (np.array([-(2**23), 0, 2**23 - 1], np.int32), 24, 1, [-32768, 0, 32767]),
        (np.array([256, 383, 385], np.int32), 24, 1, [1, 1, 2]),
        (np.array([-(2**31), 65536, 2**31 - 1], np.int32), 32, 1, [-32768, 1, 32767]),
        (np.array([-1.0, 0.5, 1.0], np.float32), 32, 3, [-32768, 16384, 32767]),
        (np.array([-2.0, np.nan, 3 / 32768], np.float64), 64, 3, [-32768, 0, 3]),
    ],
)
@pytest.mark.parametrize("extensible", [False, True])
def test_other_wavs_are_rounded_to_16_bits(
    stored: np.ndarray, bits: int, tag: int, expected: list[int], extensible: bool
) -> None:
    data = sound_files.wav(stored[:, None], RATE, bits, tag, extensible)
    rate, values = read_wav(media.servable_audio(data, verify=True))
    assert rate == RATE
    assert values[:, 0].tolist() == expected


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_a_streamed_wav_is_whole(samples: np.ndarray, size: int) -> None:
    data = sound_files.wav(samples, RATE, data_size=size)
    _, values = read_wav(media.servable_audio(data, verify=True))
    np.testing.assert_array_equal(values, samples)


def test_what_tensorflow_would_stumble_over_is_rewritten(samples: np.ndarray) -> None:
    plain = sound_files.wav(samples, RATE)
    odd_chunk = plain[:36] + b"LIST\x05\0\0\0INFOx\0" + plain[36:]
    wrong_byte_rate = plain[:28] + bytes(4) + plain[32:]
    extensible = sound_files.wav(samples, RATE, extensible=True)
    for data in (odd_chunk, wrong_byte_rate, extensible):
        _, values = read_wav(media.servable_audio(data, verify=True))
        np.testing.assert_array_equal(values, samples)


def test_cut_wavs(samples: np.ndarray) -> None:
    data = sound_files.wav(samples, RATE)
    for length in (len(data) - 1, 46, 40, 30, 15):
        assert reason(data[:length]) == "truncated_audio", length


@pytest.mark.parametrize("bits", [8, 16, 24])
def test_flac_is_bit_exact(bits: int) -> None:
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1)
    values = np.random.default_rng(bits).integers(low, high, (500, 2))
    width = bits // 8
    raw = b"".join(
        int(v).to_bytes(width, "little", signed=True) for v in values.ravel()
    )
    md5 = hashlib.md5(raw).digest()
    data = sound_files.flac(values, RATE, bits, md5)
    rate, decoded = read_wav(media.servable_audio(data, verify=True))
    assert rate == RATE
    expected = {
        8: values * 256,
        16: values,
        24: np.clip(np.rint(values / 256), -32768, 32767),
    }[bits]
    np.testing.assert_array_equal(decoded, expected)


def test_flac_that_cannot_be_trusted(samples: np.ndarray) -> None:
    whole = sound_files.flac(samples, RATE, 16, md5=bytes(range(16)))
    assert reason(whole) == "corrupt_audio"
    no_md5 = sound_files.flac(samples, RATE, 16)
    assert reason(no_md5[: len(no_md5) // 2]) in ("corrupt_audio", "truncated_audio")
    assert reason(no_md5[:20]) == "truncated_audio"
    assert reason(sound_files.flac(samples // 16, RATE, 12)) == "unsupported_format"


def test_flac_shorter_than_its_header_says_is_refused_in_time(
    samples: np.ndarray,
) -> None:
    claim = sound_files.flac(samples, RATE, 16, total=len(samples) + 1000)
    began = time.monotonic()
    with pytest.raises(MediaError, match="claims 1300 samples and 300 could") as caught:
        media.servable_audio(claim, name="a.flac")
    assert caught.value.reason == "truncated_audio"
    assert time.monotonic() - began < 30


def test_flac_that_does_not_say_its_length_is_heard_whole(samples: np.ndarray) -> None:
    data = sound_files.flac(samples, RATE, 16, total=0)
    assert media.describe(data, "audio")["seconds"] is None
    _, values = read_wav(media.servable_audio(data, verify=True))
    np.testing.assert_array_equal(values, samples)


def test_ogg_vorbis_follows_the_tone() -> None:
    import tensorflow_io as tfio

    time = np.arange(44100) / 44100
    tone = 0.5 * np.sin(2 * np.pi * 441 * time)
    stereo = np.stack([tone, -tone], axis=1).astype(np.float32)
    data = tfio.audio.encode_vorbis(stereo, 44100).numpy()
    rate, values = read_wav(media.servable_audio(data, verify=True))
    assert (rate, values.shape) == (44100, (44100, 2))
    # Vorbis is lossy: what the encoder leaves is within 3 % of full scale.
    assert np.abs(values / 32768 - stereo).max() < 0.03
    cut = data[: len(data) // 2]
    assert reason(cut) == "truncated_audio"
    assert reason(data.replace(b"\x01vorbis", b"OpusHe.")) == "unsupported_format"


def test_mp3_follows_the_tone() -> None:
    data = sound_files.mp3_tone(60)
    tagged = b"ID3\x04\0\0\0\0\0\x05hello" + data + b"TAG" + bytes(125)
    rate, values = read_wav(media.servable_audio(tagged, verify=True))
    assert rate == 44100
    assert values.shape == (60 * 1152, 1)
    spectrum = np.abs(np.fft.rfft(values[:, 0]))
    peak_hz = np.argmax(spectrum) * 44100 / len(values)
    # MDCT line 4 of 576 spans 153 to 191 Hz.
    assert 150 < peak_hz < 195
    assert 3000 < np.abs(values.astype(int)).max() < 16000
    assert reason(data[:-1]) == "truncated_audio"
    assert reason(data + b"garbage") == "corrupt_audio"


def test_length_is_limited_before_decoding(samples: np.ndarray) -> None:
    one_second = sound_files.wav(np.zeros((8000, 1), np.int16), 8000)
    assert media.servable_audio(one_second, max_seconds=1.0) == one_second
    assert reason(one_second, max_seconds=0.99) == "too_long_audio"
    # Claims two hours: refused by the header, before the missing samples are noticed.
    claim = sound_files.flac(samples, 8000, 16, total=8000 * 7200)
    assert reason(claim) == "too_long_audio"
    assert reason(sound_files.mp3_tone(60), max_seconds=1.5) == "too_long_audio"


def test_no_sound(samples: np.ndarray) -> None:
    assert reason(b"") == "empty_file"
    assert reason(sound_files.wav(samples[:0], RATE)) == "empty_file"
    assert reason(b"hello") == "unsupported_format"
    assert reason(sound_files.wav(samples, RATE, tag=6)) == "unsupported_format"


def test_describe(samples: np.ndarray) -> None:
    assert media.describe(sound_files.wav(samples, 3000), "audio") == {
        "format": "wav",
        "sample_rate_hz": 3000,
        "channels": 2,
        "bits": 16,
        "seconds": 0.1,
    }
    assert media.describe(sound_files.mp3_tone(49), "audio")["seconds"] == 1.28
