"""What every modality in MODALITIES must do."""

from functools import cache
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from serving.sequences import pack
from tests.trainer import samples
from trainer.config import Config, ImagesInput, InputConfig, replace
from trainer.encoder_config import (
    BertEncoder,
    EfficientNetEncoder,
    MlpEncoder,
    ResNetEncoder,
    SmallConvEncoder,
    TransformerAudioEncoder,
)
from trainer.layers import Encoded
from trainer.modalities import MODALITIES, Modality, Resources
from trainer.model import build_model

VOCABULARY = (*samples.SPECIAL, "no", "fever", "发", "烧")
RESOURCES = Resources(
    vocabularies={"note": VOCABULARY},
    categories={"city": 2},
    statistics={"score": (0.0, 1.0)},
    class_counts={"disease": (1.0, 1.0, 1.0)},
)
TURNED = samples.encoded(samples.picture(9, 5))
SCAN = ImagesInput(
    "scan", height=8, width=8, max_frames=3, heads=2, dropout=0.0,
    encoder=SmallConvEncoder(filters=(4,), dropout=0.0),
)  # fmt: skip
SOUND = samples.wav(samples.tone(400, 0.2, 8000), 8000)
# Modality -> its input and, by feature, three rows: there, absent, there.
CASES: dict[str, tuple[InputConfig, dict[str, list[Any]]]] = {
    "image": (samples.PHOTO, {"photo": [TURNED, b"", TURNED]}),
    "images": (SCAN, {"scan": [pack([TURNED, TURNED]), b"", TURNED]}),
    "audio": (samples.VOICE, {"voice": [SOUND, b"", SOUND]}),
    "text": (samples.NOTE, {"note": ["no fever", "", "发烧"]}),
    "tabular": (
        samples.FACTS,
        {
            "age": [0.5, np.nan, np.nan],
            "height": [1.0, np.nan, -1.0],
            "city": [2, 0, 1],
        },
    ),
}
DTYPES = {"age": tf.float32, "height": tf.float32, "city": tf.int64}


def made(name: str) -> tuple[Modality[Any], dict[str, Any]]:
    config, columns = CASES[name]
    stored = {k: tf.constant(v, DTYPES.get(k, tf.string)) for k, v in columns.items()}
    return MODALITIES[name](config), stored


@cache
def prepared(name: str) -> dict[str, np.ndarray]:
    modality, stored = made(name)
    traced = tf.function(lambda x: modality.preprocess(x, RESOURCES))
    return {k: v.numpy() for k, v in traced(stored).items()}


def test_every_modality_has_a_case() -> None:
    assert set(CASES) == set(MODALITIES)


@pytest.mark.parametrize("name", list(CASES))
def test_preprocessing_gives_what_specs_promises(name: str) -> None:
    modality, _ = made(name)
    specs = modality.specs(RESOURCES)
    got = prepared(name)
    assert set(got) == {*specs, modality.present}
    for key, (shape, dtype) in specs.items():
        assert got[key].shape == (3, *shape)
        assert got[key].dtype == dtype
    assert got[modality.present].dtype == bool


@pytest.mark.parametrize("name", list(CASES))
def test_what_is_absent_is_told_and_finite(name: str) -> None:
    modality, _ = made(name)
    got = prepared(name)
    assert got[modality.present].tolist() == [True, False, True]
    for value in got.values():
        assert np.isfinite(value.astype(np.float64)).all()


