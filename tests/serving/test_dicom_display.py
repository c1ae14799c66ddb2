"""What a viewer shows of grey DICOM pictures: ours against pydicom's, and by hand."""

import io
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from serving.media import MediaError
from tests.serving.test_media_dicom import RAMP, build, render


def lut(entries: np.ndarray, first: int, bits: int, packed: bool = False) -> Any:
    """An item of a Modality or VOI LUT Sequence."""
    item = pydicom.Dataset()
    item.LUTDescriptor = [len(entries) % 2**16, first % 2**16, bits]
    item["LUTDescriptor"].VR = "US"
    item.LUTData = entries.astype(np.uint8 if packed else "<u2").tobytes()
    item["LUTData"].VR = "OW"
    return item


def pydicoms(data: bytes, low: float, high: float) -> np.ndarray:
    """16-bit display values by pydicom's own functions; low and high are its range."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    values = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
    return np.rint((values - low) / (high - low) * 65535).ravel().astype(int)


TWELVE = (np.arange(64, dtype=np.uint16) * 65).reshape(8, 8)
CUBIC = 4095 * (np.arange(4096) / 4095) ** 3


def test_a_voi_lut_is_followed() -> None:
    data = build(TWELVE, bits=12, VOILUTSequence=[lut(CUBIC, 0, 12)])
    np.testing.assert_array_equal(render(data), pydicoms(data, 0, 4095))
    assert render(data)[32] == 8578  # int(4095 * (2080 / 4095) ** 3) = 536, of 4095
    # It goes before a window, and the first of several is taken.
    both = build(
        TWELVE, bits=12, WindowCenter=10, WindowWidth=20,
        VOILUTSequence=[lut(CUBIC, 0, 12), lut(CUBIC[::-1], 0, 12)],
    )  # fmt: skip
    assert render(both) == render(data)
    white = build(
        TWELVE, bits=12, VOILUTSequence=[lut(CUBIC, 0, 12)],
        PhotometricInterpretation="MONOCHROME1",
    )  # fmt: skip
    assert render(white) == [65535 - level for level in render(data)]


@pytest.mark.parametrize("packed", [False, True])
def test_a_short_voi_lut_of_8_bits_holds_its_ends(packed: bool) -> None:
    entries = np.array([10, 20, 40, 250])
    data = build(
        np.array([[0, 99, 100, 101, 102, 103, 104, 4000]], np.uint16), bits=12,
        VOILUTSequence=[lut(entries, 100, 8, packed)],
    )  # fmt: skip
    levels = [10, 10, 10, 20, 40, 250, 250, 250]
    assert render(data) == [round(level / 255 * 65535) for level in levels]


def test_a_voi_lut_maps_what_the_modality_gives() -> None:
    entries = np.linspace(0, 65535, 2001)
    data = build(
        RAMP, RescaleSlope=1, RescaleIntercept=-24, VOILUTSequence=[lut(entries, -1000, 16)]
    )  # fmt: skip
    # -100 - 24 is 876 entries behind -1000
    assert render(data)[:4] == [
        0,
        int(entries[876]),
        int(entries[976]),
        int(entries[1016]),
    ]
    modality = build(
        TWELVE, bits=12, ModalityLUTSequence=[lut(CUBIC, 0, 16)],
        WindowCenter=2000, WindowWidth=3000,
    )  # fmt: skip
    np.testing.assert_allclose(render(modality), pydicoms(modality, 0, 65535), atol=1)


def test_big_endian_tables_are_read_in_their_order() -> None:
    data = build(TWELVE, bits=12, VOILUTSequence=[lut(CUBIC, 0, 12)])
    item = lut(CUBIC, 0, 12)
    item.LUTData = CUBIC.astype(">u2").tobytes()
    big = build(TWELVE.astype(">u2"), bits=12, VOILUTSequence=[item])
    assert render(big) == render(data)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("slope", [None, 1, 0.5])
@pytest.mark.parametrize("signed", [False, True])
def test_windows_equal_pydicoms(
    function: str, slope: float | None, signed: bool
) -> None:
    values = TWELVE.astype(np.int16) - 2048 if signed else TWELVE
    low, high = (-2048.0, 2047.0) if signed else (0.0, 4095.0)
    tags: dict[str, Any] = {}
    if slope:
        tags = {"RescaleSlope": slope, "RescaleIntercept": -100}
        low, high = low * slope - 100, high * slope - 100
    data = build(
        values, bits=12, WindowCenter=[700, 5], WindowWidth=[900, 7],
        VOILUTFunction=function, **tags,
    )  # fmt: skip
    np.testing.assert_allclose(render(data), pydicoms(data, low, high), atol=1)


@pytest.mark.parametrize("tags", [
    {"RescaleSlope": float("nan"), "RescaleIntercept": 0},
    {"WindowCenter": float("nan"), "WindowWidth": 100},
    {"VOILUTSequence": [lut(CUBIC, 0, 0)]},
])  # fmt: skip
def test_what_gives_no_number_is_refused_and_not_black(tags: dict[str, Any]) -> None:
    with pytest.raises(MediaError, match="display values cannot be computed") as caught:
        render(build(TWELVE, bits=12, **tags))
    assert caught.value.reason == "corrupt_image"


def test_inverse_goes_with_monochrome1_and_is_not_done_twice() -> None:
    grey = np.array([[3, 100, 200]], np.uint8)
    inverse = {"PresentationLUTShape": "INVERSE"}
    assert render(build(grey, bits=8, **inverse)) == [252, 155, 55]
    both = build(grey, bits=8, PhotometricInterpretation="MONOCHROME1", **inverse)
    assert render(both) == [252, 155, 55]
    assert render(build(grey, bits=8, PresentationLUTShape="IDENTITY")) == [3, 100, 200]


def test_a_frames_own_window_goes_before_the_files_table() -> None:
    volume = np.array([[[10, 20]], [[100, 200]]], np.uint8)
    voi, item = pydicom.Dataset(), pydicom.Dataset()
    voi.WindowCenter, voi.WindowWidth = 150, 1
    item.FrameVOILUTSequence = [voi]
    data = build(
        volume, bits=8, VOILUTSequence=[lut(np.arange(256)[::-1], 0, 8)],
        PerFrameFunctionalGroupsSequence=[pydicom.Dataset(), item],
    )  # fmt: skip
    assert render(data, frame=0) == [245, 235]
    assert render(data, frame=1) == [0, 255]


def test_floating_point_pixels_are_refused_by_name() -> None:
    dataset = pydicom.dcmread(io.BytesIO(build(TWELVE, bits=12)))
    del dataset.BitsStored, dataset.PixelData
    dataset.FloatPixelData = np.zeros(64, np.float32).tobytes()
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    from serving.media import MediaError, servable_image

    with pytest.raises(MediaError, match="floating-point pixels") as caught:
        servable_image(out.getvalue())
    assert caught.value.reason == "unsupported_format"
