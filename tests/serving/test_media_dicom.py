"""DICOM: 18 real files against their reference manifest, and constructed ones.

The expected picture is computed here from the stored values with the formulas of DICOM
PS3.3 C.11.2.1.2 in float64, apart from the code under test.
"""

import csv
import hashlib
import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import tensorflow as tf

from serving import dicom, media
from serving.media import MediaError

SHARED = Path(__file__).parents[3] / "shared"
SAMPLES = SHARED / "data" / "dicom_samples"


def manifest() -> list[dict[str, str]]:
    if not SHARED.exists():
        return []
    # Where the folder is there and the data are not, this raises: nothing is skipped.
    with open(SAMPLES / "manifest.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 18
    return rows


ROWS = manifest()
WITH_PIXELS = [row for row in ROWS if row["pixels"] == "ok"]


def name(row: dict[str, str]) -> str:
    return Path(row["file"]).stem


def decode(png: bytes) -> np.ndarray:
    depth = png[24]
    dtype = tf.uint16 if depth == 16 else tf.uint8
    return np.asarray(tf.io.decode_png(png, dtype=dtype).numpy())


def linear(values: np.ndarray, center: float, width: float, white: int) -> np.ndarray:
    x = values.astype(np.float64)
    y = ((x - (center - 0.5)) / (width - 1) + 0.5) * white
    y[x <= center - 0.5 - (width - 1) / 2] = 0
    y[x > center - 0.5 + (width - 1) / 2] = white
    return y


def expected_picture(row: dict[str, str], stored: np.ndarray) -> np.ndarray:
    """uint8 or uint16 [height, width, channels] out of the manifest's own tags."""
    bits = int(row["BitsStored"])
    white = 65535 if bits > 8 else 255
    if row["NumberOfFrames"] not in ("", "1"):
        stored = stored[len(stored) // 2]
    if row["SamplesPerPixel"] == "3":
        return stored
    values = stored.astype(np.float64)
    if row["RescaleSlope"]:
        values = values * float(row["RescaleSlope"]) + float(row["RescaleIntercept"])
    if row["WindowCenter"]:
        y = linear(values, float(row["WindowCenter"]), float(row["WindowWidth"]), white)
    elif bits > 8:
        y = (values - values.min()) / (values.max() - values.min()) * white
    else:
        y = values
    return np.rint(y).astype(np.uint16 if bits > 8 else np.uint8)[..., None]


def test_a_file_that_comes_with_pydicom() -> None:
    """Stands alone where the samples are not there."""
    from pydicom.data import get_testdata_file

    path = get_testdata_file("MR_small.dcm")
    assert isinstance(path, str)
    stored = pydicom.dcmread(path).pixel_array
    y = linear(stored, 600, 1600, 65535)
    picture = decode(media.servable_image(Path(path).read_bytes()))
    np.testing.assert_array_equal(picture[..., 0], np.rint(y).astype(np.uint16))


# One of the files has bytes after its pixels, of which pydicom warns.
padding = pytest.mark.filterwarnings("ignore:The pixel data is 8320 bytes long")


@padding
@pytest.mark.parametrize("row", WITH_PIXELS, ids=name)
def test_stored_values_equal_the_reference(row: dict[str, str]) -> None:
    stored = pydicom.dcmread(SAMPLES / row["file"]).pixel_array
    little = stored.astype(stored.dtype.newbyteorder("<"))
    assert hashlib.sha256(little.tobytes()).hexdigest() == row["pixel_sha256"]
    assert (stored.min(), stored.max()) == (float(row["min"]), float(row["max"]))
    assert stored.mean() == pytest.approx(float(row["mean"]), abs=1e-3)


@padding
@pytest.mark.parametrize(
    "row",
    [r for r in WITH_PIXELS if r["PhotometricInterpretation"] != "PALETTE COLOR"],
    ids=name,
)
def test_picture_equals_the_formula(row: dict[str, str]) -> None:
    data = (SAMPLES / row["file"]).read_bytes()
    picture = decode(media.servable_image(data, verify=True))
    expected = expected_picture(row, pydicom.dcmread(SAMPLES / row["file"]).pixel_array)
    assert picture.dtype == expected.dtype
    np.testing.assert_array_equal(picture, expected)
    assert media.describe(data, "image") == {
        "format": "dicom",
        "width": int(row["Columns"]),
        "height": int(row["Rows"]),
        "channels": int(row["SamplesPerPixel"]),
        "bits": int(row["BitsStored"]),
        "frames": int(row["NumberOfFrames"] or 1),
    }


@pytest.mark.parametrize(
    "row",
    [r for r in WITH_PIXELS if r["PhotometricInterpretation"] == "PALETTE COLOR"],
    ids=name,
)
def test_palette_is_looked_up(row: dict[str, str]) -> None:
    path = SAMPLES / row["file"]
    dataset = pydicom.dcmread(path)
    stored = dataset.pixel_array
    tables = [
        np.frombuffer(dataset[f"{colour}PaletteColorLookupTableData"].value, "<u2")
        for colour in ("Red", "Green", "Blue")
    ]
    first = dataset.RedPaletteColorLookupTableDescriptor[1]
    index = np.clip(stored.astype(int) - first, 0, len(tables[0]) - 1)
    picture = decode(media.servable_image(path.read_bytes(), verify=True))
    np.testing.assert_array_equal(picture, np.stack([t[index] for t in tables], -1))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (row, {"MR_truncated": "corrupt_image", "no_meta": "unsupported_format"})
        for row in ROWS
        if row["pixels"] != "ok"
    ],
    ids=lambda value: name(value) if "file" in value else "",
)
def test_the_others_say_why(row: dict[str, str], expected: dict[str, str]) -> None:
    with pytest.raises(MediaError) as caught:
        media.servable_image((SAMPLES / row["file"]).read_bytes(), name=row["file"])
    assert caught.value.reason == expected.get(name(row), "no_pixel_data")
    assert str(caught.value).startswith(row["file"])


