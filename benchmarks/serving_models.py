"""The two models that benchmarks/serving.py measures, and the requests it sends.

    python -m benchmarks.serving_models build/serving_benchmark

`fused` is the project's own model of `serving_fused.yaml` with random weights, built
and exported as a pipeline run does; `tiny` is y = x / 2 + 2. Beside each version folder
lies `rows.npz`: one array of `ROWS` different values for every input of the signature.
Both are kept, and made again when the config or the code of their graph has changed.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tempfile
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.process_end import end_process

ROOT = Path(__file__).parents[1]
CONFIG = Path(__file__).with_name("serving_fused.yaml")
# What ends up in a SavedModel's graph, and this file.
_GRAPH_CODE = (
    "benchmarks/serving_models.py",
    "benchmarks/serving_fused.yaml",
    "trainer/*.py",
    "trainer/modalities/*.py",
    "trainer/fusion/*.py",
    "trainer/heads/*.py",
)
ROWS = 64
_WORDS = (
    "red",
    "fox",
    "runs",
    "over",
    "wet",
    "stones",
    "while",
    "two",
    "count",
    "boats",
)


@dataclass(frozen=True)
class BenchmarkModel:
    """A model on disk: base path, name, and the signature that is asked."""

    name: str
    signature: str
    base_path: Path

    @property
    def version_path(self) -> Path:
        """Folder of its only version."""
        return self.base_path / "1"

    @property
    def rows_path(self) -> Path:
        """Input name -> array of `ROWS` values, as npz."""
        return self.base_path.with_suffix(".npz")


def models(folder: Path) -> dict[str, BenchmarkModel]:
    """Both models by name, built first where they are missing or out of date."""
    found = {
        "fused": BenchmarkModel("fused", "serving_raw", folder / "fused"),
        "tiny": BenchmarkModel("tiny", "serving_default", folder / "tiny"),
    }
    stamp = folder / "built_from"
    if not stamp.exists() or stamp.read_text() != _fingerprint():
        # In a process of its own: Keras and Transform stay out of the benchmark's.
        subprocess.run(
            [sys.executable, "-m", "benchmarks.serving_models", str(folder)],
            cwd=ROOT,
            check=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
    return found


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for pattern in _GRAPH_CODE:
        for path in sorted(ROOT.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def fused_rows() -> dict[str, list[bytes]]:
    """Made-up pictures, captions and voices, all different; about 45 kB a row."""
    import numpy as np

    random = np.random.default_rng(0)
    rows: dict[str, list[bytes]] = {"photo": [], "caption": [], "voice": []}
    for _ in range(ROWS):
        coarse = random.integers(0, 256, (18, 24, 3), np.uint8)
        pixels = coarse.repeat(8, 0).repeat(8, 1) + random.integers(
            0, 40, (144, 192, 3), np.uint8
        )
        rows["photo"].append(_jpeg(pixels))
        rows["caption"].append(" ".join(random.choice(_WORDS, 24)).encode())
        hz, seconds = random.uniform(100, 3000), np.arange(16000) / 16000
        noise = random.normal(0, random.uniform(0.01, 0.2), 16000)
        sound = 0.5 * np.sin(2 * np.pi * hz * seconds) + noise
        rows["voice"].append(_wav(np.clip(sound, -1, 1)))
    return rows


def _jpeg(pixels: Any) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def _wav(sound: Any) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((sound * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def _transform(config: Any, rows: list[dict[str, Any]], folder: str) -> Any:
    """What the pipeline's Transform would learn of the rows, without a TFX run."""
    import apache_beam as beam
    import tensorflow_transform as tft
    import tensorflow_transform.beam as tft_beam
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    from tensorflow_transform.tf_metadata import dataset_metadata

    from trainer.preprocessing import stored_spec, transform

    metadata = dataset_metadata.DatasetMetadata.from_feature_spec(stored_spec(config))
    instances = [{key: [value] for key, value in row.items()} for row in rows]
    with (
        beam.Pipeline(runner=FnApiRunner()) as pipeline,
        tft_beam.Context(temp_dir=os.path.join(folder, "temp")),
    ):
        data = pipeline | beam.Create(instances)
        _, function = (data, metadata) | tft_beam.AnalyzeAndTransformDataset(
            lambda stored: transform(config, stored)
        )
        function | tft_beam.WriteTransformFn(os.path.join(folder, "transform"))
    return tft.TFTransformOutput(os.path.join(folder, "transform"))


def _build_fused(base: Path) -> None:
    import keras
    import numpy as np

    from trainer.config import load
    from trainer.export import export
    from trainer.model import build_model
    from trainer.resources import load_resources

    config = load(str(CONFIG))
    rows = fused_rows()
    examples: list[dict[str, Any]] = [
        {**dict(zip(rows, row, strict=True)), "label": b"a"}
        for row in zip(*rows.values(), strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        transform = _transform(config, examples, folder)
        resources = load_resources(config, transform)
        keras.utils.set_random_seed(config.seed)
        model = build_model(config, resources)
        layer = transform.transform_features_layer()
        export(config, model, resources, layer, str(base / "1"))
    arrays = {key: np.array(values, object) for key, values in rows.items()}
    np.savez(base.with_suffix(".npz"), **arrays)
    size = sum(len(part[0]) for part in rows.values())
    print(f"fused: {model.count_params():,} parameters, {size:,} bytes in row 0")


def _build_tiny(base: Path) -> None:
    import numpy as np
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def half_plus_two(x: Any) -> dict[str, Any]:
        return {"y": x / 2 + 2}

    module = tf.Module()
    module.half_plus_two = half_plus_two
    signatures = {"serving_default": half_plus_two}
    tf.saved_model.save(module, str(base / "1"), signatures=signatures)
    np.savez(base.with_suffix(".npz"), x=np.arange(ROWS, dtype=np.float32))


def build(folder: Path) -> None:
    """Writes both models and their rows."""
    import shutil

    stamp = folder / "built_from"
    stamp.unlink(missing_ok=True)
    for name, make in (("tiny", _build_tiny), ("fused", _build_fused)):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(parents=True)
        make(folder / name)
    stamp.write_text(_fingerprint())


if __name__ == "__main__":
    build(Path(sys.argv[1]))
    end_process(0)
