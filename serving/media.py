"""The one place that reads media files and makes them fit for a serving graph.

A serving graph decodes PNG, JPEG, BMP, GIF and 16-bit PCM WAV with TensorFlow core
alone. Everything else is transcoded here, before anything else is done to it and by the
same functions at ingestion and in the client, so that training and serving cannot
differ. Pictures lose nothing; audio is rounded to the 16 bits that the graph reads.
"""

import os
import posixpath
import stat
from typing import Any, Literal

import numpy.typing as npt

from serving import archives, dicom, files, pictures, sound
from serving.decoder_process import decode
from serving.media_error import MediaError
from serving.tensorflow_core import tensorflow

__all__ = [
    "MediaError",
    "describe",
    "read_media",
    "servable_audio",
    "servable_image",
]

MAX_BYTES = 256 * 2**20
# 50 megapixels is above every radiograph and camera in sight and 150 MB decoded.
MAX_PIXELS = 50_000_000
MAX_SECONDS = 600.0


def read_media(path: str, base: str = "", max_bytes: int = MAX_BYTES) -> bytes:
    """Reads one media file.

    Args:
        path: a file's path, absolute or relative to `base`; `archive.zip!member`; or
            any URL that `serving/files.py` opens, also as the archive.
        base: folder or URL that relative paths start from.
        max_bytes: refuse anything larger, before reading it.

    Raises:
        MediaError: `missing_file`, `not_a_file`, `unreadable_file`, `empty_file`,
            `too_many_bytes` or `corrupt_archive`.
    """
    full = path
    if base and "://" not in path and not os.path.isabs(path):
        full = posixpath.join(base, path)
    cut = full.lower().find(".zip!")
    try:
        _check_regular(full[: cut + 4] if cut >= 0 else full, path)
        if cut >= 0:
            data = archives.read_member(
                full[: cut + 4], full[cut + 5 :], files.open_binary, max_bytes, path
            )
        else:
            data = files.read(full, max_bytes)
    except MediaError:
        raise
    except FileNotFoundError as error:
        message = f"no such file ({_detail(error, full)}){separator_hint(path)}"
        raise MediaError("missing_file", message, path) from error
    except (IsADirectoryError, NotADirectoryError) as error:
        raise MediaError("not_a_file", f"not a file ({full})", path) from error
    except (OSError, ValueError) as error:
        # ValueError: a path with a character that no file's name can hold.
        raise MediaError("unreadable_file", f"cannot read ({error})", path) from error
    if len(data) > max_bytes:
        raise MediaError("too_many_bytes", f"more than {max_bytes} bytes", path)
    if not data:
        raise MediaError("empty_file", "the file holds no bytes", path)
    return data


def _check_regular(path: str, name: str) -> None:
    """Refuses what gives bytes without end or waits for a writer: pipes and devices."""
    if "://" not in path:
        kind = os.stat(path).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            raise MediaError("not_a_file", f"a pipe or a device ({path})", name)


def separator_hint(path: str) -> str:
    """What to do about a path as Windows writes it; empty for others."""
    return "; write / between folders, not \\" if "\\" in path else ""


def _detail(error: OSError, path: str) -> str:
    """What a server said, where one was asked; else the whole path."""
    return path if error.filename else str(error)


