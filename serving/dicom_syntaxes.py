"""How DICOM pixels may be compressed, and what decodes each way (PS3.5 A.4).

pydicom finds the decoders that are installed. One more is added here: GDCM does read
JPEG of 12 bits, which pydicom 3.0 asks of pylibjpeg-libjpeg alone, whose licence (GPL)
this project cannot take on.

All of them are native code that hostile files may end: see `serving/decoder_process.py`.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.media_error import MediaError

NEEDS = {
    "1.2.840.10008.1.2.4.50": "python-gdcm or Pillow",
    "1.2.840.10008.1.2.4.51": "python-gdcm",
    "1.2.840.10008.1.2.4.57": "python-gdcm",
    "1.2.840.10008.1.2.4.70": "python-gdcm",
    "1.2.840.10008.1.2.4.80": "pyjpegls or python-gdcm",
    "1.2.840.10008.1.2.4.81": "pyjpegls or python-gdcm",
    "1.2.840.10008.1.2.4.90": "pylibjpeg-openjpeg, python-gdcm or Pillow",
    "1.2.840.10008.1.2.4.91": "pylibjpeg-openjpeg, python-gdcm or Pillow",
    "1.2.840.10008.1.2.4.201": "pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.202": "pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.203": "pylibjpeg-openjpeg",
}
"""Which distribution reads a compressed transfer syntax; RLE and what is not compressed
needs nothing but pydicom."""


def described(dataset: Any) -> str:
    """The transfer syntax by name and UID, as messages have it."""
    uid = _uid(dataset)
    if not uid:
        return "no transfer syntax"
    return f"{uid.name} ({uid})" if uid.name != uid else str(uid)


def _uid(dataset: Any) -> Any:
    return getattr(dataset, "file_meta", {}).get("TransferSyntaxUID", "")


def stored_values(dataset: Any, index: int, name: str) -> npt.NDArray[Any]:
    """One frame's stored values; YCbCr is RGB by then.

    Raises:
        MediaError: `unsupported_format` where there is no decoder, `corrupt_image`
            where there is one and it fails; both name the transfer syntax.
    """
    from pydicom.pixels import get_decoder
    from pydicom.pixels.utils import pixel_array

    _add_gdcm()
    uid = _uid(dataset)
    try:
        decoder = get_decoder(uid)
    except NotImplementedError as error:
        raise MediaError(
            "unsupported_format",
            f"its pixels are stored as {described(dataset)}, which no decoder here "
            "reads; convert it to another transfer syntax or to PNG",
            name,
        ) from error
    if not decoder.is_available:
        raise MediaError(
            "unsupported_format",
            f"its pixels are stored as {described(dataset)}, whose decoder is not "
            f"installed: it needs {NEEDS.get(uid, 'a plug-in of pydicom')}",
            name,
        )
    try:
        return np.asarray(pixel_array(dataset, index=index))
    except Exception as error:  # every plug-in raises its own kinds
        by = ", ".join(decoder.available_plugins) or "pydicom"
        raise MediaError(
            "corrupt_image",
            f"its pixels, stored as {described(dataset)}, cannot be decoded by {by} "
            f"({type(error).__name__}); check the file or convert it to PNG",
            name,
        ) from error


@functools.cache
def _add_gdcm() -> None:
    from pydicom.pixels.decoders import JPEGExtended12BitDecoder

    JPEGExtended12BitDecoder.add_plugin(
        "gdcm-12-bit", ("serving.dicom_syntaxes", "_decode_12_bits")
    )


DECODER_DEPENDENCIES = {"1.2.840.10008.1.2.4.51": ("python-gdcm>=3.0.10",)}
"""What pydicom says is lacking where the plug-in is not available."""


def is_available(uid: str) -> bool:
    """Whether the plug-in can be used; pydicom asks this of the module."""
    try:
        import gdcm  # noqa: F401
    except ImportError:
        return False
    return uid in DECODER_DEPENDENCIES


def _decode_12_bits(source: bytes, runner: Any) -> bytes:
    """A frame of JPEG Extended (process 4), whose 12 bits come in 16."""
    import gdcm

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(source)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((runner.columns, runner.rows, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType(runner.photometric_interpretation)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    syntax = gdcm.TransferSyntax.GetTSType(str.__str__(runner.transfer_syntax))
    image.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    bits = runner.bits_stored
    image.SetPixelFormat(
        gdcm.PixelFormat(
            runner.samples_per_pixel,
            runner.bits_allocated,
            bits,
            bits - 1,
            runner.pixel_representation,
        )
    )
    # GDCM hands its bytes over as text.
    frame: bytes = image.GetBuffer().encode("utf-8", "surrogateescape")
    return frame