@pytest.mark.parametrize("name", list(CASES))
@pytest.mark.parametrize("size", [1, 2, 3])
def test_preprocessing_is_the_same_in_tf_data_whatever_the_batch(
    name: str, size: int
) -> None:
    modality, stored = made(name)
    data = tf.data.Dataset.from_tensor_slices(stored).batch(size)
    data = data.map(lambda x: modality.preprocess(x, RESOURCES)).unbatch()
    rows = list(data.as_numpy_iterator())
    for key, value in prepared(name).items():
        got = np.stack([row[key] for row in rows])
        # The sums of the mel bands are in another order: float32's last digits.
        np.testing.assert_allclose(got, value, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", list(CASES))
def test_static_shapes_are_known_in_the_graph(name: str) -> None:
    modality, stored = made(name)
    data = tf.data.Dataset.from_tensor_slices(stored).batch(2)
    data = data.map(lambda x: modality.preprocess(x, RESOURCES))
    for key, (shape, dtype) in modality.specs(RESOURCES).items():
        assert data.element_spec[key] == tf.TensorSpec((None, *shape), dtype)


@pytest.mark.parametrize("name", list(CASES))
def test_an_empty_batch_passes(name: str) -> None:
    modality, stored = made(name)
    empty = {k: v[:0] for k, v in stored.items()}
    got = tf.function(lambda x: modality.preprocess(x, RESOURCES))(empty)
    assert all(value.shape[0] == 0 for value in got.values())


PHOTO = replace(samples.PHOTO, height=32, width=32)
ENCODERS: dict[str, InputConfig] = {
    "image_conv": samples.PHOTO,
    "image_conv_flat": replace(
        samples.PHOTO, encoder=SmallConvEncoder(filters=(2, 3), flatten=True)
    ),
    "image_mlp": replace(samples.PHOTO, encoder=MlpEncoder(hidden_dims=(3,))),
    "image_resnet": replace(
        PHOTO, encoder=ResNetEncoder(filters=(64,), blocks=(1,), strides=(1,))
    ),
    "image_efficientnet": replace(
        PHOTO,
        channels=1,
        encoder=EfficientNetEncoder(width_coefficient=0.1, depth_coefficient=0.1),
    ),
    "images_conv": SCAN,
    "images_mlp": replace(SCAN, encoder=MlpEncoder(hidden_dims=(3,)), layers=0),
    "audio_conv": samples.VOICE,
    "audio_transformer": replace(
        samples.VOICE,
        encoder=TransformerAudioEncoder(layers=1, heads=2, hidden_dim=4, stride=8),
    ),
    "text_bag": samples.NOTE,
    "text_bert": replace(
        samples.NOTE,
        encoder=BertEncoder(layers=1, heads=2, hidden_dim=4, intermediate_dim=4),
    ),
    "tabular": samples.FACTS,
}


@pytest.mark.parametrize("name", list(ENCODERS))
def test_encoders_give_tokens_mask_and_pooled(name: str) -> None:
    config = ENCODERS[name]
    modality = MODALITIES[config.modality](config)
    specs = modality.specs(RESOURCES)
    inputs = {k: keras.Input(s, dtype=d, name=k) for k, (s, d) in specs.items()}
    result = modality.encoder(inputs, 6, RESOURCES)
    assert isinstance(result, Encoded)
    model = keras.Model(inputs, (result.tokens, result.mask, result.pooled))
    given = prepared(config.modality)
    if config.modality == "image" and inputs["photo_pixels"].shape[1] == 32:
        shape = inputs["photo_pixels"].shape[1:]
        given = {"photo_pixels": np.random.default_rng(0).uniform(0, 255, (3, *shape))}
    tokens, mask, pooled = model({k: tf.constant(given[k]) for k in specs})
    assert tokens.shape[0] == 3
    assert tokens.shape[2] == 6
    assert mask.shape == tokens.shape[:2]
    assert mask.dtype == tf.bool
    assert pooled.shape == (3, 6)
    assert np.isfinite(pooled).all()
    assert np.isfinite(tokens).all()


def test_padding_has_no_influence_on_text() -> None:
    for name in ("text_bag", "text_bert"):
        config = ENCODERS[name]
        modality = MODALITIES["text"](config)
        specs = modality.specs(RESOURCES)
        inputs = {k: keras.Input(s, dtype=d, name=k) for k, (s, d) in specs.items()}
        result = modality.encoder(inputs, 6, RESOURCES)
        model = keras.Model(inputs, result.pooled)
        ids = tf.constant([[2, 5, 3, 0, 0, 0, 0, 0], [2, 5, 3, 0, 7, 7, 7, 7]])
        mask = tf.constant([[1, 1, 1, 0, 0, 0, 0, 0]] * 2)
        one, other = model({"note_token_ids": ids, "note_padding_mask": mask})
        np.testing.assert_allclose(one, other, atol=1e-6)


def two_of_one(one: InputConfig, **changes: Any) -> Config:
    second = replace(one, name="second", **changes)
    return samples.clinic_config(inputs=(one, second))


def test_two_resnets_and_two_berts_live_in_one_model() -> None:
    for name in ("image_resnet", "text_bert"):
        config = two_of_one(ENCODERS[name])
        vocabularies = {"note": VOCABULARY, "second": VOCABULARY}
        resources = replace(RESOURCES, vocabularies=vocabularies)
        model = build_model(config, resources)
        paths = [v.path for v in model.variables]
        assert len(set(paths)) == len(paths)
        first = ENCODERS[name].name
        mine = [p for p in paths if p.startswith(f"inputs.{first}.backbone/")]
        others = [p for p in paths if p.startswith("inputs.second.backbone/")]
        assert len(mine) == len(others) > 4
