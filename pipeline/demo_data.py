"""The embedded data set: which digit is meant, from four inputs that are each weak.

A digit is written (a blurred, noisy, partly covered picture), spoken (English or
Mandarin, in noise), mentioned (a sentence with typos that may name a second digit) and
measured (rough pen measurements). Each alone tells the digit about half to two thirds
of the time, all together nearly always; `benchmarks/demo_data_probes.py` measures it.

Pictures start from scikit-learn's bundled handwritten digits, speech comes from eSpeak
NG: nothing is downloaded. No original picture and no voice occurs in both splits.
"""

from __future__ import annotations

import csv
import math
import os
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline import demo_text
from pipeline.demo_speech import SAMPLE_RATE_HZ, Utterance, speak
from pipeline.outputs import writable_folder
from trainer.config import UserError

MEASUREMENTS = ("height_mm", "width_ratio", "stroke_mm", "pen_lifts", "first_stroke")
COLUMNS = (
    *("id", "split", "label", "image", "audio", "mention"),
    *MEASUREMENTS,
    "speaker",
)
CLASSES = 10
EVAL_FRACTION = 0.25
MISSING_FRACTION = 0.08
MIN_EXAMPLES = 40

IMAGE_SIZE = 24
AUDIO_RATE_HZ = 8_000
AUDIO_SECONDS = 1.0

# Levels of degradation, set by measurement so that each input alone stays weak.
_PIXEL_NOISE = (0.15, 0.40)
_COVER_PIXELS = (5, 9)
_SIGNAL_TO_NOISE_DB = (0.0, 18.0)
_MEASUREMENT_NOISE = 0.80
_FIRST_STROKE_KEPT = 0.5

_ENGLISH = ("en", "en-us", "en-gb-x-rp")
_MANDARIN = ("cmn",)
# A variant is a speaker's vocal tract; those heard in training are not in evaluation.
_VARIANTS = {
    "train": ("m1", "m2", "m3", "m5", "m7", "f1", "f2", "f4", "Annie", "Lee"),
    "eval": ("m4", "m6", "f3", "f5", "Andy"),
}

# Per digit, in standard units: how tall, how wide, how much ink, how often lifted.
_MEASURED = np.array(
    [
        [0.2, 1.3, 0.9, -0.9],
        [0.9, -1.7, -1.5, -0.7],
        [-0.6, 0.9, -0.1, -0.8],
        [0.5, 0.2, 0.2, -1.0],
        [-0.2, 0.6, -0.5, 1.5],
        [-1.1, -0.1, 0.4, 1.3],
        [1.3, -0.4, 0.3, -0.1],
        [-0.9, -0.7, -1.2, 0.4],
        [0.8, 0.1, 1.6, 0.3],
        [-1.0, -0.3, 1.0, -0.4],
    ]
)
_MEASURE_CENTER = np.array([22.0, 0.62, 54.0, 1.4])
_MEASURE_SCALE = np.array([3.0, 0.12, 12.0, 0.6])
_FIRST_STROKES = ("curve", "down", "across", "slant")
_FIRST_STROKE_OF = (0, 1, 0, 0, 3, 2, 0, 2, 0, 0)


class DemoDataError(UserError, ValueError):
    """Demo data that cannot be made as asked."""