def servable_image(
    data: bytes,
    max_pixels: int = MAX_PIXELS,
    verify: bool = False,
    frame: dicom.Frame = "middle",
    name: str = "",
) -> bytes:
    """A picture as bytes that `tf.io.decode_image` reads.

    Args:
        data: a PNG, JPEG, BMP or GIF, which pass unchanged where the graph sees of
            them what a viewer shows (`serving/graph_pictures.py`), DICOM, or another
            format of `pictures.FORMATS` (WebP, TIFF, AVIF). What does not pass becomes
            a PNG of 8 or 16 bits a channel, upright, with its transparency as alpha.
        max_pixels: limit on width times height, checked before anything is decoded.
        verify: also decode the whole picture as the serving graph will. Ingestion
            does; a client leaves that to the server.
        frame: which frame of a multi-frame DICOM, see `dicom.render`; a number also
            of an animated GIF or WebP and of a TIFF of several pages, whose first one
            is taken otherwise.
        name: the file's name, for messages.

    Raises:
        MediaError: `empty_file`, `unsupported_format`, `too_many_pixels`,
            `corrupt_image`, `no_pixel_data`, `bad_frame`, `decoder_timeout` or
            `decoder_failed`.
    """
    if not data:
        raise MediaError("empty_file", "a picture of no bytes", name)
    if dicom.is_dicom(data):
        pixels = decode("dicom", data, name, max_pixels=max_pixels, frame=frame)
        return _png(pixels)
    if frame != "middle" or not _passes(data, max_pixels, name):
        pixels = decode("picture", data, name, max_pixels=max_pixels, frame=frame)
        return _png(pixels)
    if verify:
        tf = tensorflow()
        try:
            tf.io.decode_image(data, expand_animations=False)
        except tf.errors.OpError as error:
            raise MediaError(
                "corrupt_image",
                "TensorFlow cannot decode this picture: damaged or cut short",
                name,
            ) from error
    return data


def _passes(data: bytes, max_pixels: int, name: str) -> bool:
    """Whether a serving graph sees of a file what a viewer shows."""
    if not pictures.headed(data):
        return False  # even its header is read by native code: not in this process
    picture = pictures.opened(data, name)
    pictures.check_pixels(picture.size, max_pixels, name)
    return pictures.passes(picture, data)


def _png(pixels: npt.NDArray[Any]) -> bytes:
    return bytes(tensorflow().io.encode_png(pixels).numpy())


def servable_audio(
    data: bytes,
    max_seconds: float = MAX_SECONDS,
    verify: bool = False,
    name: str = "",
) -> bytes:
    """A sound as a 16-bit PCM WAV that `tf.audio.decode_wav` reads.

    Args:
        data: whatever of `docs/serving.md` libsndfile reads: WAV of every width, FLAC,
            MP3, Ogg, AIFF and others, also behind an ID3 tag. Rate and channels stay.
            A 16-bit PCM WAV passes unchanged.
        max_seconds: limit on the length, checked before decoding where headers tell.
        verify: also decode the result as the serving graph will.
        name: the file's name, for messages.

    Raises:
        MediaError: `empty_file`, `unsupported_format`, `too_long_audio`,
            `corrupt_audio`, `truncated_audio`, `decoder_timeout` or `decoder_failed`.
    """
    if not data:
        raise MediaError("empty_file", "a sound of no bytes", name)
    data = sound.as_wav(data, max_seconds, name)
    if verify:
        tf = tensorflow()
        try:
            tf.audio.decode_wav(data)
        except tf.errors.OpError as error:
            raise MediaError(
                "corrupt_audio", "TensorFlow cannot decode this WAV", name
            ) from error
    return data


def describe(
    data: bytes, kind: Literal["image", "audio"], name: str = ""
) -> dict[str, Any]:
    """Cheap facts out of the headers; decodes nothing.

    Returns:
        Of an image `format`, `width`, `height`, `channels`, `bits` (a channel) and,
        for DICOM, `frames`; of audio `format`, `sample_rate_hz`, `channels`, `bits`
        and `seconds` (None where the header does not say).

    Raises:
        MediaError: as the `servable_*` function of that kind.
    """
    if not data:
        raise MediaError("empty_file", f"an {kind} of no bytes", name)
    if kind == "audio":
        header = sound.read_header(data, name)
        return {
            "format": header.format,
            "sample_rate_hz": header.sample_rate_hz,
            "channels": header.channels,
            "bits": header.bits,
            "seconds": header.seconds,
        }
    if dicom.is_dicom(data):
        return {"format": "dicom", **decode("dicom_facts", data, name)}
    if pictures.headed(data):
        return pictures.facts(data, name)
    found: dict[str, Any] = decode("picture_facts", data, name)
    return found
