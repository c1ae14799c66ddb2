"""Every key of a config has a test that shows its effect: most of them here.

The last test walks the schema: a key that stands in no list of COVERED fails it.
"""

import dataclasses
import re
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.evaluation import check_thresholds, eval_config
from pipeline.rows import Quarantined, Row, read_row
from pipeline.split_plan import SplitPlan
from tests.trainer import samples
from tests.trainer.conftest import run_transform
from trainer import train as train_module
from trainer.config import (
    AttentionFusion,
    AudioInput,
    ClassificationHead,
    ConcatFusion,
    Config,
    ConfigError,
    EvaluationConfig,
    FusionConfig,
    GatedFusion,
    ImageInput,
    InputConfig,
    OrdinalHead,
    ParameterGroup,
    RegressionHead,
    SplitConfig,
    TabularColumn,
    TabularInput,
    TextInput,
    Threshold,
    TrainingConfig,
    from_mapping,
    replace,
)
from trainer.encoder_config import (
    BagEncoder,
    BertEncoder,
    ConvAudioEncoder,
    EfficientNetEncoder,
    MlpEncoder,
    ResNetEncoder,
    SmallConvEncoder,
    TransformerAudioEncoder,
)
from trainer.features import head_labels, input_features
from trainer.fusion import fusion
from trainer.layers import Encoded
from trainer.learner import Learner
from trainer.modalities import MODALITIES, Resources
from trainer.model import build_model, build_network
from trainer.optimizer import freeze
from trainer.schema import key_of
from trainer.unions import TAGS, tag_of

DIM = 6
VOCABULARY = (*samples.SPECIAL, "no", "fever", "发", "烧")
RESOURCES = Resources(
    vocabularies={"note": VOCABULARY},
    categories={"city": 2},
    statistics={"score": (0.0, 1.0)},
    class_counts={"disease": (1.0, 1.0, 1.0)},
)
Shapes = dict[str, tuple[int, ...]]


def encoder(one: InputConfig) -> keras.Model:
    """The input's tensors -> its tokens and pooled vector, of size DIM."""
    keras.utils.set_random_seed(0)
    modality = MODALITIES[one.modality](one)
    specs = modality.specs(RESOURCES)
    inputs = {k: keras.Input(s, dtype=d, name=k) for k, (s, d) in specs.items()}
    result = modality.encoder(inputs, DIM, RESOURCES)
    return keras.Model(inputs, {"tokens": result.tokens, "pooled": result.pooled})


def shapes(model: keras.Model, pattern: str = "") -> Shapes:
    """Path -> shape of the weights whose path holds the pattern."""
    return {
        v.path: tuple(v.shape) for v in model.variables if re.search(pattern, v.path)
    }


def batch(model: keras.Model, count: int = 2) -> dict[str, Any]:
    """Random tensors for the model's inputs; masks are all true."""
    rng = np.random.default_rng(0)
    out = {}
    for key, value in model.input.items():
        shape = (count, *value.shape[1:])
        drawn: Any
        if value.dtype == "int32":
            high = 3 if "categorical" in key else len(VOCABULARY)
            drawn = rng.integers(0, high, shape)
            drawn = np.ones(shape) if "mask" in key else drawn
        else:
            drawn = rng.normal(0, 1, shape)
        out[key] = tf.cast(drawn, value.dtype)
    return out


def varies(model: keras.Model) -> bool:
    """Whether two forward passes of training differ."""
    x = batch(model)
    one, other = (np.asarray(model(x, training=True)["pooled"]) for _ in range(2))
    quiet = model(x, training=False)["pooled"]
    np.testing.assert_array_equal(quiet, model(x, training=False)["pooled"])
    return bool(np.abs(one - other).max() > 1e-4)


def preprocessed(one: InputConfig, *values: Any) -> dict[str, np.ndarray]:
    modality = MODALITIES[one.modality](one)
    stored = {one.name: tf.constant(list(values), tf.string)}
    out = tf.function(lambda x: modality.preprocess(x, RESOURCES))(stored)
    return {k: v.numpy() for k, v in out.items()}


# ---- names and columns


def test_a_column_is_the_name_unless_it_is_given() -> None:
    for cls in (ImageInput, AudioInput, TextInput):
        for column, wanted in ((None, "one"), ("图片", "图片")):
            (feature,) = input_features(cls("one", column=column))
            assert (feature.key, feature.column) == ("one", wanted)
    table = TabularInput(
        "facts",
        numeric=("age", TabularColumn(name="height", column="身高")),
        categorical=(TabularColumn(name="sex", column="性别"), "city"),
    )
    assert [(f.key, f.column, f.kind) for f in input_features(table)] == [
        ("age", "age", "numeric"),
        ("height", "身高", "numeric"),
        ("sex", "性别", "categorical"),
        ("city", "city", "categorical"),
    ]
    for column, wanted in ((None, "y"), ("标签", "标签")):
        classes = ClassificationHead(name="y", classes=("a", "b"), column=column)
        number = RegressionHead(name="y", column=column)
        for head in (classes, number):
            ((key, found),) = ((x.key, x.column) for x in head_labels(head))
            assert (key, found) == ("y", wanted)


# ---- pictures


def picture(**changes: Any) -> ImageInput:
    return replace(samples.PHOTO, **changes)


@pytest.mark.parametrize(("channels", "wanted"), [(3, [51, 102, 153]), (1, [92.565])])
def test_channels(channels: Literal[1, 3], wanted: list[float]) -> None:
    # Grey is 0.299 red + 0.587 green + 0.114 blue.
    colour = samples.encoded(np.full((8, 8, 3), (51, 102, 153), np.uint8))
    got = preprocessed(picture(channels=channels), colour)["photo_pixels"]
    assert got.shape == (1, 8, 8, channels)
    np.testing.assert_allclose(got, np.tile(wanted, (1, 8, 8, 1)), atol=0.1)


# Four rows of eight pixels: 64 in the middle, 200 in two columns on either side. Halved,
# the triangle filter gives (1.5 * 200 + 0.25 * 64) / 1.75 and (0.25 * 200 + 1.75 * 64) / 2.
SIDES = np.full((4, 8, 1), 200, np.uint8)
SIDES[:, 2:6] = 64
HALVED = [316 / 1.75, 81, 81, 316 / 1.75]


@pytest.mark.parametrize(
    ("fit", "wanted"),
    [
        ("stretch", [HALVED] * 4),
        ("pad", [[10] * 4, HALVED, HALVED, [10] * 4]),
        ("crop", [[64] * 4] * 4),
    ],
)
def test_fit_and_background(fit: Any, wanted: list[list[float]]) -> None:
    one = picture(height=4, width=4, channels=1, fit=fit, background=10)
    got = preprocessed(one, samples.encoded(SIDES))["photo_pixels"]
    # TensorFlow's weights of the three colours add up to 0.9999.
    np.testing.assert_allclose(got[0, :, :, 0], wanted, atol=0.05)


