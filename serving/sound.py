"""Audio containers: header facts without decoding, and PCM WAV in and out.

WAV is decoded here with NumPy. FLAC, Ogg Vorbis and MP3 are only measured here (rate,
channels, length, is it whole); `serving/media.py` decodes them with tensorflow-io.

Formats: RIFF/WAVE (Microsoft mmreg.h), FLAC (RFC 9639), Ogg (RFC 3533) with Vorbis I,
MPEG-1/2/2.5 layer III (ISO/IEC 11172-3, 13818-3).
"""

import hashlib
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.media_error import MediaError

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
# What writers that cannot seek back leave as the data chunk's size.
_STREAMING_SIZES = (0, 0xFFFFFFFF)
# kbit/s by bitrate index, MPEG-1 layer III and MPEG-2/2.5 layer III; 0 is free format.
_MP3_KBPS = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
_MP3_RATES_HZ = {
    3: (44100, 48000, 32000),
    2: (22050, 24000, 16000),
    0: (11025, 12000, 8000),
}


@dataclass(frozen=True)
class SoundHeader:
    """What a file's headers say.

    `frames` counts samples per channel, None where the header does not say (streamed
    FLAC). `encoding` is a WAV format tag; `data_start`/`data_bytes` bound a WAV's
    samples; `plain` marks a 16-bit PCM WAV that `tf.audio.decode_wav` reads as it is.
    """

    format: str
    sample_rate_hz: int
    channels: int
    bits: int
    frames: int | None
    encoding: int = 0
    data_start: int = 0
    data_bytes: int = 0
    plain: bool = False
    md5: bytes = b""

    @property
    def seconds(self) -> float | None:
        """Length in seconds, None where the header does not say."""
        return None if self.frames is None else self.frames / self.sample_rate_hz


def read_header(data: bytes, name: str = "") -> SoundHeader:
    """Reads the header of WAV, FLAC, Ogg Vorbis or MP3 bytes; decodes nothing.

    Raises:
        MediaError: `unsupported_format`, `corrupt_audio` or `truncated_audio`.
    """
    try:
        if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
            header = _wav_header(data, name)
        elif data[:4] == b"fLaC":
            header = _flac_header(data, name)
        elif data[:4] == b"OggS":
            header = _ogg_header(data, name)
        elif data[:3] == b"ID3" or _mp3_frame(data, 0) is not None:
            header = _mp3_header(data, name)
        else:
            raise MediaError(
                "unsupported_format",
                "not WAV, FLAC, Ogg Vorbis or MP3; convert it to one of these",
                name,
            )
    except (struct.error, IndexError) as error:
        raise MediaError(
            "truncated_audio", "the file ends inside its own header", name
        ) from error
    if not (header.sample_rate_hz > 0 and header.channels > 0):
        raise MediaError("corrupt_audio", "header with no sample rate or channel", name)
    return header


def _wav_header(data: bytes, name: str) -> SoundHeader:
    position, fmt, odd = 12, b"", False
    while position + 8 <= len(data):
        chunk, size = data[position : position + 4], _u32(data, position + 4)
        start, there = position + 8, len(data) - position - 8
        if chunk == b"fmt ":
            fmt = data[start : start + size]
        if chunk == b"data":
            return _wav_data(fmt, start, size, there, odd, name)
        odd = odd or size % 2 == 1
        position = start + size + size % 2  # chunks are padded to even sizes
    raise MediaError("truncated_audio", "WAV ends before its data chunk", name)


