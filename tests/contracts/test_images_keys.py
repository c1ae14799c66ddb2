"""What the keys of a sequence of pictures do that no other test shows."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from serving.sequences import pack
from tests.contracts.test_modalities import SCAN
from tests.trainer import samples
from trainer.config import ConfigError, ImagesInput, from_mapping, replace
from trainer.encoder_config import MlpEncoder, ResNetEncoder
from trainer.features import input_features
from trainer.modalities import MODALITIES, Resources


def preprocessed(one: ImagesInput, *frames: bytes) -> dict[str, np.ndarray]:
    modality = MODALITIES["images"](one)
    stored = {one.name: tf.constant([pack(frames)])}
    traced = tf.function(lambda x: modality.preprocess(x, Resources()))
    return {k: v.numpy() for k, v in traced(stored).items()}


def encoder(one: ImagesInput, dim: int = 6) -> keras.Model:
    specs = MODALITIES["images"](one).specs(Resources())
    inputs = {k: keras.Input(s, dtype=d, name=k) for k, (s, d) in specs.items()}
    result = MODALITIES["images"](one).encoder(inputs, dim, Resources())
    return keras.Model(inputs, {"tokens": result.tokens, "pooled": result.pooled})


def shapes(one: ImagesInput, end: str) -> dict[str, tuple[int, ...]]:
    return {
        v.path: tuple(v.shape) for v in encoder(one).variables if v.path.endswith(end)
    }


def test_a_column_is_the_name_unless_it_is_given() -> None:
    for column, wanted in ((None, "ct"), ("切片", "切片")):
        (feature,) = input_features(ImagesInput(name="ct", column=column))
        assert (feature.key, feature.column, feature.kind) == ("ct", wanted, "images")


COLOUR = samples.encoded(np.full((4, 8, 3), (51, 102, 153), np.uint8))


@pytest.mark.parametrize(("channels", "wanted"), [(3, [51, 102, 153]), (1, [92.565])])
def test_size_channels_fit_and_background(channels: Any, wanted: list[float]) -> None:
    one = replace(SCAN, height=6, width=8, channels=channels, max_frames=2)
    for fit, background, edge in (("pad", 10, 10), ("stretch", 10, None)):
        found = preprocessed(replace(one, fit=fit, background=background), COLOUR)
        frames = found["scan_frames"]
        assert frames.shape == (1, 2, 6, 8, channels)
        np.testing.assert_allclose(frames[0, 0, 3, 4], wanted, atol=0.1)
        # 4 x 8 pixels in 6 x 8: a row of background above and below.
        corner = wanted if edge is None else [edge] * channels
        np.testing.assert_allclose(frames[0, 0, 0, 0], corner, atol=0.1)


def test_max_pixels_leaves_a_frame_out() -> None:
    for most, mask in ((31, [0, 1, 0]), (32, [1, 1, 0])):
        small = samples.encoded(np.zeros((4, 4, 3), np.uint8))
        found = preprocessed(replace(SCAN, max_pixels=most), COLOUR, small)
        assert found["scan_frame_mask"].tolist() == [mask]


def test_the_encoder_is_the_frames() -> None:
    one = replace(SCAN, encoder=MlpEncoder(hidden_dims=(5,)))
    assert shapes(one, "dense_0/kernel") == {
        "inputs.scan.dense_0/kernel": (8 * 8 * 3, 5)
    }
    # A library's backbone keeps the input's name before its paths.
    resnet = ResNetEncoder(filters=(64,), blocks=(1,), strides=(1,))
    big = replace(SCAN, height=32, width=32, encoder=resnet)
    paths = [v.path for v in encoder(big).variables]
    assert any(path.startswith("inputs.scan.backbone/") for path in paths)


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_layers_and_heads_over_time(layers: int) -> None:
    one = replace(SCAN, layers=layers, heads=3, max_frames=5)
    assert shapes(one, "query/kernel") == {
        f"inputs.scan.block_{i}/attention/query/kernel": (6, 3, 2)
        for i in range(layers)
    }
    positions = {"inputs.scan.positions/positions": (5, 6)} if layers else {}
    assert shapes(one, "positions") == positions
    assert encoder(one).output["tokens"].shape == (None, 5, 6)


def test_dropout_is_inside_the_layers() -> None:
    rng = np.random.default_rng(0)
    x = {
        "scan_frames": tf.constant(rng.uniform(0, 255, (2, 3, 8, 8, 3)), tf.float32),
        "scan_frame_mask": tf.ones((2, 3), tf.int32),
    }
    for dropout, wanted in ((0.0, False), (0.5, True)):
        model = encoder(replace(SCAN, dropout=dropout))
        one, other = (np.asarray(model(x, training=True)["pooled"]) for _ in range(2))
        assert (np.abs(one - other).max() > 1e-4) == wanted


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"max_frames": 0}, "inputs[ct].max_frames"),
        ({"layers": -1}, "inputs[ct].layers"),
        ({"heads": 0}, "inputs[ct].heads"),
        ({"heads": 3}, "inputs[ct].heads: must divide embedding_dim (128)"),
        ({"background": 300}, "inputs[ct].background"),
        ({"dropout": 1.0}, "inputs[ct].dropout"),
    ],
)
def test_values_that_cannot_be_are_refused(change: dict[str, Any], where: str) -> None:
    mapping = {
        "name": "scans",
        "inputs": [{"name": "ct", "modality": "images", **change}],
        "heads": [{"name": "y", "kind": "regression"}],
    }
    with pytest.raises(ConfigError) as caught:
        from_mapping(mapping)
    assert caught.value.problems[0].startswith(where)
