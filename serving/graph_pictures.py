"""What a serving graph sees of a picture file: whether it may pass as it is.

The graph (`trainer/decoding_pictures.py`) decodes PNG, JPEG, GIF and BMP by TensorFlow
core, turns what EXIF asks to turn, and refuses what TensorFlow would misread. The rules
stand here a second time, over bytes instead of tensors, because this package knows no
model code; tests hold the two to each other on the same files.
"""

import struct

JPEG_SCANS = 100
"""Of a progressive JPEG. Encoders write about ten; each costs a pass over all pixels."""

HEAD_BYTES = 2**17
"""How far into a JPEG the graph looks for EXIF, whose block is the first or second."""

EXIF_ENTRIES = 512
GIF_BLOCKS = 1024
"""Sub-blocks that may stand before a GIF's picture: comments and profiles."""

GREY_PALETTE = b"".join(bytes([level, level, level, 0]) for level in range(256))


def seen_orientation(data: bytes) -> int:
    """How the graph turns a file: the EXIF orientation, 1 where it sees none."""
    if data.startswith(b"\xff\xd8"):
        if data[20:22] == b"\xff\xdb":  # tables behind a JFIF header
            return 1
        found = data[:HEAD_BYTES].split(b"Exif\0\0", 1)[1:]
    elif data.startswith(b"\x89PNG"):
        if data[37:41] == b"IDAT":
            return 1
        found = data.split(b"IDAT", 1)[0].split(b"eXIf", 1)[1:]
    else:
        return 1
    return _tiff_orientation(found[0]) if found else 1


def _tiff_orientation(tiff: bytes) -> int:
    """Of a TIFF directory, whose entries have 12 bytes (TIFF 6.0, section 2)."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return 1
    (at,) = struct.unpack_from(f"{order}I", tiff, 4)
    if at + 2 > len(tiff):
        return 1
    (count,) = struct.unpack_from(f"{order}H", tiff, at)
    for i in range(min(count, EXIF_ENTRIES, (len(tiff) - at - 2) // 12)):
        tag, kind = struct.unpack_from(f"{order}HH", tiff, at + 2 + 12 * i)
        (value,) = struct.unpack_from(f"{order}H", tiff, at + 10 + 12 * i)
        if tag == 0x0112:
            return value if kind == 3 and 1 <= value <= 8 else 1
    return 1


def plain_jpeg(data: bytes) -> bool:
    """Whether it is baseline, extended or progressive, of a sane number of scans."""
    return _jpeg_frame(data) in (0xC0, 0xC1, 0xC2) and scans(data) <= JPEG_SCANS


def scans(data: bytes) -> int:
    """Marks of scans in a JPEG; those of previews in its headers count too."""
    return data.count(b"\xff\xda")


def _jpeg_frame(data: bytes) -> int:
    """The marker that tells the kind of a JPEG (ITU-T T.81, table B.1); 0 = none."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return 0
        marker = data[at + 1]
        if marker == 0xFF:  # filling
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return marker
        elif marker in (0xD8, 0xD9, 0xDA):
            return 0
        elif marker == 0x01 or 0xD0 <= marker <= 0xD7:
            at += 2
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return 0


def plain_bmp(data: bytes) -> bool:
    """Whether it is of 24 bits, or grey of 8, uncompressed, and of the exact length.

    TensorFlow takes any 8 bits for grey and any 32 for colour with alpha, knows no
    compression, and refuses what stands behind the pixels.
    """
    if len(data) < 54:
        return False
    start, head, width, height, _, bits, packing = struct.unpack_from(
        "<IIiiHHI", data, 10
    )
    grey = bits == 8 and start == 1078 and data[54:1078] == GREY_PALETTE
    stride = (width * bits + 31) // 32 * 4
    return (
        (bits == 24 or grey)
        and (head >= 40 and packing == 0 and width > 0)
        and len(data) == start + stride * abs(height)
    )


def plain_gif(data: bytes) -> bool:
    """Whether it holds one frame, over all of its screen, without transparency."""
    try:
        at, opaque = _gif_frame(data)
        left, top, width, height, flags = struct.unpack_from("<HHHHB", data, at + 1)
        screen = struct.unpack_from("<HH", data, 6)
        at += 10 + (3 << (flags & 7) + 1 if flags & 0x80 else 0) + 1
        while data[at]:
            at += 1 + data[at]
    except (IndexError, struct.error):
        return False
    whole = (left, top, width, height) == (0, 0, *screen)
    return opaque and whole and data[at + 1 : at + 2] == b";"


def _gif_frame(data: bytes) -> tuple[int, bool]:
    """Where the first frame's descriptor stands, and whether no colour is see-through.

    Raises:
        IndexError: there is none, or too many blocks stand before it.
    """
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    opaque, blocks = True, 0
    while data[at] == 0x21:
        if data[at + 1] == 0xF9:  # graphic control
            opaque = not data[at + 3] & 1
        at += 2
        while data[at]:
            at += 1 + data[at]
            blocks += 1
        at += 1
        blocks += 1
        if blocks > GIF_BLOCKS:
            raise IndexError
    if data[at] != 0x2C:
        raise IndexError
    return at, opaque
