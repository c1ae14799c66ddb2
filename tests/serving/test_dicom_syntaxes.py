"""DICOM as archives store it: each compression against the same pixels uncompressed."""

import io
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate

from serving import dicom, media
from serving.media import MediaError
from tests.serving.jpeg_writers import lossless_jpeg, twelve_bit_jpeg
from tests.serving.picture_files import encoded, smooth
from tests.serving.test_media_dicom import build, decode


def pixels() -> np.ndarray:
    """12 bits, a smooth picture under noise."""
    y, x = np.mgrid[0:64, 0:48]
    noise = np.random.default_rng(3).integers(0, 200, (64, 48))
    values: np.ndarray = (2000 + 1500 * np.sin(x / 7) * np.cos(y / 9) + noise).astype(
        np.uint16
    )
    return values


def saved(dataset: pydicom.Dataset) -> bytes:
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def encapsulated(plain: bytes, syntax: str, frame: bytes, **tags: Any) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(plain))
    dataset.file_meta.TransferSyntaxUID = uid.UID(syntax)
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    for tag, value in tags.items():
        setattr(dataset, tag, value)
    return saved(dataset)


def compressed(plain: bytes, syntax: str, **options: Any) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(plain))
    dataset.compress(syntax, generate_instance_uid=False, **options)
    return saved(dataset)


WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}
PLAIN = build(pixels(), bits=12, **WINDOW)
LOSSLESS = {
    "jpeg_lossless_sv1": lambda: encapsulated(
        PLAIN, uid.JPEGLosslessSV1, lossless_jpeg(pixels(), 12)
    ),
    "jpeg_lossless": lambda: encapsulated(
        PLAIN, uid.JPEGLossless, lossless_jpeg(pixels(), 12)
    ),
    "jpeg_ls": lambda: compressed(PLAIN, uid.JPEGLSLossless),
    "jpeg_2000_lossless": lambda: compressed(PLAIN, uid.JPEG2000Lossless),
    "rle": lambda: compressed(PLAIN, uid.RLELossless),
    "deflated": lambda: deflated(PLAIN),
}


def deflated(plain: bytes) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(plain))
    dataset.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    return saved(dataset)


@pytest.mark.parametrize("name", list(LOSSLESS))
def test_lossless_compressions_change_no_pixel(name: str) -> None:
    expected = dicom.render(PLAIN, max_pixels=10_000)
    got = decode(media.servable_image(LOSSLESS[name](), verify=True))
    np.testing.assert_array_equal(got, expected)
    # 12 bits through the window: (x - 2047.5) / 4095 + 0.5 = x / 4095
    np.testing.assert_array_equal(
        expected[..., 0], np.rint(pixels() / 4095 * 65535).astype(np.uint16)
    )


@pytest.mark.parametrize(
    ("data", "levels"),
    [
        # Every quantizer of the writer's JPEG is 1: what is lost is rounding.
        (lambda: encapsulated(PLAIN, uid.JPEGExtended12Bit, twelve_bit_jpeg(pixels())), 1),
        (lambda: compressed(PLAIN, uid.JPEGLSNearLossless, jls_error=2), 2),
        (lambda: compressed(PLAIN, uid.JPEG2000, j2k_cr=[4]), 150),
    ],
    ids=["jpeg_12_bits", "jpeg_ls_near_lossless", "jpeg_2000"],
)  # fmt: skip
def test_lossy_compressions_stay_within_their_error(data: Any, levels: int) -> None:
    got = decode(media.servable_image(data(), verify=True))[..., 0] / 65535 * 4095
    assert np.abs(got - pixels()).max() <= levels + 0.05  # half a step of 16 bits
    assert np.abs(got - pixels()).mean() < levels * 0.75