def test_height_width_and_max_pixels() -> None:
    one = picture(height=5, width=3, max_pixels=32)
    data = samples.encoded(SIDES)
    got = preprocessed(one, data)
    assert got["photo_pixels"].shape == (1, 5, 3, 3)
    assert got["photo_present"].tolist() == [True]
    assert preprocessed(picture(max_pixels=31), data)["photo_present"].tolist() == [
        False
    ]


def resnet(**changes: Any) -> keras.Model:
    small = {"block": "block", "filters": (8,), "blocks": (1,), "strides": (2,)}
    return encoder(
        picture(height=32, width=32, encoder=ResNetEncoder(**{**small, **changes}))
    )


def stages(model: keras.Model) -> Shapes:
    """Stage, block and convolution -> the kernel's shape."""
    return {
        path.removeprefix("inputs.photo.backbone/v2_").removesuffix(
            "_conv/kernel"
        ): shape
        for path, shape in shapes(model, "stack.*conv/kernel").items()
    }


def test_resnet_block_and_filters() -> None:
    # A bottleneck is 1x1, 3x3, 1x1 of four times the filters, and a shortcut.
    assert stages(resnet()) == {
        "stack_0_block1_1": (1, 1, 64, 8),
        "stack_0_block1_2": (3, 3, 8, 8),
        "stack_0_block1_3": (1, 1, 8, 32),
        "stack_0_block1_0": (1, 1, 64, 32),
    }
    assert shapes(resnet(filters=(12,)), "inputs.photo.pooled/k") == {
        "inputs.photo.pooled/kernel": (48, 6)
    }
    assert stages(resnet(block="basic_block", filters=(64,), strides=(1,))) == {
        "stack_0_block1_1": (3, 3, 64, 64),
        "stack_0_block1_2": (3, 3, 64, 64),
    }


def test_resnet_blocks() -> None:
    model = resnet(filters=(8, 4), blocks=(1, 3), strides=(1, 1))
    found = [name.rsplit("_", 1)[0] for name in stages(model) if name.endswith("_2")]
    assert found == [
        "stack_0_block1", "stack_1_block1", "stack_1_block2", "stack_1_block3"
    ]  # fmt: skip


@pytest.mark.parametrize(("strides", "tokens"), [((1, 1), 64), ((1, 2), 16), ((2, 4), 1)])  # fmt: skip
def test_resnet_strides(strides: tuple[int, ...], tokens: int) -> None:
    # 32 pixels, by 4 in the stem: 8 x 8 places before the stages.
    model = resnet(filters=(8, 4), blocks=(1, 1), strides=strides)
    assert model.output["tokens"].shape == (None, tokens, DIM)


@pytest.mark.parametrize(
    ("width_coefficient", "depth_coefficient", "channels", "blocks"),
    [(0.1, 0.1, 128, 6), (0.2, 0.1, 256, 6), (0.1, 0.5, 128, 12)],
)
def test_efficientnet_coefficients(
    width_coefficient: float, depth_coefficient: float, channels: int, blocks: int
) -> None:
    # Of 1280 channels at the end; of 1, 2, 2, 3, 5 and 8 blocks, each rounded up.
    one = EfficientNetEncoder(
        width_coefficient=width_coefficient, depth_coefficient=depth_coefficient
    )
    model = encoder(picture(height=32, width=32, encoder=one))
    assert shapes(model, "inputs.photo.pooled/k") == {
        "inputs.photo.pooled/kernel": (channels, DIM)
    }
    found = {re.findall(r"block\d\w", path)[0] for path in shapes(model, r"block\d")}
    assert len(found) == blocks


def conv(**changes: Any) -> keras.Model:
    small = {"filters": (4,), "dropout": 0.0}
    return encoder(picture(encoder=SmallConvEncoder(**{**small, **changes})))


def test_conv_kernel_size_and_filters() -> None:
    assert shapes(conv(kernel_size=5, filters=(2, 7)), "kernel") == {
        "inputs.photo.conv_0/kernel": (5, 5, 3, 2),
        "inputs.photo.conv_1/kernel": (5, 5, 2, 7),
        "inputs.photo.tokens/kernel": (7, DIM),
        "inputs.photo.pooled/kernel": (7, DIM),
    }


@pytest.mark.parametrize(("pool", "places"), [(1, 64), (2, 4), (3, 4), (4, 4), (8, 1)])
def test_conv_pool(pool: int, places: int) -> None:
    # Of 8 x 8 pixels, twice; 4 and 8 leave nothing for the second pooling: 2 x 2, 1 x 1.
    # 3 gives 2 x 2 at first, and then no more.
    model = conv(pool=pool, filters=(2, 2))
    assert model.output["tokens"].shape == (None, places, DIM)


@pytest.mark.parametrize(("flatten", "size"), [(False, 4), (True, 4 * 4 * 4)])
def test_conv_flatten(flatten: bool, size: int) -> None:
    assert shapes(conv(flatten=flatten), "pooled/kernel") == {
        "inputs.photo.pooled/kernel": (size, DIM)
    }


def test_mlp_hidden_dims() -> None:
    model = encoder(picture(encoder=MlpEncoder(hidden_dims=(5, 3))))
    assert shapes(model, "kernel") == {
        "inputs.photo.dense_0/kernel": (8 * 8 * 3, 5),
        "inputs.photo.dense_1/kernel": (5, 3),
        "inputs.photo.pooled/kernel": (3, DIM),
    }


# ---- sounds


def voice(**changes: Any) -> AudioInput:
    return replace(samples.VOICE, **changes)


@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({}, (23, 8)),  # 2000 samples, windows of 200 every 80: 1 + 1800 // 80
        ({"frame_ms": 50.0}, (21, 8)),
        ({"step_ms": 5.0}, (46, 8)),
        ({"mel_bins": 5}, (23, 5)),
        ({"max_seconds": 0.5}, (48, 8)),
        ({"sample_rate_hz": 800}, (23, 8)),
    ],
)
def test_frames_and_bands(changes: dict[str, Any], shape: tuple[int, int]) -> None:
    one = voice(**changes)
    sound = samples.wav(samples.tone(300, 0.2, 8000), 8000)
    assert MODALITIES["audio"](one).specs(RESOURCES) == {
        "voice_log_mel": (shape, "float32")
    }
    assert preprocessed(one, sound)["voice_log_mel"].shape == (1, *shape)


def loudest(one: AudioInput, hz: float) -> float:
    sound = samples.wav(samples.tone(hz, 0.25, 16000), 16000)
    return float(preprocessed(one, sound)["voice_log_mel"].max())


def test_sample_rate_hz_bounds_what_is_heard() -> None:
    # A tone of level 0.5 over a window of 200 or 400 has a magnitude of tens, log > 2.
    assert loudest(voice(sample_rate_hz=16000), 6000) > 2
    assert loudest(voice(sample_rate_hz=8000), 6000) < 0
    assert loudest(voice(sample_rate_hz=8000), 3000) > 2


def test_min_hz_and_max_hz_bound_what_is_heard() -> None:
    assert loudest(voice(min_hz=60.0), 500) > 2
    assert loudest(voice(min_hz=1500.0), 500) < 0
    assert loudest(voice(max_hz=None), 3000) > 2
    assert loudest(voice(max_hz=2000.0), 3000) < 0


