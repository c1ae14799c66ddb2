"""Media files made by other libraries than the code under test, and small configs."""

import io
import wave
from typing import Any

import numpy as np
from PIL import Image

from trainer import config as c
from trainer import encoder_config as e


def picture(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Random uint8 [height, width, channels]."""
    shape = (height, width, channels)
    values: np.ndarray = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return values


def smooth_picture(height: int, width: int) -> np.ndarray:
    """Slow waves in three colours, uint8."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / 5.0), np.cos(y / 7.0), np.sin((x + y) / 9.0)]
    values: np.ndarray = (127.5 + 100 * np.stack(waves, -1)).astype(np.uint8)
    return values


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    """Pillow's file of uint8 [h, w, 1-4] or uint16 [h, w]."""
    buffer = io.BytesIO()
    image = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def wav(wave_values: np.ndarray, rate: int) -> bytes:
    """16-bit PCM of float [samples] or [samples, channels] in [-1, 1]."""
    pcm = np.round(np.asarray(wave_values) * 32767).astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1 if pcm.ndim == 1 else pcm.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm.tobytes())
    return buffer.getvalue()


def tone(hz: float, seconds: float, rate: int, level: float = 0.5) -> np.ndarray:
    values: np.ndarray = level * np.sin(
        2 * np.pi * hz * np.arange(round(seconds * rate)) / rate
    )
    return values


PHOTO = c.ImageInput(
    "photo", height=8, width=8, encoder=e.SmallConvEncoder(filters=(4,), dropout=0.0)
)
VOICE = c.AudioInput(
    "voice",
    sample_rate_hz=8000,
    max_seconds=0.25,
    max_input_seconds=2.0,
    mel_bins=8,
    encoder=e.ConvAudioEncoder(filters=(4,), dropout=0.0),
)
NOTE = c.TextInput(
    "note",
    max_tokens=8,
    vocabulary_size=200,
    encoder=e.BagEncoder(hidden_dim=4, ngram_buckets=16, dropout=0.0),
)
FACTS = c.TabularInput(
    "facts",
    numeric=("age", c.TabularColumn("height", "身高")),
    categorical=("city",),
    max_categories=2,
    hidden_dims=(4,),
    dropout=0.0,
)
DISEASE = c.ClassificationHead(
    "disease", ("flu", "cold", "none"), allow_missing=True, abstain_below=0.82
)
SCORE = c.RegressionHead("score", allow_missing=True)
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def clinic_config(**changes: Any) -> c.Config:
    """Four inputs, two heads, everything tiny."""
    parts: dict[str, Any] = {
        "name": "clinic",
        "inputs": (PHOTO, VOICE, NOTE, FACTS),
        "heads": (DISEASE, SCORE),
        "embedding_dim": 8,
        "fusion": c.ConcatFusion(dim=8, hidden_dims=(8,), dropout=0.0),
        "training": c.TrainingConfig(epochs=2, batch_size=4, modality_dropout=0.0),
    }
    return c.Config(**{**parts, **changes})


def clinic_rows() -> list[dict[str, Any]]:
    """Twelve rows by feature key; absent values are left out."""
    texts = ["fever and cough", "发烧 咳嗽", "no fever", "cough cough", "发烧", "Café"]
    rows: list[dict[str, Any]] = []
    for i in range(12):
        row: dict[str, Any] = {
            "photo": encoded(picture(9 + i, 12, seed=i)),
            "voice": wav(tone(200.0 + 40 * i, 0.2, 8000), 8000),
            "note": texts[i % 6].encode(),
            "age": 20.0 + 5 * i,
            "height": 150.0 + i * i,
            "city": [b"Berlin", b"Paris", b"Berlin", b"Rome"][i % 4],
            "disease": DISEASE.classes[i % 3].encode(),
            "score": float(i),
        }
        # Row 1 has no picture, 2 no sound, 3 no text, 4 and 5 no table value, ...
        for at, keys in {
            1: ["photo"], 2: ["voice"], 3: ["note"], 4: ["age", "city"],
            5: ["age", "height", "city"], 6: ["disease"], 7: ["score"],
        }.items():  # fmt: skip
            if i == at:
                for key in keys:
                    del row[key]
        rows.append(row)
    return rows
