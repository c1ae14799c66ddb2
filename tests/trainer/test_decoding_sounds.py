from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from scipy.signal import resample_poly

from tests.trainer.samples import tone, wav
from trainer.config import AudioInput
from trainer.decoding import decode_rows, decode_sound, resample
from trainer.modalities.audio import Audio

RATE = 8000
SAMPLES = 4000


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def decoded(data: Any) -> Any:
    return decode_sound(data, RATE, SAMPLES, 2.0)


def heard(data: bytes, samples: int) -> np.ndarray:
    """The first samples, after a look that only padding follows."""
    row = np.asarray(decoded(tf.constant(data)))
    assert row.shape == (SAMPLES,)
    assert not row[samples:].any()
    return row[:samples]


def test_mono_at_the_right_rate_is_read_exactly_and_padded_at_the_end() -> None:
    sound = tone(440, 0.25, RATE)
    got = heard(wav(sound, RATE), 2000)
    np.testing.assert_allclose(got, np.round(sound * 32767) / 32768, atol=1e-7)


def test_channels_are_averaged() -> None:
    left, right = tone(440, 0.1, RATE), tone(300, 0.1, RATE, level=0.2)
    got = heard(wav(np.stack([left, right], 1), RATE), 800)
    np.testing.assert_allclose(got, (left + right) / 2, atol=1e-4)


def test_of_a_longer_sound_the_middle_is_kept() -> None:
    ramp = np.linspace(-1, 1, 6001)
    got = heard(wav(ramp, RATE), 4000)
    np.testing.assert_allclose(got, ramp[1000:5000], atol=1e-4)


@pytest.mark.parametrize("rate", [4000, 11025, 16000, 44100, 48000, 250000, 384000])
def test_another_rate_is_resampled_as_scipy_does(rate: int) -> None:
    seconds = 0.4
    # Within both bands, with room for both filters' transitions.
    parts = [tone(hz, seconds, rate, 0.3) for hz in (150.0, 500.0, 1100.0)]
    sound = np.sum(parts, axis=0)
    got = heard(wav(sound, rate), 3200)
    reference = resample_poly(sound, RATE, rate)
    assert len(reference) == 3200
    # The ends see different paddings; tolerance 1 % of full scale inside.
    np.testing.assert_allclose(got[100:-100], reference[100:-100], atol=0.01)
    at = np.arange(3200) / RATE
    exact = sum(0.3 * np.sin(2 * np.pi * hz * at) for hz in (150.0, 500.0, 1100.0))
    np.testing.assert_allclose(got[100:-100], exact[100:-100], atol=0.01)


def test_a_tone_above_the_new_nyquist_frequency_is_removed() -> None:
    got = heard(wav(tone(6000, 0.4, 48000, 0.9), 48000), 3200)
    assert np.abs(got[100:-100]).max() < 0.01


def test_the_middle_of_a_long_resampled_sound_is_kept() -> None:
    # 1.5 s at 16 kHz -> 12000 samples at 8 kHz, of which 4000..8000 stay.
    sound = tone(100, 1.5, 16000) * np.linspace(0, 1, 24000)
    reference = resample_poly(sound, 1, 2)[4000:8000]
    np.testing.assert_allclose(heard(wav(sound, 16000), 4000), reference, atol=0.01)


def peak_mib() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def test_resampling_takes_no_memory_that_grows_with_the_sound() -> None:
    seconds = 30
    wave = np.random.default_rng(0).normal(0, 0.1, 44100 * seconds).astype(np.float32)
    graph = tf.function(resample).get_concrete_function(
        tf.TensorSpec([None]), tf.TensorSpec([], tf.int32), 16000,
        tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.int32),
    )  # fmt: skip
    rate = tf.constant(44100)
    wave = tf.constant(wave)
    first = graph(wave, rate, 16000, tf.constant(0), tf.constant(100)).numpy()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = peak_mib()
    whole = graph(
        wave, rate, 16000, tf.constant(0), tf.constant(16000 * seconds)
    ).numpy()
    # The result itself takes 2 MiB; all at once, the kernels took 770 and more.
    assert peak_mib() - before < 60
    assert len(whole) == 16000 * seconds
    np.testing.assert_array_equal(whole[:100], first)
    middle = graph(wave, rate, 16000, tf.constant(240_001), tf.constant(5000)).numpy()
    np.testing.assert_allclose(whole[240_001:245_001], middle, atol=1e-6)


def test_a_wave_shorter_than_the_kernel_is_resampled() -> None:
    # 5 samples at 2 MHz: the kernel would be 8000 wide.
    got = heard(wav(np.full(5, 0.5), 2_000_000), 1)
    assert 0 < got[0] < 0.02


