"""Samples as 16-bit PCM: what a serving graph reads of a sound."""

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.media_error import MediaError

MAX_RATE_HZ = 10_000_000
"""Above every recorder; a higher rate is a damaged header. The serving graph's, too."""


def to_int16(values: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
    """Floats in [-1, 1) of any shape as int16; the scale of `tf.audio.decode_wav`.

    What lies outside is clipped; NaN becomes silence.
    """
    scaled = np.rint(np.nan_to_num(values.astype(np.float64)) * 32768.0)
    rounded: npt.NDArray[np.int16] = np.clip(scaled, -32768, 32767).astype(np.int16)
    return rounded


def write_wav(samples: npt.NDArray[np.int16], sample_rate_hz: int) -> bytes:
    """A 16-bit PCM WAV of int16 [frames, channels]."""
    channels, body = samples.shape[1], samples.astype("<i2").tobytes()
    return b"".join(
        (
            struct.pack("<4sI4s", b"RIFF", 36 + len(body), b"WAVE"),
            struct.pack("<4sIHH", b"fmt ", 16, 1, channels),
            struct.pack("<II", sample_rate_hz, sample_rate_hz * channels * 2),
            struct.pack("<HH4sI", channels * 2, 16, b"data", len(body)),
            body,
        )
    )


def check_rate(rate: int, channels: int, name: str = "") -> None:
    """Refuses what no WAV can say.

    Raises:
        MediaError: `corrupt_audio`.
    """
    if not (rate > 0 and channels > 0):
        raise MediaError("corrupt_audio", "header with no sample rate or channel", name)
    # A WAV's bytes a second must fit 32 bits, a frame's bytes 16.
    if rate > MAX_RATE_HZ or rate * channels * 2 >= 2**32 or channels > 32767:
        raise MediaError(
            "corrupt_audio",
            f"header with {rate} Hz and {channels} channels; at most {MAX_RATE_HZ} Hz"
            " can be",
            name,
        )
