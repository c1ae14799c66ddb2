"""How much each input of the demo data tells alone, and all of them together.

    .venv/bin/python benchmarks/demo_data_probes.py [--examples 1200] [--seed 0]

Takes about ten seconds. A logistic regression per input, fitted on `train`; on `eval` its
accuracy, and that of the sum of the four log-probabilities. A missing input counts as
one that knows only how frequent each digit is.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
import warnings
import wave
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Row = dict[str, str]
Features = npt.NDArray[np.float64]
NUMERIC = ("height_mm", "width_ratio", "stroke_mm", "pen_lifts")


def read_rows(manifest: Path) -> list[Row]:
    """The manifest's rows, cells as they stand."""
    with manifest.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def image_features(paths: Sequence[Path]) -> Features:
    """Pixels, (n, 576), in 0..1."""
    from PIL import Image

    return np.stack([np.asarray(Image.open(p)).ravel() / 255.0 for p in paths])


def audio_features(paths: Sequence[Path]) -> Features:
    """Log-energies of 12 stretches of time by 20 mel bands, from the onset: (n, 240)."""
    return np.stack([_log_mel(path) for path in paths])


def _log_mel(path: Path, window: int = 256, hop: int = 80) -> Features:
    with wave.open(str(path), "rb") as file:
        rate = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768.0
    starts = range(0, len(samples) - window, hop)
    frames = np.stack([samples[s : s + window] for s in starts]) * np.hanning(window)
    power = np.abs(np.fft.rfft(frames)) ** 2
    top = 2595 * np.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, 22) / 2595) - 1)
    hertz = np.fft.rfftfreq(window, 1 / rate)
    bands = np.stack(
        [
            np.clip(np.minimum((hertz - a) / (b - a), (c - hertz) / (c - b)), 0, None)
            for a, b, c in zip(edges, edges[1:], edges[2:], strict=False)
        ]
    )
    mel = np.log(power @ bands.T + 1e-6)
    mel -= np.median(mel, axis=0)
    stretches = np.array_split(mel[:84], 12)
    return np.concatenate([stretch.mean(axis=0) for stretch in stretches])


def table_features(rows: Sequence[Row]) -> Features:
    """The numbers, and one column per kind of first stroke: (n, 8)."""
    kinds = ("curve", "down", "across", "slant")
    return np.array(
        [
            [float(row[name]) for name in NUMERIC]
            + [float(row["first_stroke"] == kind) for kind in kinds]
            for row in rows
        ]
    )


def probe(
    rows: Sequence[Row],
    column: str,
    features: Callable[[list[Row]], Any],
    steps: Sequence[Any],
) -> Features:
    """Log-probabilities of the ten digits for the eval rows: (n, 10)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    train = [row for row in rows if row["split"] == "train"]
    evaluated = [row for row in rows if row["split"] == "eval"]
    counts = np.bincount([int(row["label"]) for row in train], minlength=10)
    answer = np.tile(np.log(counts / counts.sum()), (len(evaluated), 1))
    *before, strength = steps
    model = make_pipeline(*before, LogisticRegression(C=strength, max_iter=300))
    seen = [row for row in train if row[column]]
    have = [i for i, row in enumerate(evaluated) if row[column]]
    with warnings.catch_warnings():
        # Where the optimizer stops matters little to a probe.
        warnings.simplefilter("ignore")
        model.fit(features(seen), [int(row["label"]) for row in seen])
    answer[have] = model.predict_log_proba(features([evaluated[i] for i in have]))
    return answer


def accuracies(manifest: Path) -> dict[str, float]:
    """Accuracy on `eval` of `image`, `audio`, `mention`, `table` and `together`."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import StandardScaler

    rows, root = read_rows(manifest), manifest.parent
    answers = {
        "image": probe(
            rows,
            "image",
            lambda some: image_features([root / row["image"] for row in some]),
            [StandardScaler(), 0.003],
        ),
        "audio": probe(
            rows,
            "audio",
            lambda some: audio_features([root / row["audio"] for row in some]),
            [StandardScaler(), 0.003],
        ),
        "mention": probe(
            rows,
            "mention",
            lambda some: [f" {row['mention']} " for row in some],
            [TfidfVectorizer(analyzer="char", ngram_range=(1, 4)), 10.0],
        ),
        "table": probe(rows, "height_mm", table_features, [StandardScaler(), 1.0]),
    }
    answers["together"] = sum(answers.values(), np.zeros(1))
    labels = [int(row["label"]) for row in rows if row["split"] == "eval"]
    return {
        name: float(np.mean(answer.argmax(axis=1) == labels))
        for name, answer in answers.items()
    }


def side_channels(manifest: Path) -> dict[str, float]:
    """Accuracy of what should say little: file sizes, text length, voice, absence."""
    rows, root = read_rows(manifest), manifest.parent
    voices = sorted({row["speaker"] for row in rows})

    def size(row: Row, column: str) -> float:
        return float((root / row[column]).stat().st_size) if row[column] else 0.0

    columns: dict[str, Callable[[Row], list[float]]] = {
        "image bytes": lambda row: [size(row, "image")],
        "audio bytes": lambda row: [size(row, "audio")],
        "mention length": lambda row: [float(len(row["mention"].encode()))],
        "speaker": lambda row: [float(row["speaker"] == voice) for voice in voices],
        "absence": lambda row: [
            float(not row[name]) for name in ("image", "audio", "mention", "height_mm")
        ],
    }
    from sklearn.preprocessing import StandardScaler

    labels = [int(row["label"]) for row in rows if row["split"] == "eval"]
    return {
        name: float(
            np.mean(
                probe(
                    rows,
                    "label",
                    lambda some, f=function: np.array([f(row) for row in some]),  # type: ignore[misc]
                    [StandardScaler(), 1.0],
                ).argmax(axis=1)
                == labels
            )
        )
        for name, function in columns.items()
    }


def main() -> None:
    """Writes the data set into a temporary folder and prints the figures."""
    from pipeline.demo_data import write_demo_data

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        manifest = write_demo_data(folder, options.examples, options.seed)
        seconds = time.perf_counter() - start
        print(f"{options.examples} examples, seed {options.seed}: {seconds:.1f} s")
        for name, accuracy in accuracies(manifest).items():
            print(f"  {name:16} {accuracy:.3f}")
        print("side channels, chance is 0.100")
        for name, accuracy in side_channels(manifest).items():
            print(f"  {name:16} {accuracy:.3f}")


if __name__ == "__main__":
    main()
