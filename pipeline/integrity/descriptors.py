"""A few cheap numbers of a picture, a sound, a text: for probes, never for a model."""

from __future__ import annotations

import io
import wave
import zlib
from collections.abc import Sequence

import numpy as np

from serving import pictures

SIDE = 16
_BANDS, _SEGMENTS = 16, 8
_GRAMS = 512
_MAX_CHARACTERS = 2000


def picture(data: bytes) -> np.ndarray:
    """A servable image -> float32 [SIDE * SIDE + 6]: grey values, colours' mean and sd.

    0 is black and 1 white; transparency is shown on white.
    """
    from PIL import Image

    with Image.open(io.BytesIO(data)) as opened:
        if opened.mode.startswith("I") or opened.mode == "F":
            grey = np.asarray(opened, np.float32)
            span = float(grey.max() - grey.min())
            scaled = 255 * (grey - grey.min()) / (span or 1.0)
            shown = Image.fromarray(scaled.astype(np.uint8)).convert("RGB")
        elif opened.has_transparency_data or opened.mode == "P":
            layer = opened.convert("RGBA")
            white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
            shown = Image.alpha_composite(white, layer).convert("RGB")
        else:
            opened.draft("RGB", (4 * SIDE, 4 * SIDE))  # JPEG decodes small at once
            shown = opened.convert("RGB")
        shown = pictures.turned(shown, pictures.orientation(opened))
    small = np.asarray(shown.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32)
    small /= 255
    colours = small.reshape(-1, 3)
    grey = small @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.concatenate([grey.ravel(), colours.mean(0), colours.std(0)])


def sound(data: bytes) -> np.ndarray:
    """A servable WAV -> float32 [128]: log energy of 16 bands in 8 parts of its length.

    The bands are of equal width on the mel scale of O'Shaughnessy (1987).
    """
    with wave.open(io.BytesIO(data)) as file:
        rate, channels = file.getframerate(), file.getnchannels()
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    signal = samples.reshape(-1, channels).mean(1) / 32768
    parts = np.array_split(np.pad(signal, (0, max(0, 512 - len(signal)))), _SEGMENTS)
    mel = np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), _BANDS + 1)
    edges = 700 * (10 ** (mel / 2595) - 1)
    out = np.empty((_SEGMENTS, _BANDS), np.float32)
    for i, part in enumerate(parts):
        power = np.abs(np.fft.rfft(part * np.hanning(len(part)))) ** 2
        place = np.searchsorted(edges, np.fft.rfftfreq(len(part), 1 / rate), "right")
        energy = np.bincount(np.clip(place - 1, 0, _BANDS - 1), power, _BANDS)
        out[i] = np.log(energy + 1e-6)
    return out.ravel()


def text(value: str) -> np.ndarray:
    """float32 [512], length 1: counts of 1- to 3-grams of characters, hashed."""
    value = value[:_MAX_CHARACTERS].lower()
    grams = [value[i : i + n] for n in (1, 2, 3) for i in range(len(value) - n + 1)]
    places = [zlib.crc32(g.encode("utf-8", "replace")) % _GRAMS for g in grams]
    counts = np.sqrt(np.bincount(places, minlength=_GRAMS)).astype(np.float32)
    length = float(np.linalg.norm(counts))
    return counts / length if length else counts


def numbers(values: Sequence[float | None]) -> np.ndarray:
    """float32 [rows, 2]: the value in standard deviations, 0 if missing; and if it is."""
    column = np.array([np.nan if v is None else v for v in values], np.float64)
    known = np.isfinite(column)
    mean = column[known].mean() if known.any() else 0.0
    deviation = column[known].std() if known.any() else 0.0
    scaled = np.where(known, (column - mean) / (deviation or 1.0), 0.0)
    return np.stack([scaled, known], axis=1).astype(np.float32)


def categories(values: Sequence[str | None], most: int = 30) -> np.ndarray:
    """float32 [rows, at most `most`]: ones under a row's value, the frequent ones."""
    from collections import Counter

    counts = Counter(v for v in values if v is not None)
    names = [name for name, _ in counts.most_common(most)]
    return np.array([[v == name for name in names] for v in values], np.float32)
