"""Writers of small sound files, independent of the readers under test."""

import struct

import numpy as np
import numpy.typing as npt


def wav(
    samples: npt.NDArray[np.generic],
    rate: int,
    bits: int = 16,
    tag: int = 1,
    extensible: bool = False,
    data_size: int | None = None,
) -> bytes:
    """A WAV of [frames, channels]; 24-bit samples come as int32 below 2**23."""
    channels = samples.shape[1]
    if bits == 24:
        body = b"".join(
            int(value).to_bytes(3, "little", signed=True) for value in samples.ravel()
        )
    else:
        body = samples.tobytes()
    block = channels * bits // 8
    fmt = struct.pack(
        "<HHIIHH",
        0xFFFE if extensible else tag,
        channels,
        rate,
        rate * block,
        block,
        bits,
    )
    if extensible:
        guid = struct.pack("<H", tag) + bytes.fromhex("000000001000800000aa00389b71")
        fmt += struct.pack("<HHI", 22, bits, 0) + guid
    size = len(body) if data_size is None else data_size
    chunks = b"fmt " + struct.pack("<I", len(fmt)) + fmt
    chunks += b"data" + struct.pack("<I", size) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def _crc(data: bytes, polynomial: int, width: int) -> int:
    value, top, mask = 0, 1 << (width - 1), (1 << width) - 1
    for byte in data:
        value ^= byte << (width - 8)
        for _ in range(8):
            value = ((value << 1) ^ polynomial if value & top else value << 1) & mask
    return value


def flac(
    samples: npt.NDArray[np.int64],
    rate: int,
    bits: int,
    md5: bytes = bytes(16),
    total: int | None = None,
) -> bytes:
    """One verbatim frame (RFC 9639) of at most 65535 [frames, channels]."""
    frames, channels = samples.shape
    total = frames if total is None else total
    info = struct.pack(">HH", frames, frames) + bytes(6)
    packed = rate << 44 | (channels - 1) << 41 | (bits - 1) << 36 | total
    info += packed.to_bytes(8, "big") + md5
    code = {8: 1, 12: 2, 16: 4, 24: 6}[bits]
    frame = bytes((0xFF, 0xF8, 0x70, (channels - 1) << 4 | code << 1, 0))
    frame += struct.pack(">H", frames - 1)
    frame += bytes((_crc(frame, 0x07, 8),))
    mask = (1 << bits) - 1
    stream = "".join(
        "00000010" + "".join(f"{int(v) & mask:0{bits}b}" for v in samples[:, channel])
        for channel in range(channels)
    )
    stream += "0" * (-len(stream) % 8)
    frame += int(stream, 2).to_bytes(len(stream) // 8, "big")
    frame += struct.pack(">H", _crc(frame, 0x8005, 16))
    return b"fLaC\x80" + len(info).to_bytes(3, "big") + info + frame


def mp3_tone(frames: int) -> bytes:
    """MPEG-1 layer III, mono, 44.1 kHz, 128 kbit/s: one MDCT line all the time.

    Each granule codes the pair of lines (4, 5) as (1, 0) with Huffman table 1, so the
    sound is a tone near (4 + 0.5) / 576 * 22050 Hz = 172 Hz.
    """
    # Pairs (0,1): "1"; (2,3): "1"; (4,5) = (1,0): "01" and the sign "0".
    huffman = "1" + "1" + "010"
    granule = (
        f"{len(huffman):012b}"  # part2_3_length: no scale factors
        f"{3:09b}"  # big_values, in pairs
        f"{202:08b}"  # global_gain: 210 is full scale, 202 a quarter of it
        "0000"  # scalefac_compress
        "0"  # no window switching
        "000010000100001"  # table 1 in all three regions
        "0000"  # region0_count
        "000"  # region1_count
        "000"  # preflag, scalefac_scale, count1table
    )
    side = "0" * 9 + "0" * 5 + "0" * 4 + granule * 2
    length = 144 * 128000 // 44100
    bits = side + huffman * 2
    body = int(bits.ljust((length - 4) * 8, "0"), 2).to_bytes(length - 4, "big")
    return (b"\xff\xfb\x90\xc0" + body) * frames
