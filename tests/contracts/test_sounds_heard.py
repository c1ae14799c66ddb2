"""What ingestion takes for a sound, the serving graph hears; what it hears is right."""

import io

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from scipy.signal import resample_poly

from serving import media
from tests.serving import sound_files
from trainer.decoding import decode_sound

RATE, SECONDS = 8000, 0.1
SAMPLES = round(RATE * SECONDS)


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def decoded(data: tf.Tensor) -> tf.Tensor:
    return decode_sound(data, RATE, SAMPLES, 10.0)


def waves(rate: int, channels: int) -> np.ndarray:
    at = np.arange(round(rate * SECONDS))[:, None] / rate
    hz = 200.0 + 150.0 * np.arange(channels) / channels
    return 0.4 * np.sin(2 * np.pi * hz * at)


@pytest.mark.parametrize(
    ("kind", "subtype", "rate", "channels"),
    [
        ("WAV", "PCM_16", 384_000, 1),
        ("WAV", "PCM_24", 384_000, 2),
        ("WAV", "PCM_16", 48_000, 6),
        ("WAVEX", "PCM_16", 16_000, 1),
        ("RF64", "FLOAT", 16_000, 1),
        ("W64", "PCM_24", 44_100, 2),
        ("AIFF", "PCM_16", 22_050, 1),
        ("WAV", "PCM_U8", 11_025, 1),
        ("WAV", "ULAW", 8_000, 1),
        ("FLAC", "PCM_16", 192_000, 1),
        ("OGG", "OPUS", 16_000, 1),
        ("MP3", "MPEG_LAYER_III", 32_000, 2),
    ],
)
def test_the_model_hears_what_a_sound_library_hears(
    kind: str, subtype: str, rate: int, channels: int
) -> None:
    out = io.BytesIO()
    soundfile.write(out, waves(rate, channels), rate, subtype, format=kind)
    theirs, at = soundfile.read(io.BytesIO(out.getvalue()), always_2d=True)
    wanted = resample_poly(theirs.mean(axis=1), RATE, at)
    got = np.asarray(decoded(media.servable_audio(out.getvalue(), verify=True)))
    assert np.abs(got).max() > 0.1
    inside = slice(40, min(len(wanted), SAMPLES) - 40)
    # The ends see different paddings, the filters differ near 4 kHz: 1 % of full scale.
    np.testing.assert_allclose(got[inside], wanted[inside], atol=0.01)


@pytest.mark.parametrize("rate", [1, 192_001, 5_000_000, 10_000_000, 10_000_001, 2**30])
def test_the_graph_takes_the_rates_that_ingestion_takes(rate: int) -> None:
    data = sound_files.wav(np.full((4, 1), 1000, np.int16), rate)
    taken, heard = True, True
    try:
        assert media.servable_audio(data, verify=True) == data
    except media.MediaError:
        taken = False
    try:
        decoded(data)
    except tf.errors.InvalidArgumentError:
        heard = False
    assert taken == heard == (rate <= 10_000_000)