def test_max_seconds_and_max_input_seconds() -> None:
    # 0.25 s of silence and then 0.25 s of a tone: the middle half is half a tone.
    tone = np.concatenate([np.zeros(2000), samples.tone(500, 0.25, 8000)])
    sound = samples.wav(tone, 8000)
    heard = preprocessed(voice(max_seconds=0.25), sound)["voice_log_mel"][0].max(-1)
    assert (heard[:10] < 0).all()
    assert (heard[14:] > 2).all()
    for seconds, present in ((0.49, False), (0.5, True)):
        got = preprocessed(voice(max_input_seconds=seconds), sound)
        assert got["voice_present"].tolist() == [present]


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, {"conv_0": (3, 3, 1, 4), "tokens": (4 * 4, DIM)}),
        ({"kernel_size": 5}, {"conv_0": (5, 5, 1, 4), "tokens": (4 * 4, DIM)}),
        ({"pool": 1}, {"conv_0": (3, 3, 1, 4), "tokens": (8 * 4, DIM)}),
        (
            {"filters": (2, 5)},
            {"conv_0": (3, 3, 1, 2), "conv_1": (3, 3, 2, 5), "tokens": (2 * 5, DIM)},
        ),
    ],
)
def test_audio_conv(changes: dict[str, Any], wanted: Shapes) -> None:
    settings = {"filters": (4,), "dropout": 0.0, **changes}
    model = encoder(voice(encoder=ConvAudioEncoder(**settings)))
    assert shapes(model, "(conv_.|tokens)/kernel") == {
        f"inputs.voice.{k}/kernel": v for k, v in wanted.items()
    }
    steps = {(4,): {2: 11, 1: 23}, (2, 5): {2: 5}}[settings["filters"]]
    tokens = model.output["tokens"].shape
    assert tokens == (None, steps[settings.get("pool", 2)], DIM)


def hearing(**changes: Any) -> keras.Model:
    small = {"layers": 1, "heads": 2, "hidden_dim": 4, "stride": 8, "dropout": 0.0}
    return encoder(voice(encoder=TransformerAudioEncoder(**{**small, **changes})))


def test_audio_transformer_stride_and_hidden_dim() -> None:
    # Windows of two strides over 8 bands; 23 frames are 3 strides of 8, 6 of 4.
    for stride, tokens in ((8, 3), (4, 6)):
        for hidden_dim in (4, 10):
            model = hearing(stride=stride, hidden_dim=hidden_dim)
            assert shapes(model, "patches/kernel|positions") == {
                "inputs.voice.patches/kernel": (2 * stride, 8, hidden_dim),
                "inputs.voice.positions/positions": (tokens, hidden_dim),
            }
            assert model.output["tokens"].shape == (None, tokens, DIM)


def test_audio_transformer_layers_and_heads() -> None:
    model = hearing(layers=2, heads=4, hidden_dim=8)
    assert shapes(model, "query/kernel") == {
        "inputs.voice.block_0/attention/query/kernel": (8, 4, 2),
        "inputs.voice.block_1/attention/query/kernel": (8, 4, 2),
    }


def augmented(**changes: Any) -> tuple[np.ndarray, np.ndarray]:
    """Standardized bands of 200 sounds before and after augmentation in training."""
    model = encoder(voice(**changes))
    names = ("inputs.voice.bands", "inputs.voice.augment")
    inner = keras.Model(model.input, [model.get_layer(name).output for name in names])
    before, after = inner(batch(model, 200), training=True)
    assert np.abs(before).min() > 0
    quiet = inner(batch(model, 200), training=False)
    np.testing.assert_array_equal(*quiet)
    return np.asarray(before), np.asarray(after)


@pytest.mark.parametrize(("key", "axis"), [("mask_frames", 2), ("mask_bins", 1)])
def test_masks_of_sounds(key: str, axis: int) -> None:
    before, after = augmented(**{key: 3})
    masked = (after == 0).all(axis)
    # A stripe of up to 3 touches 4 places at most.
    assert masked.sum(1).min() == 0
    assert 3 <= masked.sum(1).max() <= 4
    shown = np.expand_dims(~masked, axis)
    np.testing.assert_array_equal(after, np.where(shown, before, 0.0))
    assert varies(encoder(voice(**{key: 3})))


def test_shift_frames_moves_sounds() -> None:
    before, after = augmented(shift_frames=2)
    found = set()
    for one, moved in zip(before, after, strict=True):
        by = [
            by
            for by in range(-5, 6)
            if (moved == one[np.clip(np.arange(23) + by, 0, 22)]).all()
        ]
        found.update(by)
        assert len(by) == 1
    assert found == {-2, -1, 0, 1, 2}
    assert varies(encoder(voice(shift_frames=2)))


def test_sounds_stay_as_they_are_unless_asked() -> None:
    before, after = augmented(mask_frames=0, mask_bins=0, shift_frames=0)
    np.testing.assert_array_equal(before, after)
    assert not varies(encoder(voice()))


# ---- texts


def note(**changes: Any) -> TextInput:
    return replace(samples.NOTE, **changes)


@pytest.mark.parametrize(
    ("max_tokens", "wanted"),
    [(3, [2, 5, 3]), (4, [2, 5, 6, 3]), (6, [2, 5, 6, 5, 3, 0])],
)
def test_max_tokens(max_tokens: int, wanted: list[int]) -> None:
    one = note(max_tokens=max_tokens)
    assert preprocessed(one, "no fever no")["note_token_ids"].tolist() == [wanted]
    model = encoder(replace(one, encoder=BertEncoder(layers=1, heads=1, hidden_dim=2)))
    assert model.output["tokens"].shape == (None, max_tokens, DIM)
    positions = shapes(model, "position_embedding")
    assert list(positions.values()) == [(max_tokens, 2)]


def bert(**changes: Any) -> keras.Model:
    small = {"layers": 1, "heads": 2, "hidden_dim": 4, "intermediate_dim": 3}
    settings = {**small, "dropout": 0.0, **changes}
    return encoder(note(encoder=BertEncoder(**settings)))


def test_bert_dims() -> None:
    model = bert(hidden_dim=6, intermediate_dim=11)
    found = shapes(model, "token_embedding|position_embedding|intermediate.*kernel")
    assert list(found.values()) == [(9, 6), (8, 6), (6, 11)]


def test_bert_layers_and_heads() -> None:
    found = shapes(bert(layers=3, heads=2, hidden_dim=8), "query/kernel")
    assert list(found.values()) == [(8, 2, 4)] * 3


def bag(**changes: Any) -> keras.Model:
    small = {"hidden_dim": 4, "ngram_buckets": 16, "dropout": 0.0}
    return encoder(note(encoder=BagEncoder(**{**small, **changes})))


def test_bag_hidden_dim_and_ngram_buckets() -> None:
    assert shapes(bag(hidden_dim=5, ngram_buckets=32), "embedding") == {
        "inputs.note.embedding/embeddings": (9, 5),
        "inputs.note.pair_embedding/embeddings": (32, 5),
    }
    assert shapes(bag(ngram_buckets=0), "embedding") == {
        "inputs.note.embedding/embeddings": (9, 4)
    }


