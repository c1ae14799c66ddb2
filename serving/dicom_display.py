"""From the stored values of a grey DICOM picture to what a viewer shows (PS3.3 C.11).

Modality LUT or rescale, then values of interest (a VOI LUT, or else a window), then
inverted where the smallest value is meant to be white. Of several alternatives the
first is taken, and a VOI LUT before a window, as pydicom's `apply_voi_lut` does.

Not followed: overlays, padding values, presentation states, and colour profiles.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Values = npt.NDArray[np.float64]
Order = Literal["<", ">"]

_TAGS = (
    "RescaleSlope",
    "RescaleIntercept",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "VOILUTSequence",
    "ModalityLUTSequence",
)
_GROUPS = ("PixelValueTransformationSequence", "FrameVOILUTSequence")


def grey(stored: npt.NDArray[Any], dataset: Any, index: int, bits: int) -> Pixels:
    """Display values of one frame.

    Args:
        stored: [height, width], the stored values of frame `index`.
        dataset: the file's tags.
        index: of the frame: enhanced files keep tags for each.
        bits: that are stored.

    Returns:
        uint8 [height, width] for 8 bits or fewer, else uint16; 0 is black.
    """
    tags = _tags(dataset, index)
    syntax = getattr(dataset, "file_meta", {}).get("TransferSyntaxUID")
    order: Order = "<" if syntax is None or syntax.is_little_endian else ">"
    level = _level(stored, tags, _lowest(dataset, bits), bits, order)
    # INVERSE is what goes with MONOCHROME1 (PS3.3 C.8.11.3), not a second inversion.
    shape = str(dataset.get("PresentationLUTShape") or "").strip().upper()
    kind = str(dataset.get("PhotometricInterpretation") or "").strip()
    if kind == "MONOCHROME1" or shape == "INVERSE":
        level = 1.0 - level
    return _on_scale(level, bits)


def _level(
    stored: npt.NDArray[Any],
    tags: dict[str, Any],
    lowest: int,
    bits: int,
    order: Order,
) -> Values:
    """From 0 to 1, before any inversion."""
    values = stored.astype(np.float64)
    modality = True
    if "ModalityLUTSequence" in tags:
        values = looked_up(values, tags["ModalityLUTSequence"][0], order)[0]
    elif "RescaleSlope" in tags:
        values = values * float(tags["RescaleSlope"])
        values += float(tags.get("RescaleIntercept", 0))
    else:
        modality = False
    if "VOILUTSequence" in tags:
        values, most = looked_up(values, tags["VOILUTSequence"][0], order)
        return np.clip(values / most, 0.0, 1.0)
    if "WindowCenter" in tags and "WindowWidth" in tags:
        return window(
            values,
            _first(tags["WindowCenter"]),
            _first(tags["WindowWidth"]),
            str(tags.get("VOILUTFunction", "LINEAR")).strip().upper(),
        )
    if modality or bits > 8:
        low, high = values.min(), values.max()
        span = max(high - low, np.finfo(np.float64).tiny)
        return np.asarray((values - low) / span, np.float64)
    return np.asarray((values - lowest) / (2**bits - 1), np.float64)


def looked_up(values: Values, item: Any, order: Order) -> tuple[Values, int]:
    """Values through a lookup table (PS3.3 C.11.1.1 and C.11.2.1.1).

    Args:
        values: of any shape; rounded to whole numbers.
        item: an item of a Modality or a VOI LUT Sequence.
        order: of the bytes in the file's words.

    Returns:
        The table's entries, and the largest that its bits can hold.
    """
    count, first, bits = (int(number) for number in item.LUTDescriptor)
    if bits < 1:
        raise ValueError(f"a table of {bits} bits")
    count = count or 2**16
    # Written as unsigned beside values that are signed.
    if first >= 2**15 and values.min() < 0:
        first -= 2**16
    data = item.LUTData
    if isinstance(data, bytes):
        # The standard's entries of 8 bits come as bytes or in words, by the writer.
        words = len(data) >= 2 * count
        table = np.frombuffer(data, np.dtype(f"{order}u2") if words else np.uint8)
    else:
        table = np.atleast_1d(np.asarray(data, np.int64))
    place = np.clip(np.rint(values) - first, 0, min(count, len(table)) - 1)
    return table[place.astype(np.int64)].astype(np.float64), 2**bits - 1


def window(values: Values, center: float, width: float, function: str) -> Values:
    """PS3.3 C.11.2.1.2.1, C.11.2.1.3.1 and .2, with an output range of 0 to 1."""
    if function == "SIGMOID":
        # Clipped so that far outside the window the power cannot overflow.
        power = np.clip(-4.0 * (values - center) / max(width, 1e-9), -700, 700)
        return np.asarray(1.0 / (1.0 + np.exp(power)), np.float64)
    if function == "LINEAR_EXACT":
        return np.clip((values - center) / max(width, 1e-9) + 0.5, 0.0, 1.0)
    if width <= 1:  # the standard's limit: a step
        return np.where(values <= center - 0.5, 0.0, 1.0)
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0.0, 1.0)


def full_scale(stored: npt.NDArray[Any], bits: int) -> Pixels:
    """RGB of `bits` stored bits on the full scale of 8 or 16."""
    if bits in (8, 16):
        return stored.astype(np.uint16) if bits > 8 else stored.astype(np.uint8)
    level = stored.astype(np.float64) / (2**bits - 1)
    return _on_scale(level, bits)


def _on_scale(level: Values, bits: int) -> Pixels:
    """From 0 to 1 as 8 or 16 bits.

    Raises:
        ValueError: something is no number, by a slope or a window that is none.
    """
    if not np.isfinite(level).all():
        raise ValueError("not finite")
    if bits > 8:
        return np.asarray(np.rint(level * 65535), np.uint16)
    return np.asarray(np.rint(level * 255), np.uint8)


def _tags(dataset: Any, index: int) -> dict[str, Any]:
    """Transform tags of one frame; enhanced files keep them in functional groups."""
    places = [dataset, *dataset.get("SharedFunctionalGroupsSequence", [])[:1]]
    frames = dataset.get("PerFrameFunctionalGroupsSequence", [])
    places.extend(frames[index : index + 1])
    found: dict[str, Any] = {}
    for place in places:  # what is nearer to the frame wins
        for item in [place, *(one for g in _GROUPS for one in place.get(g) or [])]:
            here = {tag: item.get(tag) for tag in _TAGS}
            here = {tag: value for tag, value in here.items() if _given(value)}
            if "WindowCenter" in here:  # a nearer window takes a farther table's place
                found.pop("VOILUTSequence", None)
            found |= here
    return found


def _given(value: Any) -> bool:
    return value is not None and (isinstance(value, (int, float)) or len(value) > 0)


def _first(value: Any) -> float:
    """The first of a tag that may hold one number or several."""
    return float(value if isinstance(value, (int, float)) else value[0])


def _lowest(dataset: Any, bits: int) -> int:
    return -(2 ** (bits - 1)) if dataset.get("PixelRepresentation", 0) else 0
