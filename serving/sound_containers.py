"""What sound files say of themselves, read out of their bytes without decoding.

libsndfile takes a file that was cut short for a shorter sound. Here each container is
walked, so that a file that holds less than it claims is refused as such.

RIFF/WAVE, RIFX (Microsoft mmreg.h), RF64/BW64 (EBU Tech 3306, ITU-R BS.2088), Sony
Wave64, AIFF and AIFF-C (Apple), Core Audio Format (Apple), AU (Sun), NIST SPHERE,
FLAC (RFC 9639), Ogg (RFC 3533).
"""

import struct
from dataclasses import dataclass

from serving.media_error import MediaError

_PCM, _FLOAT, _ALAW, _ULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
# MS ADPCM, IMA ADPCM, GSM 6.10, three of NMS, MP3, G.721: the others of libsndfile.
_OTHER_TAGS = (2, 0x11, 0x31, 0x38, 0x39, 0x3A, 0x55, 0x64)
_W64_RIFF = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_W64_DATA = bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")


@dataclass(frozen=True)
class SoundHeader:
    """What a file's headers say.

    `sample_rate_hz`, `channels`, `bits` are 0 where only libsndfile knows; `frames`
    counts samples per channel, None where the header does not say. `data_start` and
    `data_bytes` bound a WAV's samples, `unknown_size` tells that its writer did not
    know how many would follow, `pcm16` that they are little-endian integers of 16 bits.
    """

    format: str
    sample_rate_hz: int = 0
    channels: int = 0
    bits: int = 0
    frames: int | None = None
    data_start: int = 0
    data_bytes: int = 0
    unknown_size: bool = False
    pcm16: bool = False

    @property
    def seconds(self) -> float | None:
        """Length in seconds, None where the header does not say."""
        if self.frames is None or not self.sample_rate_hz:
            return None
        return self.frames / self.sample_rate_hz


def is_unknown(size: int) -> bool:
    """Whether this is what writers that cannot seek back leave as a size.

    They leave 0, all ones, or the most that a signed number holds, less some headers.
    Files are at most 256 MiB here: none really holds so much.
    """
    return size == 0 or size >= 0x7FFF0000


def wav_header(data: bytes, name: str) -> SoundHeader:
    """Of RIFF, RIFX, RF64 or BW64."""
    order = ">" if data[:4] == b"RIFX" else "<"
    position, fmt, long_size = 12, b"", None
    while position + 8 <= len(data):
        chunk, size = data[position : position + 4], _u32(data, position + 4, order)
        start = position + 8
        if chunk == b"ds64" and size >= 16:
            long_size = struct.unpack_from("<Q", data, start + 8)[0]
        if chunk == b"fmt ":
            fmt = data[start : start + size]
        if chunk == b"data":
            if size == 0xFFFFFFFF and long_size is not None:
                size = long_size
            return _wav_data(fmt, order, start, size, len(data) - start, name)
        position = start + size + size % 2  # chunks are padded to even sizes
    raise MediaError("truncated_audio", "WAV ends before its data chunk", name)


