"""DICOM pictures: from a file's bytes to display values.

pydicom decodes. tensorflow-io's `decode_dicom_image` was measured on 18 sample files
and equals the reference on 5 of the 13 that hold pixels: it offsets signed values by
half their range and applies the modality transform before anything can be read back,
returns palette pictures already coloured, and fills the missing end of a truncated
file without an error. pydicom equals the reference on all 13 and refuses the rest.

`serving/dicom_display.py` makes display values of the stored ones, and
`serving/dicom_syntaxes.py` knows what is compressed how. Decoders are native code: what
comes from elsewhere is rendered by `serving/decoder_process.py`, in a child.
"""

import io
import math
import struct
import warnings
import zlib
from typing import Any, Literal

import numpy as np

from serving.dicom_display import Pixels, full_scale, grey
from serving.dicom_syntaxes import described, stored_values
from serving.media_error import MediaError

Frame = int | Literal["middle"]

_NO_RGB = ("YBR_PARTIAL_420", "YBR_PARTIAL_422", "ARGB", "CMYK", "HSV")
"""Of video or long retired; pydicom hands them over as if they were RGB."""

_DEFLATED = b"1.2.840.10008.1.2.1.99"


def is_dicom(data: bytes) -> bool:
    """Whether the bytes begin with DICOM's preamble (PS3.10 7.1)."""
    return data[128:132] == b"DICM"


def facts(data: bytes, name: str = "") -> dict[str, int]:
    """Width, height, channels, stored bits and frames, out of the headers alone."""
    return _facts(_dataset(data, name, pixels=False), name)


def render(
    data: bytes, max_pixels: int, frame: Frame = "middle", name: str = ""
) -> Pixels:
    """One picture of a DICOM file as display values.

    Args:
        data: the whole file.
        max_pixels: limit on rows times columns, checked before decoding.
        frame: which frame of a multi-frame file, from 0. "middle" is frame
            `frames // 2`: of a volume the slice most likely to show the organ, of a
            cine loop a moment when the probe is at rest. It is a choice, not a truth:
            give a number where it matters, or make each slice an input.
        name: the file's name, for messages.

    Returns:
        uint8 or uint16 [height, width, channels], channels 1 (grey) or 3 (RGB).
        16 bits where more than 8 are stored, so that no grey level is lost.

        Values of interest are the first VOI LUT, or else the first
        WindowCenter/WindowWidth, with VOILUTFunction LINEAR (the default, PS3.3
        C.11.2.1.2), LINEAR_EXACT or SIGMOID. Without either the frame's own smallest
        and largest values become black and white; stored bytes (8 bits or fewer)
        without them or a modality LUT keep their full scale instead, because such
        pictures are made for display as they are.

    Raises:
        MediaError: `corrupt_image`, `too_many_pixels`, `no_pixel_data`, `bad_frame`
            or `unsupported_format`; a decoder's refusal names the transfer syntax.
    """
    dataset = _dataset(data, name, max_inflated=max_pixels * 16)
    found = _facts(dataset, name)
    if found["width"] * found["height"] > max_pixels:
        raise MediaError(
            "too_many_pixels",
            f"{found['width']}x{found['height']} is more than {max_pixels} pixels",
            name,
        )
    index = found["frames"] // 2 if frame == "middle" else int(frame)
    if not 0 <= index < found["frames"]:
        raise MediaError(
            "bad_frame", f"frame {index} of {found['frames']} was asked for", name
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # padding after the pixels, say
        stored = stored_values(dataset, index, name)
        try:
            return _shown(stored, dataset, index, found)
        except Exception as error:  # damaged tables raise whatever they break
            raise MediaError(
                "corrupt_image",
                f"its display values cannot be computed ({type(error).__name__}); "
                "check the file or convert it to PNG",
                name,
            ) from error


def _shown(stored: Any, dataset: Any, index: int, found: dict[str, int]) -> Pixels:
    from pydicom.pixels.processing import apply_color_lut

    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        coloured: Pixels = apply_color_lut(stored, dataset)
        return coloured
    if found["channels"] == 1:
        return grey(stored, dataset, index, found["bits"])[..., np.newaxis]
    return full_scale(stored, found["bits"])


def _facts(dataset: Any, name: str) -> dict[str, int]:
    if dataset.get("PhotometricInterpretation") in _NO_RGB:
        raise MediaError(
            "unsupported_format",
            f"DICOM whose colours are {dataset.PhotometricInterpretation}, stored as "
            f"{described(dataset)}; convert it to RGB",
            name,
        )
    try:
        found = {
            "width": int(dataset.Columns),
            "height": int(dataset.Rows),
            "channels": int(dataset.SamplesPerPixel),
            "bits": int(dataset.BitsStored),
            "frames": int(dataset.get("NumberOfFrames") or 1),
        }
    except (AttributeError, TypeError, ValueError) as error:
        if "Rows" in dataset and "BitsStored" not in dataset:
            raise MediaError(
                "unsupported_format",
                "DICOM without BitsStored, of floating-point pixels perhaps (a "
                "parametric map); convert it to PNG",
                name,
            ) from error
        raise MediaError(
            "no_pixel_data",
            "DICOM without a picture (a report or a plan, say); leave it out",
            name,
        ) from error
    if math.prod(found.values()) <= 0 or found["channels"] not in (1, 3):
        raise MediaError("corrupt_image", "DICOM with an impossible size", name)
    return found


def _dataset(data: bytes, name: str, pixels: bool = True, max_inflated: int = 0) -> Any:
    import pydicom

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd but readable values
            if max_inflated:
                _check_inflated(data, max_inflated, name)
            return pydicom.dcmread(io.BytesIO(data), stop_before_pixels=not pixels)
    except MediaError:
        raise
    except Exception as error:  # damaged elements raise whatever they break
        raise MediaError(
            "corrupt_image", f"unreadable DICOM ({type(error).__name__})", name
        ) from error


def _check_inflated(data: bytes, limit: int, name: str) -> None:
    """Refuses a deflated dataset that would blow up in memory (PS3.5 A.5)."""
    start = 144 + struct.unpack_from("<I", data, 140)[0]  # after the group length
    if _DEFLATED not in data[144:start]:
        return
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    inflate.decompress(data[start:], limit)
    if inflate.unconsumed_tail:
        raise MediaError("too_many_pixels", f"inflates to over {limit} bytes", name)
