"""Any sound file to samples by libsndfile; run in a child, see `decoder_process.py`.

libsndfile (LGPL-2.1-or-later; its wheel holds libFLAC, libvorbis, libopus and mpg123)
is called through soundfile (BSD-3-Clause).
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from serving.media_error import MediaError
from serving.sound_samples import check_rate, to_int16, write_wav

_CHUNK_SAMPLES = 2**18
# libsndfile's numbers of "format not recognised", "unsupported encoding" and
# "unimplemented format" (sndfile.h and common.h).
_UNSUPPORTED = (1, 4, 18)
_BITS = {
    "PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32,
    "FLOAT": 32, "DOUBLE": 64,
}  # fmt: skip


class _Sound(soundfile.SoundFile):
    """Read from begin to end: soundfile seeks after every read otherwise."""

    def seekable(self) -> bool:
        return False


def facts(data: bytes) -> dict[str, Any]:
    """What libsndfile knows once a file is open: the names are `SoundHeader`'s.

    Raises:
        MediaError: `unsupported_format` or `corrupt_audio`.
    """
    with _opened(data) as sound:
        return {
            "sample_rate_hz": sound.samplerate,
            "channels": sound.channels,
            "bits": _BITS.get(sound.subtype, 16),
            "frames": _known_frames(sound),
        }


def to_wav(data: bytes, max_seconds: float, max_samples: int) -> npt.NDArray[np.uint8]:
    """A sound file as the bytes of a 16-bit PCM WAV, wider samples rounded.

    Args:
        data: any file that libsndfile reads.
        max_seconds: limit on the length, checked before decoding where the file tells.
        max_samples: limit on frames times channels.

    Raises:
        MediaError: `empty_file`, `unsupported_format`, `corrupt_audio`,
            `truncated_audio` or `too_long_audio`.
    """
    with _opened(data) as sound:
        rate, channels, known = sound.samplerate, sound.channels, _known_frames(sound)
        check_rate(rate, channels)
        is_flac = data[:4] == b"fLaC"
        digest = hashlib.md5(usedforsecurity=False)
        chunks: list[npt.NDArray[np.int16]] = []
        read = 0
        _check_length(known or 0, rate, channels, max_seconds, max_samples)
        while True:
            chunk = sound.read(
                max(1, _CHUNK_SAMPLES // channels),
                dtype="int32" if is_flac else "float64",
                always_2d=True,
            )
            if not len(chunk):
                break
            read += len(chunk)
            _check_length(read, rate, channels, max_seconds, max_samples)
            if is_flac:
                digest.update(_as_stored(chunk, _BITS.get(sound.subtype, 16)))
                chunk = chunk / 2.0**31
            chunks.append(to_int16(chunk))
        # Of MP3 the length is a guess; its container was checked frame by frame.
        if known and read < known and sound.format != "MPEG":
            raise MediaError(
                "truncated_audio",
                f"it claims {known} samples and {read} could be decoded; copy it again",
            )
    if not read:
        raise MediaError("empty_file", "a sound without a sample")
    if is_flac and any(data[26:42]) and digest.digest() != data[26:42]:
        raise MediaError(
            "corrupt_audio", "the FLAC's samples do not match its own checksum"
        )
    return np.frombuffer(write_wav(np.concatenate(chunks), rate), np.uint8)


def _check_length(
    frames: int, rate: int, channels: int, max_seconds: float, max_samples: int
) -> None:
    if frames > max_seconds * rate:
        raise MediaError(
            "too_long_audio",
            f"{frames / rate:.1f} s of sound, at most {max_seconds:.1f} s are taken;"
            " cut it",
        )
    if frames * channels > max_samples:
        raise MediaError(
            "too_long_audio",
            f"{frames} samples in each of {channels} channels, at most {max_samples}"
            " in all are taken; cut it, or leave out channels",
        )


@contextmanager
def _opened(data: bytes) -> Iterator[_Sound]:
    """The file, in a nameless one on disk: libsndfile reads that by itself."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        try:
            with _Sound(file.fileno(), closefd=False) as sound:
                yield sound
        except soundfile.LibsndfileError as error:
            text = error.error_string.removeprefix("Error : ").rstrip(".")
            if error.code in _UNSUPPORTED:
                raise MediaError(
                    "unsupported_format",
                    f"libsndfile cannot read this kind ({text}); convert it to WAV",
                ) from error
            raise MediaError(
                "corrupt_audio",
                f"libsndfile cannot decode it ({text}): damaged or cut short",
            ) from error


def _known_frames(sound: _Sound) -> int | None:
    """Samples of each channel; libsndfile's greatest number stands for "not known"."""
    return int(sound.frames) if 0 <= sound.frames < 2**62 else None


def _as_stored(chunk: npt.NDArray[np.int32], bits: int) -> bytes:
    """What FLAC's checksum is of: little-endian integers of the stored width.

    Args:
        chunk: int32 [frames, channels], shifted up to fill 32 bits.
        bits: a sample's stored width.
    """
    unused = 4 - (bits + 7) // 8
    return chunk.astype("<i4").view(np.uint8).reshape(-1, 4)[:, unused:].tobytes()
