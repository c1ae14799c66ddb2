"""Picture files of every kind that is read, and what a viewer shows of them."""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageOps


def encoded(picture: Any, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def smooth(height: int = 24, width: int = 40) -> Any:
    """A coloured picture that no symmetry leaves as it is."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / 9.0), np.cos(y / 7.0), np.sin((x + 2 * y) / 11.0)]
    values = (127.5 + 100 * np.stack(waves, -1)).astype(np.uint8)
    values[: height // 3, : width // 4] = (250, 20, 20)
    return Image.fromarray(values)


def square() -> np.ndarray:
    """uint8 [24, 24]: 200 in the middle, else 0."""
    grey = np.zeros((24, 24), np.uint8)
    grey[6:18, 6:18] = 200
    return grey


def exif(orientation: int, order: str = "<", kind: int = 3) -> bytes:
    """An EXIF block of one entry, with its mark."""
    value = struct.pack(f"{order}HH", orientation, 0)
    if kind == 4:
        value = struct.pack(f"{order}I", orientation)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(f"{order}HHI", 0x0112, kind, 1) + value
    head = struct.pack(f"{order}I", 8) + struct.pack(f"{order}H", 1)
    return b"Exif\0\0" + mark + head + entry + bytes(4)


def png(
    rows: np.ndarray, depth: int, colour: int, *chunks: tuple[bytes, bytes]
) -> bytes:
    """Kinds of PNG that Pillow does not write; rows: bytes of each line."""
    width = rows.shape[1] * 8 // (depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour])
    head = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def interlaced(values: np.ndarray) -> bytes:
    """An RGB PNG of Adam7's seven passes (PNG 1.2, 2.6)."""
    height, width = values.shape[:2]
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2),
              (0, 1, 2, 2), (1, 0, 2, 1)]  # fmt: skip
    lines = b"".join(
        b"\0" + row.tobytes()
        for top, left, down, right in passes
        for row in values[top::down, left::right]
    )
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def chunk(kind: bytes, body: bytes) -> bytes:
    """A PNG's chunk, with its length and checksum."""
    sum_ = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + sum_


def sixteen(values: np.ndarray) -> np.ndarray:
    """The bytes of 16-bit samples, line by line."""
    rows = values.astype(">u2").reshape(len(values), -1)
    return np.frombuffer(rows.tobytes(), np.uint8).reshape(len(values), -1)