def test_pairs_let_the_order_of_words_count() -> None:
    ids = [[2, 5, 6, 7, 3, 0, 0, 0], [2, 7, 6, 5, 3, 0, 0, 0]]
    mask = [[1, 1, 1, 1, 1, 0, 0, 0]] * 2
    x = {"note_token_ids": tf.constant(ids), "note_padding_mask": tf.constant(mask)}
    for ngram_buckets, counts in ((0, False), (1024, True)):
        first, second = np.asarray(bag(ngram_buckets=ngram_buckets)(x)["pooled"])
        assert (np.abs(first - second).max() > 1e-4) == counts


def test_token_dropout() -> None:
    model = encoder(note(token_dropout=0.25))
    layer = model.get_layer("inputs.note.token_dropout")
    inner = keras.Model(model.input, layer.output)
    ids = np.tile([2, 5, 6, 7, 8, 3, 0, 0], (1000, 1))
    mask = tf.constant(ids > 0)
    x = {"note_token_ids": tf.constant(ids), "note_padding_mask": mask}
    got = np.asarray(
        inner({k: tf.cast(v, tf.int32) for k, v in x.items()}, training=True)
    )
    np.testing.assert_array_equal(got[:, [0, 5, 6, 7]], ids[:, [0, 5, 6, 7]])
    assert set(got[got != ids]) == {1}
    # Of 4000 draws: four standard errors are 0.027.
    assert (got != ids).sum() / 4000 == pytest.approx(0.25, abs=0.027)
    assert varies(model)
    off = encoder(note(token_dropout=0.0))
    assert "inputs.note.token_dropout" not in [layer.name for layer in off.layers]
    assert not varies(off)


# ---- tables, and what Transform learns


def facts(**changes: Any) -> TabularInput:
    return replace(samples.FACTS, **changes)


def test_tabular_hidden_dims() -> None:
    # Two numbers with their flags, and the city's embedding of 2 + (2 + 2) // 2.
    assert shapes(encoder(facts(hidden_dims=(7, 5))), "kernel|embedding") == {
        "inputs.facts.city.embedding/embeddings": (4, 4),
        "inputs.facts.dense_0/kernel": (2 + 2 + 4, 7),
        "inputs.facts.dense_1/kernel": (7, 5),
        "inputs.facts.pooled/kernel": (5, DIM),
    }
    assert shapes(encoder(facts(hidden_dims=())), "kernel") == {
        "inputs.facts.pooled/kernel": (8, DIM)
    }


def test_numeric_and_categorical_are_the_tables_columns() -> None:
    for numeric, categorical, size in ((("a",), (), 2), (("a", "b"), ("city",), 8)):
        model = encoder(facts(numeric=numeric, categorical=categorical))
        assert shapes(model, "dense_0/kernel") == {
            "inputs.facts.dense_0/kernel": (size, 4)
        }


def test_what_a_full_pass_learns_keeps_to_its_settings(tmp_path: Path) -> None:
    """lowercase, vocabulary_size and max_categories, in one Transform."""
    from trainer.resources import load_resources

    city = TabularColumn(name="city")
    config = samples.clinic_config(
        inputs=(
            note(name="cased", lowercase=False, vocabulary_size=200),
            note(name="few", lowercase=True, vocabulary_size=12),
            facts(numeric=(), categorical=(city,), max_categories=2),
        ),
        heads=(RegressionHead("score"),),
    )
    said = b"Fever Fever fever cough cough"
    rows = [
        {"cased": said, "few": said, "city": name, "score": 1.0}
        for name in (b"Rome", b"Rome", b"Paris", b"Paris", b"Rome", b"Berlin")
    ]
    resources = load_resources(config, run_transform(config, rows, tmp_path))
    assert resources.categories == {"city": 2}
    found = {k: set(v) for k, v in resources.vocabularies.items()}
    assert {"Fever", "fever", "F", "cough"} <= found["cased"]
    # Characters always stay; the rarer word does not.
    assert {"fever", "f", "c", "##g"} <= found["few"]
    assert not {"Fever", "F", "cough"} & found["few"]


# ---- dropout of every encoder


DROPOUTS: dict[str, InputConfig] = {
    "conv": picture(encoder=SmallConvEncoder(filters=(4,))),
    "mlp": picture(encoder=MlpEncoder(hidden_dims=(16,))),
    "audio_conv": voice(encoder=ConvAudioEncoder(filters=(4,))),
    "audio_transformer": voice(
        encoder=TransformerAudioEncoder(layers=1, heads=2, hidden_dim=4, stride=8)
    ),
    "bert": note(encoder=BertEncoder(layers=1, heads=2, hidden_dim=4)),
    "bag": note(encoder=BagEncoder(hidden_dim=8, ngram_buckets=16)),
    "tabular": facts(hidden_dims=(16,)),
}


@pytest.mark.parametrize("name", list(DROPOUTS))
def test_dropout_of_encoders(name: str) -> None:
    one = DROPOUTS[name]
    for dropout, wanted in ((0.0, False), (0.5, True)):
        if isinstance(one, TabularInput):
            changed: InputConfig = replace(one, dropout=dropout)
        else:
            changed = replace(one, encoder=replace(one.encoder, dropout=dropout))
        assert varies(encoder(changed)) == wanted


# ---- fusion


def fused(config: FusionConfig) -> keras.Model:
    """Two inputs of two tokens of size 4 -> the fused embedding."""
    keras.utils.set_random_seed(0)
    inputs: dict[str, Any] = {
        "present": keras.Input((2,), dtype="bool", name="present")
    }
    encoded = {}
    for name in ("a", "b"):
        inputs[name] = keras.Input((2, 4), name=name)
        mask = keras.ops.any(inputs[name] < 1e9, axis=-1)
        encoded[name] = Encoded(inputs[name], mask, inputs[name][:, 0])
    return keras.Model(inputs, {"pooled": fusion(config)(encoded, inputs["present"])})


def test_concat_dim_and_hidden_dims() -> None:
    # Two vectors of 4 and two flags.
    assert shapes(fused(ConcatFusion(dim=5, hidden_dims=(7, 3))), "kernel") == {
        "fusion.dense_0/kernel": (4 + 4 + 2, 7),
        "fusion.dense_1/kernel": (7, 3),
        "fusion.out/kernel": (3, 5),
    }
    assert shapes(fused(ConcatFusion(dim=3, hidden_dims=())), "kernel") == {
        "fusion.out/kernel": (10, 3)
    }


def test_gated_dim() -> None:
    model = fused(GatedFusion(dim=5))
    assert shapes(model, "kernel") == {
        "fusion.gate/kernel": (8, 2),
        "fusion.a.hidden/kernel": (4, 5),
        "fusion.b.hidden/kernel": (4, 5),
    }
    assert model.output["pooled"].shape == (None, 5)