def _wav_data(
    fmt: bytes, start: int, size: int, there: int, odd: bool, name: str
) -> SoundHeader:
    if len(fmt) < 16:
        raise MediaError("corrupt_audio", "WAV without a whole fmt chunk", name)
    tag, channels, rate, byte_rate, block, bits = struct.unpack("<HHIIHH", fmt[:16])
    # The rest of the condition is what TensorFlow's reader wants besides: it checks the
    # byte rate, and loses its place after a chunk of odd size.
    plain = tag == _PCM and bits == 16 and len(fmt) in (16, 18) and not odd
    plain = plain and byte_rate == rate * block
    if tag == _EXTENSIBLE and len(fmt) >= 26:
        # The first two bytes of the sub-format GUID are the ordinary format tag.
        tag = struct.unpack("<H", fmt[24:26])[0]
    if (tag, bits) not in {(_PCM, b) for b in (8, 16, 24, 32)} | {
        (_FLOAT, 32),
        (_FLOAT, 64),
    }:
        raise MediaError(
            "unsupported_format",
            f"WAV with format tag {tag} and {bits} bits; expected integer PCM of 8, "
            "16, 24 or 32 bits or float of 32 or 64 bits",
            name,
        )
    if channels == 0 or block != channels * bits // 8:
        raise MediaError(
            "corrupt_audio", f"WAV of {channels} channels with blocks of {block}", name
        )
    if size in _STREAMING_SIZES:
        size, plain = there - there % block, False
    if size > there:
        raise MediaError(
            "truncated_audio",
            f"WAV claims {size} bytes of samples and holds {there}; copy it again",
            name,
        )
    frames = size // block
    plain = plain and size % block == 0
    return SoundHeader(
        "wav", rate, channels, bits, frames, tag, start, frames * block, plain
    )


def _flac_header(data: bytes, name: str) -> SoundHeader:
    if data[4] & 0x7F != 0:
        raise MediaError("corrupt_audio", "FLAC without STREAMINFO first", name)
    packed = int.from_bytes(data[18:26], "big")
    md5 = data[26:42]
    if len(md5) < 16:
        raise MediaError("truncated_audio", "FLAC ends inside STREAMINFO", name)
    return SoundHeader(
        format="flac",
        sample_rate_hz=packed >> 44,
        channels=(packed >> 41 & 0x7) + 1,
        bits=(packed >> 36 & 0x1F) + 1,
        frames=packed & 0xFFFFFFFFF or None,
        md5=md5 if any(md5) else b"",
    )


def _ogg_header(data: bytes, name: str) -> SoundHeader:
    position, frames, ended, first = 0, 0, False, b""
    while position < len(data):
        if data[position : position + 4] != b"OggS":
            raise MediaError("corrupt_audio", "Ogg page header lost", name)
        flags, granule = data[position + 5], data[position + 6 : position + 14]
        sizes = data[position + 27 : position + 27 + data[position + 26]]
        body = position + 27 + data[position + 26]
        if len(data) < body + sum(sizes):
            raise MediaError("truncated_audio", "Ogg ends inside a page", name)
        first = first or data[body : body + 30]
        # -1 marks a page on which no packet ends.
        frames = max(frames, struct.unpack("<q", granule)[0])
        ended = bool(flags & 0x04)
        position = body + sum(sizes)
    if first[:7] != b"\x01vorbis":
        raise MediaError(
            "unsupported_format",
            "Ogg holds no Vorbis first (Opus, say); convert it to WAV or FLAC",
            name,
        )
    if not ended:
        raise MediaError("truncated_audio", "Ogg lacks its last page", name)
    channels, rate = first[11], _u32(first, 12)
    return SoundHeader("ogg", rate, channels, 16, frames)


def _mp3_frame(data: bytes, at: int) -> tuple[int, int, int, int] | None:
    """Length in bytes, samples, rate in Hz and channels of the frame at `at`."""
    if len(data) < at + 4 or data[at] != 0xFF or data[at + 1] & 0xE6 != 0xE2:
        return None  # no sync, or not layer III
    version, rate_index = data[at + 1] >> 3 & 3, data[at + 2] >> 2 & 3
    bitrate_index = data[at + 2] >> 4
    if version == 1 or rate_index == 3 or bitrate_index in (0, 15):
        return None
    rate = _MP3_RATES_HZ[version][rate_index]
    kbps = _MP3_KBPS[version != 3][bitrate_index]
    samples = 1152 if version == 3 else 576
    length = samples // 8 * kbps * 1000 // rate + (data[at + 2] >> 1 & 1)
    return length, samples, rate, 1 if data[at + 3] >> 6 == 3 else 2


