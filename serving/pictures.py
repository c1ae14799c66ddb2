"""Pictures that Pillow reads: headers without decoding, and pixels as a viewer shows them.

What a viewer does and a serving graph would not: the turn that EXIF asks for, the
colour that a PNG or GIF names transparent, a GIF frame that is smaller than its screen.
Files for which that makes no difference pass as they are (`serving/graph_pictures.py`);
of the others `render` makes pixels.

Not followed, as Pillow does not: gamma (gAMA, cHRM) and colour profiles (ICC).
"""

import io
import warnings
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from serving.graph_pictures import (
    JPEG_SCANS,
    plain_bmp,
    plain_gif,
    plain_jpeg,
    scans,
    seen_orientation,
)
from serving.media_error import MediaError

FORMATS = (
    *("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "JPEG2000"),
    *("PPM", "ICO", "PCX", "SGI", "QOI"),
)
"""Left out: what starts another program (EPS, WMF), has no mark of its own (TGA), or is
no picture (MPEG, HDF5)."""

_MODE_BITS = {"1": 1, "I;16": 16, "I;16B": 16, "I;16L": 16, "I;16N": 16}
_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)
"""Orientations that exchange width and height (TIFF 6.0, EXIF 2.3)."""


def opened(data: bytes, name: str) -> Any:
    """A Pillow picture whose header is read and nothing more.

    Raises:
        MediaError: `unsupported_format`, `corrupt_image` or `too_many_pixels`.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Pillow warns of large pictures; the limit here is the caller's.
            warnings.simplefilter("ignore")
            return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise MediaError("too_many_pixels", str(error), name) from error
    except UnidentifiedImageError as error:
        known = _magic(data)
        raise MediaError(
            "corrupt_image" if known else "unsupported_format",
            f"begins as {known} but its header is damaged"
            if known
            else f"{_guess(data)}; convert it to PNG or JPEG",
            name,
        ) from error
    except Exception as error:  # damaged headers raise whatever they break
        raise MediaError(
            "corrupt_image", f"unreadable header ({type(error).__name__})", name
        ) from error


def _magic(data: bytes) -> str:
    for magic, known in (
        (b"\x89PNG", "PNG"),
        (b"\xff\xd8\xff", "JPEG"),
        (b"GIF8", "GIF"),
        (b"BM", "BMP"),
    ):
        if data.startswith(magic):
            return known
    return ""


def _guess(data: bytes) -> str:
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1", b"msf1"):
        return "a HEIC picture, which is not read here"
    return "no picture format that is known here"


def headed(data: bytes) -> bool:
    """Whether it begins as a PNG, JPEG, GIF or BMP, whose headers are safe to read."""
    return bool(_magic(data))


def orientation(picture: Any) -> int:
    """How an opened picture is to be turned, 1 to 8 as in EXIF; 1 = not at all."""
    from PIL import Image

    if picture.format == "TIFF":
        return 1  # Pillow turns these itself, the header's size too
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is damaged
            # PngImageFile's own method would decode the pixels to see what is behind.
            found = Image.Image.getexif(picture).get(_ORIENTATION, 1)
    except Exception:  # a damaged EXIF block turns nothing
        return 1
    return found if found in range(1, 9) else 1


def passes(picture: Any, data: bytes) -> bool:
    """Whether a serving graph sees of the file what a viewer shows."""
    plain = {
        "PNG": lambda _: True,
        "JPEG": plain_jpeg,
        "MPO": plain_jpeg,  # a JPEG with more pictures behind it
        "GIF": plain_gif,
        "BMP": plain_bmp,
    }.get(picture.format)
    if plain is None or not plain(data):
        return False
    return orientation(picture) == seen_orientation(data)


def render(
    data: bytes,
    max_pixels: int,
    frame: int | Literal["middle"] = "middle",
    name: str = "",
) -> npt.NDArray[Any]:
    """A picture as a viewer shows it.

    Args:
        data: the whole file.
        max_pixels: limit on width times height, checked before decoding.
        frame: of an animation or of a file of several pages, from 0, with what shows
            through it of those before; "middle" is the first.
        name: the file's name, for messages.

    Returns:
        uint8 or uint16 [height, width, channels]: grey, grey and alpha, RGB or RGBA.

    Raises:
        MediaError: `unsupported_format`, `corrupt_image`, `too_many_pixels` or
            `bad_frame`.
    """
    picture = opened(data, name)
    if frame != "middle":
        _seek(picture, frame, name)
    check_pixels(picture.size, max_pixels, name)
    if picture.format in ("JPEG", "MPO") and scans(data) > JPEG_SCANS:
        raise MediaError(
            "corrupt_image",
            f"a JPEG of {scans(data)} scans, at most {JPEG_SCANS} are read: decoding "
            "would take too long; convert it to PNG",
            name,
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd but readable values
            picture.load()
            return _array(turned(picture, orientation(picture)), name)
    except MediaError:
        raise
    except Exception as error:  # damaged data raises whatever it breaks
        raise MediaError(
            "corrupt_image",
            f"this {picture.format} cannot be decoded ({type(error).__name__}): "
            "damaged or cut short",
            name,
        ) from error


def check_pixels(size: tuple[int, int], max_pixels: int, name: str) -> None:
    """Refuses a picture that is too large, before anything is decoded.

    Raises:
        MediaError: `too_many_pixels`.
    """
    width, height = size
    if width * height > max_pixels:
        raise MediaError(
            "too_many_pixels", f"{width}x{height} is more than {max_pixels}", name
        )


def _seek(picture: Any, frame: int, name: str) -> None:
    try:
        picture.seek(frame)
    except EOFError as error:
        raise MediaError("bad_frame", f"there is no frame {frame}", name) from error
    except Exception as error:
        raise MediaError(
            "corrupt_image",
            f"{picture.format} cannot be decoded ({type(error).__name__})",
            name,
        ) from error


def turned(picture: Any, how: int) -> Any:
    """An opened picture, turned as an orientation asks."""
    from PIL.Image import Transpose

    ways = (
        None,
        Transpose.FLIP_LEFT_RIGHT,
        Transpose.ROTATE_180,
        Transpose.FLIP_TOP_BOTTOM,
        Transpose.TRANSPOSE,
        Transpose.ROTATE_270,
        Transpose.TRANSVERSE,
        Transpose.ROTATE_90,
    )
    way = ways[how - 1]
    return picture if way is None else picture.transpose(way)


def _array(picture: Any, name: str) -> npt.NDArray[Any]:
    mode = picture.mode
    see_through = "transparency" in picture.info
    if mode.startswith("I;16"):
        return _sixteen_bits(picture, see_through)
    if mode in ("1", "L", "LA", "La"):
        target = "LA" if see_through or mode in ("LA", "La") else "L"
    elif mode in ("P", "RGB", "CMYK", "YCbCr", "LAB", "RGBX"):
        target = "RGBA" if see_through else "RGB"
    elif mode in ("PA", "RGBA", "RGBa"):
        target = "RGBA"
    else:
        raise MediaError(
            "unsupported_format",
            f"{picture.format} with pixels of kind {mode}; convert it to PNG",
            name,
        )
    if mode == "P" and "A" in picture.palette.mode:
        target = "RGBA"
    values = np.asarray(picture if mode == target else picture.convert(target))
    return values[..., np.newaxis] if values.ndim == 2 else values


def _sixteen_bits(picture: Any, see_through: bool) -> npt.NDArray[np.uint16]:
    grey = np.asarray(picture).astype(np.uint16)
    if not see_through:
        return grey[..., np.newaxis]
    alpha = np.where(grey == picture.info["transparency"], 0, 65535).astype(np.uint16)
    return np.stack([grey, alpha], -1)


MAX_FRAMES = 10_000
"""Of one file: a scan has hundreds; finding each costs a walk over those before."""


def count_frames(data: bytes, name: str = "") -> int:
    """How many pictures a file holds; of a JPEG one, whatever lies behind it.

    Raises:
        MediaError: `corrupt_image`, `too_many_frames`, or as `opened`.
    """
    picture = opened(data, name)
    if picture.format in ("JPEG", "MPO"):
        return 1  # behind a photo lie its preview, depth or gain map
    try:
        count = int(getattr(picture, "n_frames", 1))
    except Exception as error:  # damaged data raises whatever it breaks
        raise MediaError(
            "corrupt_image",
            f"{picture.format} whose frames cannot be counted ({type(error).__name__})",
            name,
        ) from error
    if count > MAX_FRAMES:
        told = f"{count} frames, at most {MAX_FRAMES} are taken from a file"
        raise MediaError("too_many_frames", told, name)
    return count


def facts(data: bytes, name: str = "") -> dict[str, Any]:
    """Format, width, height, channels and bits a channel, out of the header alone.

    Width and height are those that a viewer shows.
    """
    picture = opened(data, name)
    width, height = picture.size
    if orientation(picture) in _TURNED:
        width, height = height, width
    # Pillow calls 16-bit RGB PNGs "RGB"; their header says better.
    png = picture.format == "PNG"
    return {
        "format": "jpeg" if picture.format == "MPO" else picture.format.lower(),
        "width": width,
        "height": height,
        "channels": 3 if picture.mode == "P" else len(picture.getbands()),
        "bits": data[24] if png else _MODE_BITS.get(picture.mode, 8),
    }