def test_colours_of_jpeg_and_jpeg_2000_are_rgb_in_the_end() -> None:
    picture = smooth(64, 64)
    rgb = np.asarray(picture)
    plain = build(
        rgb.reshape(64, 192), bits=8, SamplesPerPixel=3, PlanarConfiguration=0,
        PhotometricInterpretation="RGB", Columns=64,
    )  # fmt: skip
    np.testing.assert_array_equal(decode(media.servable_image(plain)), rgb)
    jpeg = encoded(picture, "JPEG", quality=98, subsampling=0)
    for kind, colours, frame in (
        (uid.JPEGBaseline8Bit, "YBR_FULL_422", jpeg),
        (uid.JPEGBaseline8Bit, "YBR_FULL", jpeg),
        (uid.JPEG2000Lossless, "YBR_RCT", None),
    ):
        if frame is None:
            data = compressed(plain, kind)
        else:
            data = encapsulated(plain, kind, frame, PhotometricInterpretation=colours)
        got = decode(media.servable_image(data, verify=True))
        assert np.abs(got.astype(int) - rgb).mean() < 1.5, colours


def test_planes_and_ybr_without_compression() -> None:
    rgb = np.asarray(smooth(64, 64))
    common = {"SamplesPerPixel": 3, "Columns": 64}
    planes = build(
        rgb.transpose(2, 0, 1).reshape(64, 192), bits=8, PlanarConfiguration=1,
        PhotometricInterpretation="RGB", **common,
    )  # fmt: skip
    np.testing.assert_array_equal(decode(media.servable_image(planes)), rgb)
    # PS3.3 C.7.6.3.1.2, YBR_FULL: the first matrix of JFIF.
    to_ybr = np.array([[0.299, 0.587, 0.114],
                       [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])  # fmt: skip
    ybr = np.clip(np.rint(rgb @ to_ybr.T + [0, 128, 128]), 0, 255).astype(np.uint8)
    data = build(
        ybr.reshape(64, 192), bits=8, PlanarConfiguration=0,
        PhotometricInterpretation="YBR_FULL", **common,
    )  # fmt: skip
    got = decode(media.servable_image(data)).astype(int)
    assert np.abs(got - rgb).max() <= 2


def test_what_no_decoder_reads_is_told_by_name() -> None:
    video = encapsulated(PLAIN, uid.MPEG2MPML, b"\0\0\1\xb3")
    with pytest.raises(MediaError) as caught:
        media.servable_image(video, name="loop.dcm")
    assert caught.value.reason == "unsupported_format"
    assert str(caught.value) == (
        "loop.dcm: its pixels are stored as MPEG2 Main Profile / Main Level "
        "(1.2.840.10008.1.2.4.100), which no decoder here reads; convert it to another "
        "transfer syntax or to PNG"
    )


def test_a_decoder_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pydicom.pixels.decoders import JPEGLosslessSV1Decoder

    monkeypatch.setattr(JPEGLosslessSV1Decoder, "_available", {})
    data = LOSSLESS["jpeg_lossless_sv1"]()
    with pytest.raises(MediaError, match="it needs python-gdcm$") as caught:
        dicom.render(data, max_pixels=10_000, name="a.dcm")
    assert caught.value.reason == "unsupported_format"
    assert "1.2.840.10008.1.2.4.70" in str(caught.value)


@pytest.mark.parametrize("name", [n for n in LOSSLESS if n != "deflated"])
def test_damaged_pixels_name_their_transfer_syntax(name: str) -> None:
    dataset = pydicom.dcmread(io.BytesIO(LOSSLESS[name]()))
    syntax = dataset.file_meta.TransferSyntaxUID
    dataset.PixelData = encapsulate([b"\xff\xd8 no such stream"])
    with pytest.raises(MediaError) as caught:
        media.servable_image(saved(dataset), name="a.dcm")
    assert caught.value.reason == "corrupt_image"
    assert f"stored as {syntax.name} ({syntax}), cannot be decoded by " in str(
        caught.value
    )


def test_colours_that_would_be_misread_are_refused() -> None:
    data = build(
        np.zeros((4, 12), np.uint8), bits=8, SamplesPerPixel=3, PlanarConfiguration=0,
        PhotometricInterpretation="YBR_PARTIAL_422", Columns=4,
    )  # fmt: skip
    with pytest.raises(MediaError, match="whose colours are YBR_PARTIAL_422"):
        media.servable_image(data)
