"""MP3 without decoding: frames counted one by one, tags passed over.

MPEG-1/2/2.5 layer III (ISO/IEC 11172-3, 13818-3), ID3v2 (id3.org).
"""

from serving.media_error import MediaError
from serving.sound_containers import SoundHeader

# kbit/s by bitrate index, MPEG-1 layer III and MPEG-2/2.5 layer III; 0 is free format.
_KBPS = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
_RATES_HZ = {
    3: (44100, 48000, 32000),
    2: (22050, 24000, 16000),
    0: (11025, 12000, 8000),
}
_TRAILING_TAGS = (b"TAG", b"APETAGEX", b"LYRICS")


def after_id3(data: bytes) -> bytes:
    """What follows the ID3v2 tags; they stand before other formats than MP3, too."""
    at = 0
    while data[at : at + 3] == b"ID3":
        size = 0
        for byte in data[at + 6 : at + 10]:
            size = size << 7 | byte & 0x7F
        footer = 10 if data[at + 5 : at + 6] >= b"\x10" and data[at + 5] & 0x10 else 0
        at += 10 + size + footer
    if at == 0:
        return data
    # Taggers leave room to grow.
    return data[at:].lstrip(b"\0")


def is_mp3(data: bytes) -> bool:
    """Whether a frame of layer III stands at the beginning."""
    return _frame(data, 0) is not None


def mp3_header(data: bytes, name: str) -> SoundHeader:
    """Counts the frames of bytes that `is_mp3`.

    Raises:
        MediaError: `truncated_audio` or `corrupt_audio`.
    """
    at = samples = 0
    first = frame = _frame(data, at)
    assert first is not None
    while frame is not None:
        if at + frame[0] > len(data):
            raise MediaError("truncated_audio", "MP3 ends inside a frame", name)
        at, samples = at + frame[0], samples + frame[1]
        frame = _frame(data, at)
    tail = data[at:]
    if tail.strip(b"\0") and not tail.startswith(_TRAILING_TAGS):
        raise MediaError("corrupt_audio", "MP3 loses frame sync", name)
    return SoundHeader("mp3", first[2], first[3], 16, samples)


def _frame(data: bytes, at: int) -> tuple[int, int, int, int] | None:
    """Length in bytes, samples, rate in Hz and channels of the frame at `at`."""
    if len(data) < at + 4 or data[at] != 0xFF or data[at + 1] & 0xE6 != 0xE2:
        return None  # no sync, or not layer III
    version, rate_index = data[at + 1] >> 3 & 3, data[at + 2] >> 2 & 3
    bitrate_index = data[at + 2] >> 4
    if version == 1 or rate_index == 3 or bitrate_index in (0, 15):
        return None
    rate = _RATES_HZ[version][rate_index]
    kbps = _KBPS[version != 3][bitrate_index]
    samples = 1152 if version == 3 else 576
    length = samples // 8 * kbps * 1000 // rate + (data[at + 2] >> 1 & 1)
    return length, samples, rate, 1 if data[at + 3] >> 6 == 3 else 2