def bmp(
    bits: int,
    rows: bytes,
    width: int,
    height: int,
    head: int = 40,
    packing: int = 0,
    table: bytes = b"",
    behind: bytes = b"",
) -> bytes:
    start = 14 + head + len(table)
    known = struct.pack(
        "<IiiHHIIiiII",
        *(head, width, height, 1, bits, packing, len(rows), 2835, 2835),
        *(len(table) // 4, 0),
    )
    more = bytes(16) + b"BGRs" + bytes(head - 60) if head > 40 else b""
    size = start + len(rows) + len(behind)
    return (
        b"BM" + struct.pack("<IHHI", size, 0, 0, start) + known + more + table + rows
    ) + behind


def bottom_up(picture: Any) -> bytes:
    """The lines of a 24-bit BMP."""
    rows = np.asarray(picture)[::-1, :, ::-1]
    return np.pad(rows.reshape(len(rows), -1), [(0, 0), (0, -rows.shape[1] * 3 % 4)]).tobytes()  # fmt: skip


def several(kind: str, **options: Any) -> bytes:
    """Three frames or pages, the first of them `smooth`."""
    first, *rest = smooth(), smooth().rotate(180), Image.new("RGB", (40, 24), "blue")
    return encoded(first, kind, save_all=True, append_images=rest, **options)


def gif(frame: tuple[int, int, int, int], *, see_through: bool = False) -> bytes:
    """A 24x24 GIF whose first frame stands at left, top with a width and height."""
    left, top, width, height = frame
    body = encoded(Image.new("P", (width, height), 1), "GIF")
    at = body.index(b"\x2c")
    control = b"\x21\xf9\x04" + bytes([int(see_through), 0, 0, 1, 0])
    table = bytes([10, 20, 30, 200, 100, 50]) + bytes(6)
    descriptor = b"\x2c" + struct.pack("<HHHHB", left, top, width, height, 0)
    flags = body[at + 9]
    pixels = body[at + 10 + (3 << (flags & 7) + 1 if flags & 0x80 else 0) :]
    screen = b"GIF89a" + struct.pack("<HHBBB", 24, 24, 0x81, 0, 0)
    return screen + table + control + descriptor + pixels


def files() -> Iterator[tuple[str, bytes]]:
    """Names and files."""
    rgb, grey = smooth(), smooth().convert("L")
    palette = rgb.quantize(17)
    alpha = rgb.copy()
    alpha.putalpha(Image.linear_gradient("L").resize(rgb.size))
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        yield (
            f"png-{mode}",
            encoded((alpha if "A" in mode else rgb).convert(mode), "PNG"),
        )
    yield "png-palette-trns", encoded(palette, "PNG", transparency=bytes([0, 90, 255]))
    yield "png-palette-trns-one", encoded(palette, "PNG", transparency=3)
    yield "png-grey-trns", encoded(Image.fromarray(square()), "PNG", transparency=0)
    yield (
        "png-rgb-trns",
        encoded(
            Image.fromarray(np.dstack([square()] * 3)), "PNG", transparency=(0, 0, 0)
        ),
    )
    yield "png-1-trns", encoded(Image.fromarray(square() > 0), "PNG", transparency=0)
    bits = np.packbits(square() > 0, axis=1)
    yield "png-2-bits-trns", png(np.repeat(bits, 2, 1), 2, 0, (b"tRNS", b"\0\0"))
    yield "png-interlaced", interlaced(np.asarray(rgb))
    gamma = (b"gAMA", struct.pack(">I", 100_000)), (b"sRGB", b"\0")
    flat = np.asarray(rgb).reshape(24, -1)
    yield "png-gamma", png(flat, 8, 2, *gamma)
    for turn in range(1, 9):
        yield f"png-exif-{turn}", encoded(rgb, "PNG", exif=exif(turn)[6:])
        yield f"jpeg-exif-{turn}", encoded(rgb, "JPEG", exif=exif(turn), quality=95)
    yield "jpeg-exif-motorola", encoded(rgb, "JPEG", exif=exif(6, ">"))
    yield "jpeg-exif-long", encoded(rgb, "JPEG", exif=exif(6, "<", 4))
    yield "jpeg-exif-nine", encoded(rgb, "JPEG", exif=exif(9))
    yield "jpeg-xmp", encoded(rgb, "JPEG", xmp=b'<x tiff:Orientation="8"/>')
    yield "webp-exif", encoded(rgb, "WEBP", exif=exif(6), lossless=True)
    yield "tiff-exif", encoded(rgb, "TIFF", tiffinfo={274: 6})
    yield "avif-exif", encoded(rgb, "AVIF", exif=exif(6), quality=100)
    yield "png-xmp", png_with_xmp(rgb)
    for mode in ("L", "CMYK", "RGB"):
        yield f"jpeg-{mode}", encoded(rgb.convert(mode), "JPEG", quality=95)
    yield "jpeg-progressive", encoded(rgb, "JPEG", progressive=True)
    yield "jpeg-rgb-stored", encoded(rgb, "JPEG", keep_rgb=True)
    yield "jpeg-several", encoded(rgb, "MPO", save_all=True, append_images=[grey])
    yield "jpeg-behind", encoded(rgb, "JPEG") + b"and more"
    yield "gif", encoded(palette, "GIF")
    yield "gif-grey", encoded(grey, "GIF")
    yield "gif-interlaced", encoded(palette, "GIF", interlace=1)
    yield (
        "gif-see-through",
        encoded(Image.fromarray(square()).convert("P"), "GIF", transparency=0),
    )
    yield "gif-offset", gif((4, 6, 12, 10))
    yield "gif-offset-see-through", gif((4, 6, 12, 10), see_through=True)
    yield "gif-animated", several("GIF")
    yield "gif-animated-disposed", several("GIF", disposal=2, transparency=5)
    yield "webp", encoded(rgb, "WEBP", lossless=True)
    yield "webp-alpha", encoded(alpha, "WEBP", lossless=True, exact=True)
    yield "webp-animated", several("WEBP", lossless=True)
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK"):
        picture = (alpha if "A" in mode else rgb).convert(mode)
        yield f"tiff-{mode}", encoded(picture, "TIFF")
    yield "tiff-lzw", encoded(rgb, "TIFF", compression="tiff_lzw")
    yield "tiff-several", several("TIFF")
    yield "tiff-white-is-zero", encoded(grey, "TIFF", tiffinfo={262: 0})
    yield "avif", encoded(rgb, "AVIF", quality=100)
    yield "jpeg2000", encoded(rgb, "JPEG2000")
    yield "jpeg2000-alpha", encoded(alpha, "JPEG2000")
    yield "ppm", encoded(rgb, "PPM")
    yield "pgm", encoded(grey, "PPM")
    yield "ico", encoded(alpha.resize((32, 32)), "ICO", sizes=[(32, 32)])
    yield "pcx", encoded(rgb, "PCX")
    yield "sgi", encoded(rgb, "SGI")
    yield "qoi", encoded(alpha, "QOI")
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        yield (
            f"bmp-{mode}",
            encoded((alpha if "A" in mode else rgb).convert(mode), "BMP"),
        )
    lines = bottom_up(rgb)
    yield "bmp-v5", bmp(24, lines, 40, 24, head=124, behind=b"a profile")
    yield "bmp-v4", bmp(24, lines, 40, 24, head=108)
    yield "bmp-behind", bmp(24, lines, 40, 24, behind=b"more")
    yield "bmp-top-down", bmp(24, lines, 40, -24)
    table = bytes([1, 2, 3, 0, 200, 100, 50, 0])
    yield (
        "bmp-run-lengths",
        bmp(8, b"\x14\x00\x14\x01\0\0" * 24 + b"\0\1", 40, 24, packing=1, table=table),
    )
    yield "bmp-16-bits", bmp(16, np.arange(960, dtype="<u2").tobytes(), 40, 24)


def png_with_xmp(picture: Any) -> bytes:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')
    return encoded(picture, "PNG", pnginfo=info)


def shown(data: bytes, background: int) -> np.ndarray:
    """float [height, width, 3] in [0, 1], by Pillow alone."""
    picture = Image.open(io.BytesIO(data))
    picture = ImageOps.exif_transpose(picture)
    behind = Image.new("RGBA", picture.size, (background,) * 3 + (255,))
    behind.alpha_composite(picture.convert("RGBA"))
    return np.asarray(behind.convert("RGB")) / 255.0