def _wav_data(
    fmt: bytes, order: str, start: int, size: int, there: int, name: str
) -> SoundHeader:
    if len(fmt) < 16:
        raise MediaError("corrupt_audio", "WAV without a whole fmt chunk", name)
    tag, channels, rate, _, block, bits = struct.unpack(order + "HHIIHH", fmt[:16])
    if tag == _EXTENSIBLE and len(fmt) >= 26:
        # The first two bytes of the sub-format GUID are the ordinary format tag.
        tag = struct.unpack(order + "H", fmt[24:26])[0]
    possible = {_PCM: range(1, 33), _FLOAT: (32, 64), _ALAW: (8,), _ULAW: (8,)}
    if tag not in _OTHER_TAGS and bits not in possible.get(tag, ()):
        raise MediaError(
            "unsupported_format",
            f"WAV with format tag {tag} and {bits} bits, which libsndfile does not read;"
            " convert it to 16-bit PCM",
            name,
        )
    simple = tag in (_PCM, _FLOAT)
    if block == 0 or channels == 0 or (simple and block != channels * -(-bits // 8)):
        raise MediaError(
            "corrupt_audio", f"WAV of {channels} channels with blocks of {block}", name
        )
    if unknown := is_unknown(size):
        size = there - there % block
    check_whole("WAV", size, there, name)
    return SoundHeader(
        format="wav",
        sample_rate_hz=rate,
        channels=channels,
        bits=bits or 16,
        frames=size // block if simple else None,
        data_start=start,
        data_bytes=size - size % block,
        unknown_size=unknown,
        pcm16=tag == _PCM and bits == 16 and order == "<",
    )


def check_whole(kind: str, size: int, there: int, name: str) -> None:
    """Refuses a file whose samples are said to take more bytes than follow."""
    if size > there:
        raise MediaError(
            "truncated_audio",
            f"{kind} claims {size} bytes of samples and holds {there}; copy it again",
            name,
        )


def flac_header(data: bytes, name: str) -> SoundHeader:
    """Of native FLAC."""
    if data[4] & 0x7F != 0:
        raise MediaError("corrupt_audio", "FLAC without STREAMINFO first", name)
    if len(data) < 42:
        raise MediaError("truncated_audio", "FLAC ends inside STREAMINFO", name)
    packed = int.from_bytes(data[18:26], "big")
    return SoundHeader(
        format="flac",
        sample_rate_hz=packed >> 44,
        channels=(packed >> 41 & 0x7) + 1,
        bits=(packed >> 36 & 0x1F) + 1,
        frames=packed & 0xFFFFFFFFF or None,
    )


def ogg_header(data: bytes, name: str) -> SoundHeader:
    """Of Ogg with Vorbis, Opus or FLAC; only Vorbis says rate and length here."""
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
    if not first.startswith((b"\x01vorbis", b"OpusHead", b"\x7fFLAC")):
        raise MediaError(
            "unsupported_format",
            "Ogg holds neither Vorbis, Opus nor FLAC first; convert it to WAV or FLAC",
            name,
        )
    if not ended:
        raise MediaError("truncated_audio", "Ogg lacks its last page", name)
    if not first.startswith(b"\x01vorbis"):
        return SoundHeader("ogg")
    return SoundHeader("ogg", _u32(first, 12, "<"), first[11], 16, frames)


def aiff_header(data: bytes, name: str) -> SoundHeader:
    """Of AIFF and AIFF-C."""
    position = 12
    while position + 8 <= len(data):
        size = _u32(data, position + 4, ">")
        if data[position : position + 4] == b"SSND" and not is_unknown(size):
            check_whole("AIFF", size, len(data) - position - 8, name)
        position += 8 + size + size % 2
    return SoundHeader("aiff")


def w64_header(data: bytes, name: str) -> SoundHeader:
    """Of Sony Wave64: chunks of a GUID and a size that counts itself."""
    position = 40
    while position + 24 <= len(data):
        size = struct.unpack_from("<Q", data, position + 16)[0]
        if data[position : position + 16] == _W64_DATA and not is_unknown(size):
            check_whole("Wave64", size - 24, len(data) - position - 24, name)
        position += max(24, size + -size % 8)
    return SoundHeader("w64")


def caf_header(data: bytes, name: str) -> SoundHeader:
    """Of Core Audio Format."""
    position = 8
    while position + 12 <= len(data):
        size = struct.unpack_from(">Q", data, position + 4)[0]
        if data[position : position + 4] == b"data" and not is_unknown(size):
            check_whole("CAF", size, len(data) - position - 12, name)
        position += 12 + size
    return SoundHeader("caf")


def au_header(data: bytes, name: str) -> SoundHeader:
    """Of AU, in either byte order."""
    order = ">" if data[:4] == b".snd" else "<"
    start, size = _u32(data, 4, order), _u32(data, 8, order)
    if not is_unknown(size):
        check_whole("AU", size, len(data) - start, name)
    return SoundHeader("au")


def nist_header(data: bytes, name: str) -> SoundHeader:
    """Of NIST SPHERE, as speech corpora use it: a header of text, then samples."""
    found = {}
    for line in data[:4096].splitlines()[2:]:
        key, _, value = line.partition(b" -i ")
        if value.strip().isdigit():
            found[key.strip()] = int(value[:12])
    claimed = found.get(b"sample_count", 0) * found.get(b"sample_n_bytes", 1)
    claimed *= found.get(b"channel_count", 1)
    check_whole("SPHERE", claimed, len(data) - int(data[8:16]), name)
    return SoundHeader("nist")


HEADERS = (
    ((b"RIFF", b"RIFX", b"RF64", b"BW64"), b"WAVE", wav_header),
    ((b"fLaC",), b"", flac_header),
    ((b"OggS",), b"", ogg_header),
    ((b"FORM",), b"AIF", aiff_header),
    ((_W64_RIFF,), b"", w64_header),
    ((b"caff",), b"", caf_header),
    ((b".snd", b"dns."), b"", au_header),
    ((b"NIST_1A\n",), b"", nist_header),
)
"""How a file may begin, what then stands at byte 8, and who reads it."""


def _u32(data: bytes, at: int, order: str) -> int:
    return int(struct.unpack_from(order + "I", data, at)[0])
