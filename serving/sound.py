"""Sounds: header facts without decoding, and any sound file as 16-bit PCM WAV.

A 16-bit PCM WAV passes as it is; everything else is decoded by libsndfile
(`serving/sound_decoder.py`), in a process of its own.
"""

import struct
from dataclasses import replace

import numpy as np

from serving.decoder_process import decode
from serving.media_error import MediaError
from serving.mp3_header import after_id3, is_mp3, mp3_header
from serving.sound_containers import HEADERS, SoundHeader
from serving.sound_samples import check_rate, write_wav

MAX_SAMPLES = 128 * 2**20
"""Frames times channels of what is decoded: 256 MiB at 16 bits."""

_KNOWN = "WAV, FLAC, MP3, Ogg (Vorbis, Opus), AIFF, AU, CAF, Wave64, RF64 or SPHERE"


def read_header(data: bytes, name: str = "") -> SoundHeader:
    """Reads a sound file's header; decodes nothing.

    Raises:
        MediaError: `unsupported_format`, `corrupt_audio`, `truncated_audio`, or what
            `decoder_process.decode` raises.
    """
    _, header = _opened(data, name)
    if header.sample_rate_hz and header.channels and header.frames is not None:
        return header
    facts = decode("sound_facts", after_id3(data), name)
    if header.bits:
        del facts["bits"]  # the file's own word
    return replace(header, **facts)


def as_wav(data: bytes, max_seconds: float, name: str = "") -> bytes:
    """A sound file as 16-bit PCM WAV; rate and channels stay.

    Args:
        data: the file's bytes.
        max_seconds: limit on the length, checked before decoding where headers tell.
        name: the file's name, for messages.

    Raises:
        MediaError: `empty_file`, `too_long_audio`, and what `read_header` and
            `decoder_process.decode` raise.
    """
    data, header = _opened(data, name)
    _check_seconds(header.seconds or 0.0, max_seconds, name)
    if header.frames == 0 and header.format == "wav":
        raise MediaError("empty_file", "a sound without a sample", name)
    if header.pcm16:
        return _canonical(data, header)
    if header.unknown_size:
        # Said aloud, the size is the same for every reader.
        size = struct.pack("<I" if data[:4] != b"RIFX" else ">I", header.data_bytes)
        data = data[: header.data_start - 4] + size + data[header.data_start :]
    wav = decode("sound", data, name, max_seconds=max_seconds, max_samples=MAX_SAMPLES)
    return bytes(wav)


def _canonical(data: bytes, header: SoundHeader) -> bytes:
    """16-bit PCM with a header of 44 bytes, the samples, and nothing else.

    TensorFlow's reader is strict: it refuses a wrong byte rate, loses its place after a
    chunk of odd size, and fails on what is no chunk behind the samples.
    """
    end = header.data_start + header.data_bytes
    raw = np.frombuffer(data[header.data_start : end], "<i2")
    return write_wav(raw.reshape(-1, header.channels), header.sample_rate_hz)


def _opened(data: bytes, name: str) -> tuple[bytes, SoundHeader]:
    """The file without tags before it, and what it says of itself."""
    body = after_id3(data)
    try:
        header = _header(body, name, tagged=len(body) < len(data))
    except (struct.error, IndexError, ValueError) as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError(
            "truncated_audio", "the file ends inside its own header", name
        ) from error
    if header.bits:
        check_rate(header.sample_rate_hz, header.channels, name)
    return body, header


def _header(data: bytes, name: str, tagged: bool) -> SoundHeader:
    for starts, form, read in HEADERS:
        if data.startswith(starts) and data[8 : 8 + len(form)] == form:
            return read(data, name)
    if is_mp3(data):
        return mp3_header(data, name)
    if tagged:
        raise MediaError("corrupt_audio", "nothing known follows its ID3 tag", name)
    raise MediaError(
        "unsupported_format", f"not {_KNOWN}; convert it to one of these", name
    )


def _check_seconds(seconds: float, max_seconds: float, name: str) -> None:
    if seconds > max_seconds:
        raise MediaError(
            "too_long_audio",
            f"{seconds:.1f} s of sound, at most {max_seconds:.1f} s are taken; cut it",
            name,
        )