def _mp3_header(data: bytes, name: str) -> SoundHeader:
    at = 0
    while data[at : at + 3] == b"ID3":
        size = 0
        for byte in data[at + 6 : at + 10]:
            size = size << 7 | byte & 0x7F
        at += 10 + size
    first = frame = _mp3_frame(data, at)
    if first is None:
        raise MediaError("corrupt_audio", "MP3 without a frame after its tags", name)
    samples = 0
    while frame is not None:
        if at + frame[0] > len(data):
            raise MediaError("truncated_audio", "MP3 ends inside a frame", name)
        at, samples = at + frame[0], samples + frame[1]
        frame = _mp3_frame(data, at)
    tail = data[at:]
    if tail.strip(b"\0") and not tail.startswith((b"TAG", b"APETAGEX", b"LYRICS")):
        raise MediaError("corrupt_audio", "MP3 loses frame sync", name)
    return SoundHeader("mp3", first[2], first[3], 16, samples)


def wav_samples(data: bytes, header: SoundHeader) -> npt.NDArray[np.int16]:
    """Samples of a WAV as int16 [frames, channels]; wider ones are rounded.

    `header` must come from `read_header(data)`.
    """
    raw = data[header.data_start : header.data_start + header.data_bytes]
    values: npt.NDArray[np.float64]
    if header.encoding == _FLOAT:
        values = np.frombuffer(raw, f"<f{header.bits // 8}").astype(np.float64)
    elif header.bits == 16:
        return np.frombuffer(raw, "<i2").reshape(-1, header.channels)
    elif header.bits == 8:  # the only unsigned width
        values = (np.frombuffer(raw, np.uint8).astype(np.float64) - 128) / 128
    elif header.bits == 24:
        wide = np.zeros((len(raw) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        values = wide.view("<i4").ravel() / 2.0**31
    else:
        values = np.frombuffer(raw, "<i4") / 2.0**31
    return to_int16(values).reshape(-1, header.channels)


def to_int16(values: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
    """Floats in [-1, 1) of any shape as int16; the scale of `tf.audio.decode_wav`.

    What lies outside is clipped; NaN becomes silence.
    """
    scaled = np.rint(np.nan_to_num(values.astype(np.float64)) * 32768.0)
    rounded: npt.NDArray[np.int16] = np.clip(scaled, -32768, 32767).astype(np.int16)
    return rounded


def flac_int16(
    decoded: npt.NDArray[Any], header: SoundHeader, name: str
) -> npt.NDArray[np.int16]:
    """Checks FLAC samples against the encoder's MD5, then narrows them to 16 bits.

    The check is what finds damage: the op carries on over a bad frame without a word.
    The op offsets 8-bit samples by 128 and shifts 24-bit ones up to 32.
    """
    if header.bits == 8:
        decoded = (decoded.astype(np.int16) - 128).astype(np.int8)
    stored = decoded.astype(f"<i{decoded.dtype.itemsize}").tobytes()
    if header.bits == 24:
        stored = np.frombuffer(stored, np.uint8).reshape(-1, 4)[:, 1:].tobytes()
    if header.md5 and hashlib.md5(stored, usedforsecurity=False).digest() != header.md5:
        raise MediaError(
            "corrupt_audio", "the FLAC's samples do not match its own checksum", name
        )
    if header.bits == 16:
        return decoded
    return to_int16(decoded / 2.0 ** (8 * decoded.dtype.itemsize - 1))


def write_wav(samples: npt.NDArray[np.int16], sample_rate_hz: int) -> bytes:
    """A 16-bit PCM WAV of int16 [frames, channels]."""
    channels, body = samples.shape[1], samples.astype("<i2").tobytes()
    return b"".join(
        (
            struct.pack("<4sI4s", b"RIFF", 36 + len(body), b"WAVE"),
            struct.pack("<4sIHH", b"fmt ", 16, _PCM, channels),
            struct.pack("<II", sample_rate_hz, sample_rate_hz * channels * 2),
            struct.pack("<HH4sI", channels * 2, 16, b"data", len(body)),
            body,
        )
    )


def _u32(data: bytes, at: int) -> int:
    return int(struct.unpack_from("<I", data, at)[0])
