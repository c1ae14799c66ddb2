"""A cache keeps pixels in 16 bits, and gives them back as they were."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from trainer.cached_pixels import pack, unpack
from trainer.config import from_mapping, replace
from trainer.dataset import make_dataset
from trainer.export import to_example
from trainer.modalities import Resources
from trainer.preprocessing import densify

SIDE = 6


def config(**training: Any) -> Any:
    return from_mapping(
        {
            "name": "pixels",
            "inputs": [
                {"name": "p", "modality": "image", "height": SIDE, "width": SIDE},
                {"name": "s", "modality": "images", "height": SIDE, "width": SIDE,
                 "max_frames": 2},
            ],
            "heads": [{"name": "score", "kind": "regression"}],
            "training": {"batch_size": 4, **training},
        }
    )  # fmt: skip


def png(pixels: np.ndarray) -> bytes:
    return bytes(tf.io.encode_png(pixels).numpy())


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Ten pictures, every second of another size, so that it is resized."""
    noise = np.random.default_rng(0)
    path = str(tmp_path / "rows.gz")
    with tf.io.TFRecordWriter(path, "GZIP") as writer:
        for at in range(10):
            side = SIDE + 3 * (at % 2)
            picture = png(noise.integers(0, 256, (side, side, 3), np.uint8))
            writer.write(to_example({"p": picture, "s": picture, "score": float(at)}))
    return [path]


def batches(files: list[str], one: Any, training: bool) -> Any:
    def transform(stored: dict[str, Any]) -> dict[str, Any]:
        values = densify(one, stored)
        return {**values, "weight:score": tf.ones_like(values["score"])}

    return make_dataset(files, one, transform, Resources(), training=training)


@pytest.mark.parametrize("training", [False, True])
def test_a_cached_epoch_is_the_uncached_one_within_a_514th_of_a_grey_level(
    files: list[str], monkeypatch: Any, training: bool
) -> None:
    kept = []
    cache = tf.data.Dataset.cache

    def spy(data: Any, *arguments: Any) -> Any:
        kept.append(data.element_spec[0])
        return cache(data, *arguments)

    monkeypatch.setattr(tf.data.Dataset, "cache", spy)
    cached = batches(files, config(cache=True, shuffle_buffer=1), training)
    fresh = batches(files, config(cache=False, shuffle_buffer=1), training)
    (spec,) = kept
    assert spec["p_pixels"].dtype == spec["s_frames"].dtype == tf.uint16
    for _ in range(2):
        for (x, y), (other, z) in zip(cached, fresh, strict=True):
            assert x["p_pixels"].dtype == tf.float32
            for key in ("p_pixels", "s_frames"):
                np.testing.assert_allclose(x[key], other[key], atol=1 / 514 + 1e-4)
                # Pictures that are not resized come back exactly.
                np.testing.assert_array_equal(x[key][::2], np.round(other[key][::2]))
            np.testing.assert_array_equal(y["score"], z["score"])


def test_sixteen_bits_of_grey_come_back() -> None:
    one = replace(config(), inputs=config().inputs[:1])
    pixels = tf.constant(np.arange(65536) / 257.0, tf.float32)
    packed = pack(one, {"p_pixels": pixels, "p_present": tf.constant(True)})
    np.testing.assert_array_equal(packed["p_pixels"], np.arange(65536))
    again = unpack(one, packed)
    np.testing.assert_allclose(again["p_pixels"], pixels, rtol=1e-6)
    assert again["p_present"].dtype == tf.bool
