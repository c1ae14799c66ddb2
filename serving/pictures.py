"""Pictures that Pillow reads: headers without decoding, and lossless PNG."""

import io
import warnings
from typing import Any

from serving.media_error import MediaError

_PASS = ("PNG", "JPEG", "BMP", "GIF")
_MODE_BITS = {"1": 1, "I;16": 16, "I;16B": 16, "I": 32, "F": 32}


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
            return Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise MediaError("too_many_pixels", str(error), name) from error
    except UnidentifiedImageError as error:
        known = _magic(data)
        raise MediaError(
            "corrupt_image" if known else "unsupported_format",
            f"begins as {known} but its header is damaged"
            if known
            else "no picture format that is known here; convert it to PNG or JPEG",
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


def to_png(picture: Any, name: str) -> bytes:
    """An opened picture's first frame as PNG, lossless for all but CMYK and the like.

    Raises:
        MediaError: `unsupported_format` or `corrupt_image`.
    """
    mode = picture.mode
    if mode in ("1", "CMYK", "YCbCr", "LAB"):  # what PNG has no like of
        target = "L" if mode == "1" else "RGB"
    elif mode in ("L", "LA", "RGB", "RGBA", "P", "I;16", "I;16B"):
        target = mode
    else:
        raise MediaError(
            "unsupported_format",
            f"{picture.format} with pixels of kind {mode}; convert it to PNG",
            name,
        )
    out = io.BytesIO()
    try:
        (picture if target == mode else picture.convert(target)).save(out, "PNG")
    except Exception as error:  # damaged data raises whatever it breaks
        raise MediaError(
            "corrupt_image",
            f"{picture.format} cannot be decoded ({type(error).__name__})",
            name,
        ) from error
    return out.getvalue()


def frame_count(picture: Any, name: str) -> int:
    """How many pictures an opened file holds.

    Raises:
        MediaError: `corrupt_image`.
    """
    try:
        return int(getattr(picture, "n_frames", 1))
    except Exception as error:  # damaged data raises whatever it breaks
        raise MediaError(
            "corrupt_image",
            f"{picture.format} whose frames cannot be counted ({type(error).__name__})",
            name,
        ) from error


def frame_png(picture: Any, frame: int, name: str) -> bytes:
    """Frame `frame`, from 0, of an opened picture as PNG; with what shows through it.

    Raises:
        MediaError: `bad_frame`, `unsupported_format` or `corrupt_image`.
    """
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
    return to_png(picture, name)


def passes(picture: Any, data: bytes) -> bool:
    """Whether TensorFlow decodes the file itself.

    It misreads BMPs with a palette, and gives those of 32 bits a fourth channel that
    a model for three refuses.
    """
    if picture.format == "BMP":
        return data[28] == 24 or picture.mode == "L"
    return picture.format in _PASS


def facts(data: bytes, name: str = "") -> dict[str, Any]:
    """Format, width, height, channels and bits a channel, out of the header alone."""
    picture = opened(data, name)
    # Pillow calls 16-bit RGB PNGs "RGB"; their header says better.
    png = picture.format == "PNG"
    return {
        "format": picture.format.lower(),
        "width": picture.width,
        "height": picture.height,
        "channels": 3 if picture.mode == "P" else len(picture.getbands()),
        "bits": data[24] if png else _MODE_BITS.get(picture.mode, 8),
    }