def broken() -> dict[str, bytes]:
    good = wav(tone(440, 0.1, RATE), RATE)
    return {
        "too_long": wav(np.zeros(RATE * 3), RATE),
        "no_sample": wav(np.zeros(0), RATE),
        "text": b"hello",
        "empty": b"",
        "truncated_header": good[:20],
        "rate_zero": good[:24] + b"\0\0\0\0" + good[28:],
        "rate_huge": good[:24] + (2**30).to_bytes(4, "little") + good[28:],
        "eight_bits": good[:34] + b"\x08\0" + good[36:],
    }


@pytest.mark.parametrize("name", list(broken()))
def test_what_is_no_such_wav_is_refused(name: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        decoded(tf.constant(broken()[name]))


def test_a_broken_sound_leaves_its_neighbours_alone() -> None:
    good = wav(tone(440, 0.25, RATE), RATE)
    data = tf.constant([good, *broken().values(), good])
    rows, present = tf.function(
        lambda x: decode_rows(
            x, lambda one: decode_sound(one, RATE, SAMPLES, 2.0), (SAMPLES,)
        )
    )(data)
    assert present.numpy().tolist() == [True, *[False] * len(broken()), True]
    np.testing.assert_array_equal(rows[0], decoded(tf.constant(good)))
    np.testing.assert_array_equal(rows[0], rows[-1])


def mel(hz: Any) -> Any:
    return 1127.0 * np.log1p(np.asarray(hz, np.float64) / 700.0)


def log_mel(
    sound: np.ndarray, rate: int, frame: int, step: int, bins: int, low: float
) -> np.ndarray:
    """The formula of Audio.spectrogram in float64: HTK mel, Hann window, magnitude."""
    size = 1 << (frame - 1).bit_length()
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frame) / frame)
    starts = range(0, len(sound) - frame + 1, step)
    frames = np.stack([sound[s : s + frame] * window for s in starts])
    magnitude = np.abs(np.fft.rfft(frames, size))
    edges = np.linspace(mel(low), mel(rate / 2), bins + 2)
    at = mel(np.arange(size // 2 + 1) * rate / size)[:, None]
    rise = (at - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - at) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0.0, np.minimum(rise, fall))
    weights[0] = 0.0  # the mean of the signal says nothing
    return np.log(magnitude @ weights + 1e-3)


def test_log_mel_is_the_formula_in_double_precision() -> None:
    one = AudioInput("v", sample_rate_hz=RATE, max_seconds=0.5, mel_bins=20)
    sound = tone(440, 0.5, RATE) + np.random.default_rng(0).normal(0, 0.05, SAMPLES)
    got = Audio(one).spectrogram(tf.constant(sound[None], tf.float32))[0]
    wanted = log_mel(sound, RATE, 200, 80, 20, 60.0)
    # 1 + (4000 - 200) // 80
    assert got.shape == (48, 20)
    np.testing.assert_allclose(got, wanted, atol=2e-3)


def test_silence_gives_the_logarithm_of_the_floor() -> None:
    one = AudioInput("v", sample_rate_hz=RATE, max_seconds=0.1)
    got = np.asarray(Audio(one).spectrogram(tf.zeros([1, 800])))
    np.testing.assert_allclose(got, np.log(1e-3), atol=1e-6)


def test_sounds_shorter_than_a_frame_are_padded_to_one() -> None:
    one = Audio(AudioInput("v", sample_rate_hz=RATE, max_seconds=0.01, mel_bins=4))
    assert one.frames == 1
    assert one.spectrogram(tf.zeros([2, 80])).shape == (2, 1, 4)


@pytest.mark.parametrize(
    ("changes", "frames"),
    [({"frame_ms": 50.0}, 46), ({"step_ms": 20.0}, 24), ({"max_seconds": 1.0}, 98)],
)
def test_frames_follow_window_and_hop(changes: dict[str, Any], frames: int) -> None:
    settings = {"sample_rate_hz": RATE, "max_seconds": 0.5, **changes}
    one = Audio(AudioInput("v", **settings))
    assert one.frames == frames
    samples = round(settings["max_seconds"] * RATE)
    assert one.spectrogram(tf.zeros([1, samples])).shape == (1, frames, 64)


def test_the_mel_bands_keep_to_their_edges() -> None:
    one = AudioInput(
        "v", sample_rate_hz=RATE, max_seconds=0.5, mel_bins=8, min_hz=1000, max_hz=2000
    )
    low, high = (tone(hz, 0.5, RATE) for hz in (500, 1500))
    waves = tf.constant(np.stack([low, high]), tf.float32)
    outside, inside = np.asarray(Audio(one).spectrogram(waves)).max((1, 2))
    assert outside < np.log(0.3)
    assert inside > np.log(10)