def test_attention_dim_layers_and_heads() -> None:
    model = fused(AttentionFusion(dim=12, layers=3, heads=2))
    found = shapes(model, "query/kernel|project/kernel")
    assert found == {
        "fusion.a.project/kernel": (4, 12),
        "fusion.b.project/kernel": (4, 12),
        **{f"fusion.block_{i}/attention/query/kernel": (12, 2, 6) for i in range(3)},
    }
    assert model.output["pooled"].shape == (None, 12)
    found = shapes(fused(AttentionFusion(dim=12, layers=1, heads=4)), "query/kernel")
    assert list(found.values()) == [(12, 4, 3)]


@pytest.mark.parametrize(
    "config",
    [
        ConcatFusion(dim=8, hidden_dims=(16,)),
        GatedFusion(dim=8),
        AttentionFusion(dim=8, layers=1, heads=2),
    ],
    ids=lambda config: config.kind,
)
def test_dropout_of_fusions(config: FusionConfig) -> None:
    for dropout, wanted in ((0.0, False), (0.5, True)):
        assert varies(fused(replace(config, dropout=dropout))) == wanted


# ---- the whole model


def test_name_embedding_dim_and_fusion() -> None:
    config = samples.clinic_config(
        name="praxis", embedding_dim=5, fusion=GatedFusion(dim=3)
    )
    model = build_model(config, RESOURCES)
    assert model.name == "praxis"
    assert {k: v.shape[1] for k, v in model.output.items()} == {
        "pooled:photo": 5, "pooled:voice": 5, "pooled:note": 5,
        "pooled:facts": 5, "fused:": 3, "disease": 3, "score": 1,
    }  # fmt: skip
    assert shapes(model, "missing") == {
        f"inputs.{one.name}.missing/token": (5,) for one in config.inputs
    }


def test_modality_dropout() -> None:
    config = samples.clinic_config(training=TrainingConfig(modality_dropout=0.6))
    layer = build_model(config, RESOURCES).get_layer("fusion.modality_dropout")
    shown = np.asarray(layer(tf.constant([[True] * 4] * 4000), training=True))
    # Hidden with 0.6, unless all are and it had the highest draw of four; four standard
    # errors of 16000 draws are 0.016.
    assert shown.mean() == pytest.approx(1 - (0.6 - 0.6**4 / 4), abs=0.016)


@pytest.mark.parametrize("late_fusion", [False, True])
def test_a_number_has_auxiliary_heads_and_late_fusion_too(late_fusion: bool) -> None:
    score = RegressionHead("score", auxiliary_weight=0.5, late_fusion=late_fusion)
    config = samples.clinic_config(inputs=(samples.FACTS,), heads=(score,))
    model = build_model(config, RESOURCES)
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.1, 0.6, w.shape) for w in model.get_weights()])
    out = {k: np.asarray(v, np.float64) for k, v in model(batch(model)).items()}
    kernel, bias = model.get_layer("heads.score.from.facts").get_weights()
    alone = out["pooled:facts"] @ kernel + bias
    np.testing.assert_allclose(out["score:from:facts"], alone, rtol=1e-4)
    kernel, bias = model.get_layer("heads.score.logits").get_weights()
    there = np.asarray(batch(model)["facts_present"], float)[:, None]
    wanted = out["fused:"] @ kernel + bias + late_fusion * there * alone
    assert there.any()
    np.testing.assert_allclose(out["score"], wanted, rtol=1e-4)


def learned(**supervised: float) -> float:
    """The loss of predictions 3 too high and 1 too low, in standard deviations."""
    mapping = {
        "name": "table",
        "inputs": [{"name": "facts", "modality": "tabular", "numeric": ["age"]}],
        "heads": [{"name": "score", "kind": "regression"}],
        "objectives": {"supervised": supervised},
    }
    config = from_mapping(mapping)
    learner = Learner(build_network(config, RESOURCES), config, RESOURCES)
    y = {"score": tf.constant([1.0, 1.0]), "weight:score": tf.ones(2)}
    outputs = {"score": tf.constant([[4.0], [0.0]])}
    return float(learner.compute_loss({}, y, outputs))


def test_supervised_weight() -> None:
    # (9 + 1) / 2
    assert learned() == pytest.approx(5.0)
    assert learned(weight=2.5) == pytest.approx(12.5)
    assert learned(weight=0.0) == 0.0


def test_no_objectives_are_refused() -> None:
    mapping = {
        "name": "table",
        "inputs": [{"name": "facts", "modality": "tabular", "numeric": ["age"]}],
        "heads": [{"name": "score", "kind": "regression"}],
        "objectives": {"supervised": None},
    }
    with pytest.raises(ConfigError, match="objectives: at least one is needed"):
        from_mapping(mapping)


def test_parameter_groups_pattern() -> None:
    model = build_model(samples.clinic_config(), RESOURCES)
    groups = (
        ParameterGroup(pattern="^inputs.(photo|voice).conv_.*kernel", frozen=True),
    )
    assert freeze(model, groups) == [
        "inputs.photo.conv_0/kernel",
        "inputs.voice.conv_0/kernel",
    ]


class Compiled(Exception):
    pass