def build(pixels: np.ndarray, bits: int = 16, **tags: Any) -> bytes:
    """A file of uint8 or (u)int16 [frames?, rows, columns], big-endian as they are."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    syntaxes = {True: "ExplicitVRBigEndian", False: "ExplicitVRLittleEndian"}
    syntax = syntaxes[pixels.dtype.byteorder == ">"]
    dataset.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dataset.SOPInstanceUID = "1.2.3"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        dataset.NumberOfFrames = len(pixels)
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = pixels.dtype.itemsize * 8
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    for tag, value in tags.items():
        setattr(dataset, tag, value)
    dataset.PixelData = pixels.tobytes()
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def render(data: bytes, **kwargs: Any) -> list[int]:
    picture = dicom.render(data, max_pixels=1000, **kwargs)
    return [int(value) for value in picture.ravel()]


RAMP = np.array([[-1000, -100, 0, 40, 300, 2000]], np.int16)


def test_modality_then_first_window() -> None:
    # CT: slope 2, intercept 100 turn 40 into 180. Window 180, 401: x - 179.5 over 400.
    data = build(
        RAMP,
        RescaleSlope=2,
        RescaleIntercept=100,
        WindowCenter=[180, 0],
        WindowWidth=[401, 10],
    )
    # -100 -> -100: (-279.5 / 400 + 0.5) < 0; 0 -> 100: 0.30125; 40 -> 180: 0.50125
    assert render(data) == [0, 0, 19742, 32849, 65535, 65535]
    inverted = build(
        RAMP,
        RescaleSlope=2,
        RescaleIntercept=100,
        WindowCenter=180,
        WindowWidth=401,
        PhotometricInterpretation="MONOCHROME1",
    )
    assert render(inverted) == [65535, 65535, 45793, 32686, 0, 0]


def test_window_functions() -> None:
    exact = build(RAMP, WindowCenter=0, WindowWidth=200, VOILUTFunction="LINEAR_EXACT")
    # x / 200 + 0.5: 40 -> 0.7
    assert render(exact) == [0, 0, 32768, 45874, 65535, 65535]
    sigmoid = build(RAMP, WindowCenter=0, WindowWidth=160, VOILUTFunction="SIGMOID")
    # 65535 / (1 + exp(-4 * 40 / 160)) = 65535 * 0.731059
    assert render(sigmoid)[2:4] == [32768, 47910]
    assert render(build(RAMP, WindowCenter=0, WindowWidth=1))[1:4] == [0, 65535, 65535]


def test_8_bits_keep_their_values_and_12_bits_are_stretched() -> None:
    grey = np.array([[3, 100, 200]], np.uint8)
    assert render(build(grey, bits=8)) == [3, 100, 200]
    twelve = np.array([[1000, 2000, 3000]], np.uint16)
    assert render(build(twelve, bits=12)) == [0, 32768, 65535]
    assert render(build(np.full((1, 2), 7, np.uint16), bits=12)) == [0, 0]


def test_frames_and_functional_groups() -> None:
    volume = np.array([[[10, 20]], [[100, 200]], [[50, 250]]], np.uint8)
    data = build(volume, bits=8)
    assert render(data) == [100, 200]
    assert render(data, frame=0) == [10, 20]
    with pytest.raises(MediaError, match="frame 3 of 3"):
        render(data, frame=3)
    windows = []
    for center in (10, 150, 200):
        voi, item = pydicom.Dataset(), pydicom.Dataset()
        voi.WindowCenter, voi.WindowWidth = center, 1
        item.FrameVOILUTSequence = [voi]
        windows.append(item)
    enhanced = build(volume, bits=8, PerFrameFunctionalGroupsSequence=windows)
    assert render(enhanced) == [0, 255]


def test_limits() -> None:
    with pytest.raises(MediaError, match="is more than 5 pixels") as caught:
        dicom.render(build(RAMP), max_pixels=5)
    assert caught.value.reason == "too_many_pixels"


def test_a_deflated_file_cannot_fill_the_memory() -> None:
    import zlib

    plain = build(np.zeros((1, 2), np.uint8), bits=8)
    start = 144 + struct.unpack_from("<I", plain, 140)[0]
    # The deflated syntax's identifier is longer: the group is written again.
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    out = io.BytesIO()
    pydicom.filewriter.write_file_meta_info(out, meta)
    deflate = zlib.compressobj(wbits=-15)
    body = deflate.compress(plain[start:] + bytes(10**6)) + deflate.flush()
    bomb = plain[:132] + out.getvalue() + body
    with pytest.raises(MediaError) as caught:
        dicom.render(bomb, max_pixels=1000)
    assert caught.value.reason == "too_many_pixels"