def write_demo_data(
    directory: str | Path,
    examples: int = 1200,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Writes the data set: a manifest and its media files.

    The columns are `COLUMNS`. `image` and `audio` are paths relative to the manifest:
    grey PNGs of 24 x 24 pixels and 16-bit WAVs of 1 s, one channel, 8,000 Hz. About 8 %
    of each input is missing (an empty cell; the five measurements go together), never
    all of an example's. A quarter of the examples are `eval`, the rest `train`.
    `speaker` names the voice, for grouping; it says nothing about the label.

    Args:
        directory: where to write; made if needed, files of the same name replaced.
        examples: how many, 40 or more.
        seed: the same seed gives the same bytes.
        progress: called with the number of examples written so far.

    Returns:
        The path of the manifest, `directory/manifest.csv`. It is written last.

    Raises:
        DemoDataError: `examples` is below 40.
        SpeechError: eSpeak NG is missing or does not work.
    """
    if examples < MIN_EXAMPLES:
        raise DemoDataError(
            f"demo data needs {MIN_EXAMPLES} or more examples, so that every "
            f"digit is in both splits. Received: examples={examples}"
        )
    root = Path(writable_folder(os.fspath(directory)))
    for folder in ("images", "audio"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    # One stream of random numbers per input: changing one leaves the others alone.
    rng = dict(
        zip(
            ("plan", "image", "speech", "noise", "text", "table"),
            map(np.random.default_rng, np.random.SeedSequence(seed).spawn(6)),
            strict=True,
        )
    )
    splits, labels = _plan(rng["plan"], examples)
    present = _presence(rng["plan"], examples)
    pictures = _pictures(rng["image"], splits, labels)
    utterances = _utterances(rng["speech"], splits, labels)
    said = speak(utterances)

    rows = []
    for i, (split, label) in enumerate(zip(splits, labels, strict=True)):
        # Everything is drawn before anything is left out, so that what is missing
        # does not shift what comes after it.
        picture, sound = next(pictures), _in_noise(rng["noise"], said[i])
        mention = demo_text.mention(rng["text"], int(label))
        table = _table(rng["table"], int(label))
        row = dict.fromkeys(COLUMNS, "")
        row |= {"id": f"d{i:06d}", "split": split, "label": str(label)}
        row["speaker"] = utterances[i].voice
        if present[i, 0]:
            row["image"] = f"images/d{i:06d}.png"
            _write_png(root / row["image"], picture)
        if present[i, 1]:
            row["audio"] = f"audio/d{i:06d}.wav"
            _write_wav(root / row["audio"], sound)
        if present[i, 2]:
            row["mention"] = mention
        if present[i, 3]:
            row |= table
        rows.append(row)
        if progress is not None:
            progress(i + 1)

    manifest = root / "manifest.csv"
    with manifest.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return manifest


def _plan(
    rng: np.random.Generator, examples: int
) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Which split and label each example has: balanced, in random order."""
    held_out = round(examples * EVAL_FRACTION)
    splits = np.array(["eval"] * held_out + ["train"] * (examples - held_out))
    labels = np.concatenate(
        [np.arange(held_out) % CLASSES, np.arange(examples - held_out) % CLASSES]
    )
    order = rng.permutation(examples)
    return [str(split) for split in splits[order]], labels[order]


def _presence(rng: np.random.Generator, examples: int) -> npt.NDArray[np.bool_]:
    """Which of the four inputs each example has: bool, (examples, 4), no row empty."""
    present = rng.random((examples, 4)) >= MISSING_FRACTION
    empty = ~present.any(axis=1)
    present[empty, rng.integers(0, 4, empty.sum())] = True
    return present


def _pictures(
    rng: np.random.Generator, splits: list[str], labels: npt.NDArray[np.int64]
) -> Iterator[npt.NDArray[np.uint8]]:
    """Degraded pictures, (24, 24), each original used in one split only."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pools: dict[tuple[str, int], npt.NDArray[np.int64]] = {}
    for label in range(CLASSES):
        originals = rng.permutation(np.flatnonzero(digits.target == label))
        cut = round(len(originals) * EVAL_FRACTION)
        pools["eval", label], pools["train", label] = originals[:cut], originals[cut:]
    used = dict.fromkeys(pools, 0)
    for split, label in zip(splits, labels, strict=True):
        key = (split, int(label))
        # Past the end of a pool its originals come again, degraded anew.
        original = digits.images[pools[key][used[key] % len(pools[key])]]
        used[key] += 1
        yield _degrade(rng, original / 16.0)


def _degrade(
    rng: np.random.Generator, original: npt.NDArray[np.float64]
) -> npt.NDArray[np.uint8]:
    """From (8, 8) in 0..1 to (24, 24) in 0..255: moved, faded, covered, in noise."""
    from PIL import Image

    side = int(rng.integers(20, 24))
    pixels = Image.fromarray((original * 255).astype(np.uint8))
    digit = np.asarray(pixels.resize((side, side), Image.Resampling.BICUBIC)) / 255.0
    top, left = rng.integers(0, IMAGE_SIZE - side + 1, 2)
    canvas = np.zeros((IMAGE_SIZE, IMAGE_SIZE))
    canvas[top : top + side, left : left + side] = digit * rng.uniform(0.6, 1.0)
    cover = int(rng.integers(*_COVER_PIXELS))
    y, x = rng.integers(2, IMAGE_SIZE - cover - 1, 2)
    canvas[y : y + cover, x : x + cover] = rng.uniform(0.0, 0.5)
    canvas += rng.normal(0.0, rng.uniform(*_PIXEL_NOISE), canvas.shape)
    return (np.clip(canvas * 0.7 + 0.15, 0.0, 1.0) * 255).astype(np.uint8)


def _utterances(
    rng: np.random.Generator, splits: list[str], labels: npt.NDArray[np.int64]
) -> list[Utterance]:
    """How each digit is said: voices of the split, varied speed and pitch."""
    items = []
    for split, label in zip(splits, labels, strict=True):
        mandarin = rng.random() < 0.4
        language = str(rng.choice(_MANDARIN if mandarin else _ENGLISH))
        words = demo_text.CHINESE if mandarin else demo_text.ENGLISH
        items.append(
            Utterance(
                words[label],
                f"{language}+{rng.choice(_VARIANTS[split])}",
                rate_wpm=int(rng.integers(140, 200)),
                pitch=int(rng.integers(35, 66)),
                pitch_range=int(rng.integers(30, 71)),
            )
        )
    return items


def _in_noise(
    rng: np.random.Generator, samples: npt.NDArray[np.int16]
) -> npt.NDArray[np.int16]:
    """Speech at 8,000 Hz, placed at random in one second of noise."""
    from scipy.signal import resample_poly

    divisor = math.gcd(AUDIO_RATE_HZ, SAMPLE_RATE_HZ)
    speech = resample_poly(
        samples / 32768.0, AUDIO_RATE_HZ // divisor, SAMPLE_RATE_HZ // divisor
    )
    total = int(AUDIO_RATE_HZ * AUDIO_SECONDS)
    speech = speech[:total] / max(float(np.sqrt(np.mean(speech**2))), 1e-6)
    # The same length and the same loudness for all: neither tells the digit.
    start = int(rng.integers(0, min(total - len(speech), AUDIO_RATE_HZ // 8) + 1))
    ratio = 10 ** (rng.uniform(*_SIGNAL_TO_NOISE_DB) / 20)
    sound = rng.normal(0.0, 1.0, total)
    sound[start : start + len(speech)] += speech * ratio
    sound *= 0.06 / np.sqrt(np.mean(sound**2))
    return (np.clip(sound, -1.0, 1.0) * 32767).astype(np.int16)


def _table(rng: np.random.Generator, label: int) -> dict[str, str]:
    """Rough measurements of the pen's movement; the noise outweighs the digit."""
    measured = _MEASURED[label] + rng.normal(0.0, _MEASUREMENT_NOISE, 4)
    height, width, stroke, lifts = _MEASURE_CENTER + measured * _MEASURE_SCALE
    kept = rng.random() < _FIRST_STROKE_KEPT
    stroke_kind = _FIRST_STROKE_OF[label] if kept else int(rng.integers(0, 4))
    cells = (
        f"{height:.2f}",
        f"{width:.3f}",
        f"{stroke:.1f}",
        f"{lifts:.2f}",
        _FIRST_STROKES[stroke_kind],
    )
    return dict(zip(MEASUREMENTS, cells, strict=True))


def _write_png(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(path)


def _write_wav(path: Path, samples: npt.NDArray[np.int16]) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(AUDIO_RATE_HZ)
        file.writeframes(samples.astype("<i2").tobytes())