@pytest.mark.parametrize("jit_compile", [False, True])
def test_jit_compile_reaches_keras(
    jit_compile: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiled(self: Learner, **settings: Any) -> None:
        assert settings["jit_compile"] is jit_compile
        raise Compiled

    monkeypatch.setattr(Learner, "compile", compiled)
    config = samples.clinic_config(
        inputs=(samples.FACTS,), training=TrainingConfig(jit_compile=jit_compile)
    )
    folder = str(tmp_path)
    with pytest.raises(Compiled):
        train_module.train(
            config, RESOURCES, None, None, train_examples=1,
            work_dir=folder, log_dir=folder, say=lambda line: None,
        )  # fmt: skip


# ---- rows and splits


def row_of(cells: Mapping[str, Any], **changes: Any) -> Row | Quarantined:
    mapping = {
        "name": "rows",
        "inputs": [{"name": "photo", "modality": "image"}],
        "heads": [{"name": "y", "kind": "regression"}],
    }
    return read_row(1, cells, from_mapping({**mapping, **changes}), "")


def test_max_file_bytes(tmp_path: Path) -> None:
    data = samples.encoded(SIDES)
    path = tmp_path / "one.png"
    path.write_bytes(data)
    cells = {"photo": str(path), "y": 1}
    found = row_of(cells, data={"max_file_bytes": len(data)})
    assert isinstance(found, Row)
    assert found.values == {"photo": data}
    found = row_of(cells, data={"max_file_bytes": len(data) - 1})
    assert isinstance(found, Quarantined)
    assert (found.reason, found.column) == ("too_many_bytes", "photo")


@pytest.mark.parametrize(
    "head", [{"kind": "regression"}, {"kind": "classification", "classes": ["a", "b"]}]
)
def test_allow_missing(head: dict[str, Any]) -> None:
    cells = {"photo": samples.encoded(SIDES), "y": ""}
    for allow_missing, reason in ((False, "empty_label"), (True, None)):
        one = {"name": "y", "allow_missing": allow_missing, **head}
        found = row_of(cells, heads=[one])
        assert getattr(found, "reason", None) == reason
        assert isinstance(found, Quarantined) or found.labels == {}


def test_separator_parts_the_labels_of_a_cell() -> None:
    cells = {"photo": samples.encoded(SIDES), "y": "a;b|c"}
    head = {"name": "y", "kind": "classification", "classes": ["a", "b|c"]}
    found = row_of(cells, heads=[{**head, "multi_label": True, "separator": ";"}])
    assert isinstance(found, Row)
    assert found.labels == {"y": ("a", "b|c")}


def test_splits_have_the_names_that_the_config_gives_them() -> None:
    split = SplitConfig(
        train="训练", eval="测试", selection="挑选",
        eval_fraction=0.2, selection_fraction=0.25,
    )  # fmt: skip
    found = [SplitPlan(split).of(str(i), {}) for i in range(2000)]
    # Of 2000: a fifth, and a quarter of the others; four standard deviations.
    assert found.count("测试") == pytest.approx(400, abs=72)
    assert found.count("挑选") == pytest.approx(400, abs=72)
    assert set(found) == {"训练", "测试", "挑选"}
    by_column = replace(split, column="set")
    assert SplitPlan(by_column).of("1", {"set": "测试"}) == "测试"
    kept = replace(by_column, selection_fraction=0.0)
    assert {SplitPlan(kept).of(str(i), {"set": "训练"}) for i in range(99)} == {"训练"}


# ---- evaluation


def judged(slices: tuple[tuple[str, ...], ...], *thresholds: Threshold) -> Any:
    evaluation = EvaluationConfig(
        slices=slices, thresholds=thresholds, allow_worse_than_constant=True
    )
    return eval_config(samples.clinic_config(evaluation=evaluation))


def bounds(found: Any) -> dict[str, list[tuple[list[list[str]], Any]]]:
    """Metric, with its output, -> the slices and the threshold of each condition."""
    out = {}
    for spec in found.metrics_specs:
        for metric in spec.metrics:
            if metric.per_slice_thresholds:
                name = re.findall(r'"name": "(\w+)"', metric.config)[0]
                out[f"{spec.output_names[0]}/{name}"] = [
                    ([list(s.feature_keys) for s in one.slicing_specs], one.threshold)
                    for one in metric.per_slice_thresholds
                ]
    return out


INPUTS = [["photo_present"], ["voice_present"], ["note_present"], ["facts_present"]]


def test_slices_are_judged_apart() -> None:
    def keys(found: Any) -> list[list[str]]:
        return [list(spec.feature_keys) for spec in found.slicing_specs]

    assert keys(judged(())) == [[], *INPUTS]
    crossed = judged((("性别",), ("性别", "site")))
    assert keys(crossed) == [[], ["slice:性别"], ["slice:性别", "slice:site"], *INPUTS]


def test_thresholds_have_a_minimum_and_a_maximum() -> None:
    found = bounds(
        judged(
            (),
            Threshold(metric="accuracy", minimum=0.75),
            Threshold(metric="mae", head="score", maximum=4.0),
        )
    )
    assert set(found) == {"disease_scores/accuracy", "score/mae"}
    ((slices, accuracy),) = found["disease_scores/accuracy"]
    assert slices == [[]]
    assert accuracy.value_threshold.lower_bound.value == 0.75
    assert not accuracy.value_threshold.HasField("upper_bound")
    ((_, mae),) = found["score/mae"]
    assert mae.value_threshold.upper_bound.value == 4.0
    for one in (accuracy, mae):
        assert not one.HasField("change_threshold")


@pytest.mark.parametrize(
    ("metric", "head", "change"), [("accuracy", None, -0.5), ("rmse", "score", 0.5)]
)
def test_max_worsening_is_a_change_for_the_worse(
    metric: str, head: str | None, change: float
) -> None:
    found = bounds(judged((), Threshold(metric=metric, head=head, max_worsening=0.5)))
    (((_, threshold),),) = found.values()
    assert threshold.change_threshold.absolute.value == change


@pytest.mark.parametrize(
    ("metric", "head", "gain"),
    [
        ("accuracy", None, "disease_scores/accuracy_gain_over_baseline"),
        ("rmse", "score", "score/rmse_gain_over_baseline"),
    ],
)
def test_beyond_noise_bounds_the_gain_that_chance_does_not_explain(
    metric: str, head: str | None, gain: str
) -> None:
    found = bounds(
        judged(
            (),
            Threshold(metric=metric, head=head, max_worsening=0.5, beyond_noise=True),
        )
    )
    # The figure itself is left free; without a baseline that is all there is.
    assert set(found) == {gain, gain.removesuffix("_gain_over_baseline")}
    (((slices, threshold),),) = [found[gain]]
    assert (slices, threshold.value_threshold.lower_bound.value) == ([[]], -0.5)
    for ((_, one),) in found.values():
        assert not one.HasField("change_threshold")


def test_beyond_noise_may_hold_on_every_slice() -> None:
    one = Threshold(
        metric="accuracy", max_worsening=0.1, beyond_noise=True, every_slice=True
    )
    found = bounds(judged((("sex",),), one))
    for name in ("accuracy", "accuracy_gain_over_baseline"):
        (((slices, _),),) = [found[f"disease_scores/{name}"]]
        assert slices == [[], ["slice:sex"]]


def test_beyond_noise_needs_a_bound_and_a_metric_of_rows() -> None:
    alone = Threshold(metric="accuracy", minimum=0.5, beyond_noise=True)
    assert list(alone.problems()) == [
        "beyond_noise: says how max_worsening is taken; give that too."
    ]
    of_all = Threshold(
        metric="quadratic_weighted_kappa", max_worsening=0.1, beyond_noise=True
    )
    head = OrdinalHead("grade", ("low", "high"))
    one = samples.clinic_config(
        heads=(head,), evaluation=EvaluationConfig(thresholds=(of_all,))
    )
    with pytest.raises(ConfigError, match="beyond_noise draws rows anew and knows acc"):
        check_thresholds(one)


def test_allow_worse_than_constant_takes_the_bound_away() -> None:
    def gains(allow: bool, *thresholds: Threshold) -> set[str]:
        evaluation = EvaluationConfig(
            thresholds=thresholds, allow_worse_than_constant=allow
        )
        found = bounds(eval_config(samples.clinic_config(evaluation=evaluation)))
        return {name for name in found if name.endswith("_gain_over_constant")}

    own = {"disease_scores/accuracy", "score/mae"}
    assert gains(False) == {f"{name}_gain_over_constant" for name in own}
    assert gains(True) == set()
    # A threshold makes another metric the head's main one.
    rmse = Threshold(metric="rmse", head="score", maximum=9.0)
    assert "score/rmse_gain_over_constant" in gains(False, rmse)


@pytest.mark.parametrize(
    ("every_slice", "wanted"),
    [(False, [[]]), (True, [[], ["slice:sex"], ["slice:sex", "slice:site"]])],
)
def test_every_slice(every_slice: bool, wanted: list[list[str]]) -> None:
    one = Threshold(metric="accuracy", minimum=0.5, every_slice=every_slice)
    found = bounds(judged((("sex",), ("sex", "site")), one))
    (((slices, _),),) = found.values()
    assert slices == wanted


# ---- every key is in a list. What follows is no test of a key: see `test_every_key`.

HERE = "tests/contracts/test_config_keys.py"
_MODALITIES = "tests/contracts/test_modalities.py"
_FUSIONS = "tests/contracts/test_fusion_keys.py"
_ADAPTATION = "tests/trainer/test_adaptation.py"
_CALIBRATION = "tests/trainer/test_calibration.py"
_INTEGRITY = "tests/pipeline/test_integrity.py"
_STAGES = "tests/trainer/test_stage_config.py"
_DATASET = "tests/contracts/test_dataset.py"
_AUGMENTATION = "tests/trainer/test_augmentation.py"
_HEAD_KEYS = "tests/contracts/test_head_keys.py"
_SPLITS = "tests/pipeline/test_split_plan.py"
_HEAD_ROWS = "tests/pipeline/test_head_rows.py"
_SEQUENCE = "tests/contracts/test_images_keys.py"
_HEADS = "tests/trainer/test_heads.py"
_MODEL = "tests/trainer/test_model.py"
_MONITORING = "tests/contracts/test_monitoring_keys.py"
_SERVING = "tests/contracts/test_serving_keys.py"
_OPTIMIZER = "tests/trainer/test_optimizer.py"
_PRESETS = "tests/trainer/test_presets.py"
_TEXT = "tests/trainer/test_text.py"
_TRAIN = "tests/trainer/test_train.py"
_INGEST = "tests/pipeline/test_example_gen.py"
_WORKERS = "tests/pipeline/test_ingest_parquet.py"
_ROWS = "tests/pipeline/test_rows.py"


def _under(prefix: str, keys: str, file: str) -> dict[str, str]:
    return {f"{prefix}.{key}": file for key in keys.split()}


# One set of encoders for a picture and for the frames of a sequence.
_PICTURES = {
    **_under("resnet", "block filters blocks strides", HERE),
    **_under("efficientnet_v2", "width_coefficient depth_coefficient", HERE),
    **_under("preset", "preset", _PRESETS),
    **_under("conv", "filters kernel_size pool flatten dropout", HERE),
    **_under("mlp", "hidden_dims dropout", HERE),
}


def _objectives() -> dict[str, str]:
    """Each objective stands in the contract's cases, its own keys in its own tests."""
    own = {
        "supervised": ("test_heads", ""),
        "contrastive": (
            "test_contrastive",
            "pairs loss views masked_positions dim temperature",
        ),
        "masked_lm": ("test_masked_lm", "inputs rate whole_word"),
        "masked_image": ("test_masked_patches", "inputs rate patch normalize"),
        "masked_audio": ("test_masked_patches", "inputs rate frames normalize"),
        "matching": ("test_matching", "pairs temperature"),
        "mixmatch": (
            "test_mixmatch",
            "head augmentations anchor temperature alpha unlabelled_weight"
            " ramp_up_epochs",
        ),
        "pcl": (
            "test_pcl",
            "clusters momentum temperature smoothing warmup_epochs dim",
        ),
        "distillation": ("test_distillation", "teacher temperature feature_weight"),
    }
    out: dict[str, str] = {"objectives.mixmatch.labelled_share": _DATASET}
    for name, (file, keys) in own.items():
        out[f"objectives.{name}"] = "tests/contracts/test_objectives.py"
        out[f"objectives.{name}.weight"] = "tests/contracts/test_objective_keys.py"
        out |= _under(f"objectives.{name}", keys, f"tests/trainer/{file}.py")
    return out


# Dotted key -> the file of the test that shows its effect.
COVERED: dict[str, str] = {
    "name": HERE,
    "seed": _TRAIN,
    "embedding_dim": HERE,
    **_objectives(),
    **_under("data", "id", _ROWS),
    **_under("data", "max_quarantine_fraction", _INGEST),
    **_under("data", "beam_workers", _WORKERS),
    **_under("data", "max_file_bytes", HERE),
    **_under("data.integrity", "duplicates groups leaks confounders pairs", _INTEGRITY),
    **_under("data.split", "column group_by", _ROWS),
    **_under("data.split", "stratify seed by_time", _SPLITS),
    **_under("data.split", "train eval selection", HERE),
    **_under("data.split", "selection_fraction eval_fraction", HERE),
    **_under("inputs.image", "name column height width channels fit", HERE),
    **_under("inputs.image", "background max_pixels", HERE),
    **_under("inputs.image", "flip shift rotation", _AUGMENTATION),
    **{f"inputs.image.encoder.{key}": file for key, file in _PICTURES.items()},
    **{f"inputs.images.encoder.{key}": file for key, file in _PICTURES.items()},
    **_under("inputs.images", "name column height width channels fit", _SEQUENCE),
    **_under("inputs.images", "background max_pixels layers heads dropout", _SEQUENCE),
    **_under("inputs.images", "separator max_frames", "tests/pipeline/test_frames.py"),
    **_under("inputs.images", "flip shift rotation", "tests/trainer/test_images.py"),
    **_under("inputs.audio", "name column sample_rate_hz max_seconds", HERE),
    **_under("inputs.audio", "max_input_seconds frame_ms step_ms mel_bins", HERE),
    **_under("inputs.audio", "min_hz max_hz mask_frames mask_bins", HERE),
    **_under("inputs.audio", "shift_frames", HERE),
    **_under("inputs.audio.encoder.conv", "filters kernel_size pool dropout", HERE),
    **_under(
        "inputs.audio.encoder.transformer",
        "layers heads hidden_dim stride dropout",
        HERE,
    ),
    **_under("inputs.text", "name column max_tokens vocabulary_size", HERE),
    **_under("inputs.text", "lowercase max_characters", _TEXT),
    **_under("inputs.text", "token_dropout", HERE),
    **_under(
        "inputs.text.encoder.bert",
        "layers heads hidden_dim intermediate_dim dropout",
        HERE,
    ),
    **_under("inputs.text.encoder.preset", "preset", _PRESETS),
    **_under("inputs.text.encoder.bag", "hidden_dim ngram_buckets dropout", HERE),
    **_under("inputs.tabular", "name numeric categorical max_categories", HERE),
    **_under("inputs.tabular", "hidden_dims dropout", HERE),
    **_under("inputs.tabular.numeric", "name column", HERE),
    **_under("inputs.tabular.categorical", "name column", HERE),
    **_under("heads.classification", "name column allow_missing separator", HERE),
    **_under("heads.classification", "classes multi_label class_weights", _HEADS),
    **_under("heads.classification", "label_smoothing weight", _HEADS),
    **_under("heads.classification", "calibrate abstain_below", _CALIBRATION),
    **_under("heads.classification.abstain_below", "coverage risk", _CALIBRATION),
    "heads.classification.abstain_below.confidence": (
        "tests/trainer/test_calibration_rows.py"
    ),
    "heads.ordinal.calibrate": _CALIBRATION,
    **_under("heads.classification", "auxiliary_weight late_fusion", _MODEL),
    **_under("heads.regression", "name column allow_missing", HERE),
    **_under("heads.regression", "loss weight", _HEADS),
    **_under("heads.regression", "auxiliary_weight late_fusion", HERE),
    **_under("heads.ordinal", "name column allow_missing classes", _HEAD_ROWS),
    **_under("heads.ordinal", "method", "tests/trainer/test_ordinal.py"),
    **_under("heads.ordinal", "weight auxiliary_weight late_fusion", _HEAD_KEYS),
    **_under("heads.ranking", "name column group allow_missing", _HEAD_ROWS),
    **_under("heads.ranking", "loss gain top_k", "tests/trainer/test_ranking.py"),
    "heads.ranking.relevant_from": "tests/trainer/test_ranking.py",
    **_under("heads.ranking", "weight auxiliary_weight late_fusion", _HEAD_KEYS),
    **_under("heads.vqa", "name column allow_missing annotators", _HEAD_ROWS),
    **_under("heads.vqa", "separator lowercase", _HEAD_ROWS),
    **_under("heads.vqa", "max_answers", "tests/contracts/test_heads.py"),
    **_under("heads.vqa", "question loss top_k", "tests/trainer/test_vqa.py"),
    **_under("heads.vqa", "weight auxiliary_weight late_fusion", _HEAD_KEYS),
    **_under("heads.retrieval", "name pair dim weight", _HEAD_KEYS),
    **_under("heads.retrieval", "temperature match", "tests/trainer/test_retrieval.py"),
    **_under("fusion.concat", "dim hidden_dims dropout", HERE),
    **_under("fusion.gated", "dim dropout", HERE),
    **_under("fusion.attention", "dim layers heads dropout", HERE),
    **_under("fusion.low_rank", "dim rank dropout", _FUSIONS),
    **_under("fusion.film", "dim conditioned dropout", _FUSIONS),
    **_under("fusion.bottleneck", "dim bottlenecks layers fusion_layer", _FUSIONS),
    **_under("fusion.bottleneck", "heads dropout", _FUSIONS),
    **_under("fusion.perceiver", "dim latents blocks layers heads dropout", _FUSIONS),
    **_under("training", "batch_size shuffle_buffer cache", _DATASET),
    **_under("training", "learning_rate weight_decay warmup_fraction", _OPTIMIZER),
    **_under("training", "final_learning_rate_fraction clip_norm", _OPTIMIZER),
    **_under("training", "epochs ema_momentum precision", _TRAIN),
    **_under("training", "early_stopping_patience", _TRAIN),
    "training.monitor": "tests/trainer/test_monitor.py",
    **_under("training", "batch_norm_momentum", _MODEL),
    **_under("training", "modality_dropout jit_compile", HERE),
    "training.soup": _ADAPTATION,
    **_under("stages", "name from", _STAGES),
    **_under("stages", "freeze linear_probe layer_decay", _ADAPTATION),
    "stages.labelled_only": _DATASET,
    "stages.lora": _ADAPTATION,
    **_under("stages.lora", "rank alpha targets", _ADAPTATION),
    "stages.unfreeze": _ADAPTATION,
    **_under("stages.unfreeze", "groups every_epochs", _ADAPTATION),
    **_under("training.parameter_groups", "pattern", HERE),
    **_under("training.parameter_groups", "learning_rate_multiplier frozen", _OPTIMIZER),
    **_under("evaluation", "slices", HERE),
    "evaluation.compare": "tests/pipeline/test_comparison.py",
    **_under("evaluation.thresholds", "metric head minimum maximum", HERE),
    **_under("evaluation.thresholds", "max_worsening every_slice beyond_noise", HERE),
    "evaluation.allow_worse_than_constant": HERE,
    **_under("monitoring", "missing_rate numeric categorical label score", _MONITORING),
    **_under("monitoring", "embedding min_rows false_alarm_rate", _MONITORING),
    **_under("serving", "namespace grpc_port rest_port request_timeout_seconds", _SERVING),
    **_under("serving", "drain_seconds max_connection_age_seconds batching", _SERVING),
    **_under("serving", "intra_op_threads inter_op_threads", _SERVING),
    **_under("serving.batching", "max_batch_size batch_timeout_micros", _SERVING),
    **_under("serving.batching", "max_enqueued_batches num_batch_threads", _SERVING),
    **_under("serving.batching", "allowed_batch_sizes", _SERVING),
    **_under("serving.batching", "pad_variable_length_inputs", _SERVING),
    **_under("serving.versions", "policy latest specific labels", _SERVING),
    **_under("serving.request_log", "sampling_rate redact_inputs claim", _SERVING),
    **_under("serving.replicas", "minimum maximum", _SERVING),
    **_under("serving.resources", "cpu memory_mib gpus", _SERVING),
    **_under("serving.autoscaling", "cpu_utilization metric target", _SERVING),
    **_under("serving.autoscaling", "scale_down_seconds", _SERVING),
    **_under("serving.storage", "claim storage_class size_gib access_mode", _SERVING),
    **_under("serving.storage", "poll_seconds credentials_secret", _SERVING),
    **_under("serving.images", "tensorflow tensorflow_gpu python package", _SERVING),
    **_under("serving.images", "prometheus", _SERVING),
    **_under("serving.access", "client_namespaces monitoring_namespace", _SERVING),
    **_under("serving.access", "monitoring_labels", _SERVING),
}  # fmt: skip


def atoms(kind: Any) -> list[Any]:
    """What a type is made of: int and str of `tuple[int | str, ...]`."""
    if kind is Ellipsis:
        return []
    if typing.get_origin(kind) in (None, Literal):
        return [kind]
    return [atom for part in typing.get_args(kind) for atom in atoms(part)]


def keys(cls: Any, prefix: str = "") -> Iterator[str]:
    """The dotted keys: a union's part stands under its tag's value, a list's as one."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if field.name in TAGS and typing.get_origin(hints[field.name]) is Literal:
            continue
        path = f"{prefix}{key_of(field)}"
        if path in ("stages.training", "stages.objectives"):
            continue  # the keys of `training` and `objectives`, once more
        found = atoms(hints[field.name])
        nested = [atom for atom in found if dataclasses.is_dataclass(atom)]
        if len(nested) < len(found):
            yield path
        for one in nested:
            tag = tag_of(one)[1]
            yield from keys(one, f"{path}.{tag}." if tag else f"{path}.")


def test_every_key_has_a_test_that_shows_its_effect() -> None:
    found = list(keys(Config))
    assert len(found) == len(set(found)) > 100
    missing = sorted(set(found) - set(COVERED))
    assert not missing, (
        f"write a test of what they do, and name it in COVERED: {missing}"
    )
    assert not set(COVERED) - set(found), "no such keys any more"


@pytest.mark.parametrize("file", sorted(set(COVERED.values())))
def test_every_named_file_sets_the_keys_that_it_shows(file: str) -> None:
    path = Path(__file__).resolve().parents[2] / file
    assert path.is_file()
    # Not what lists the keys: that would prove itself.
    text = path.read_text(encoding="utf-8").split("\n# ---- every key is in a list.")[0]
    unset = [
        key
        for key in (key for key, named in COVERED.items() if named == file)
        # As an argument, a mapping's key, or the name of a parameter.
        if not re.search(rf'\b{key.rsplit(".")[-1]}(=|["\':])', text)
    ]
    assert not unset, f"{file} sets none of {unset}"
