"""Sequences of pictures: which frames are seen, what is masked, what time tells."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from serving.sequences import chosen, pack
from tests.trainer import samples
from trainer.config import ImagesInput, RegressionHead, replace
from trainer.encoder_config import SmallConvEncoder
from trainer.export import export, to_example
from trainer.gate import check
from trainer.modalities import MODALITIES, Resources
from trainer.model import build_model
from trainer.preprocessing import densify

CT = ImagesInput(
    "ct",
    height=4,
    width=4,
    channels=1,
    max_frames=4,
    heads=2,
    dropout=0.0,
    encoder=SmallConvEncoder(filters=(3,), pool=1, dropout=0.0),
)


def frame(level: int) -> bytes:
    return samples.encoded(np.full((4, 4, 1), level, np.uint8))


def prepared(*rows: bytes, one: ImagesInput = CT) -> dict[str, np.ndarray]:
    modality = MODALITIES["images"](one)
    traced = tf.function(lambda x: modality.preprocess({"ct": x}, Resources()))
    found: dict[str, Any] = traced(tf.constant(list(rows), tf.string))
    return {key: value.numpy() for key, value in found.items()}


def levels(found: dict[str, np.ndarray]) -> list[list[float]]:
    frames = found["ct_frames"]
    assert (np.ptp(frames, axis=(2, 3, 4)) == 0).all()
    rounded: list[list[float]] = frames[:, :, 0, 0, 0].round().tolist()
    return rounded


def test_frames_are_chosen_masked_and_filled() -> None:
    found = prepared(
        pack([frame(10 * i) for i in range(10)]),  # too many: evenly chosen
        pack([frame(1), frame(2)]),  # too few: filled in turn
        pack([frame(1), b"junk", frame(3), b""]),  # damaged ones are left out
        frame(7),  # a picture alone is a sequence of one
        b"",
        b"junk",
        pack([b"junk", b"junk"]),
        pack([frame(5)])[:-3],  # cut off on the way
    )
    nothing = [0, 0, 0, 0]
    assert found["ct_frame_mask"].tolist() == [
        [1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0],
        nothing, nothing, nothing, nothing,
    ]  # fmt: skip
    assert levels(found) == [
        [10, 30, 60, 80], [1, 2, 1, 2], [1, 3, 3, 3], [7, 7, 7, 7],
        nothing, nothing, nothing, nothing,
    ]  # fmt: skip
    assert found["ct_present"].tolist() == [True] * 4 + [False] * 4


@pytest.mark.parametrize("most", [1, 2, 3, 7])
def test_the_graph_chooses_as_the_client_and_ingestion_do(most: int) -> None:
    one = replace(CT, max_frames=most)
    rows = [pack([frame(i) for i in range(count)]) for count in range(1, 24)]
    found = prepared(*rows, one=one)
    for count, row, mask in zip(
        range(1, 24), levels(found), found["ct_frame_mask"], strict=True
    ):
        wanted = chosen(count, most)
        assert row[: len(wanted)] == wanted
        assert mask.tolist() == [1] * len(wanted) + [0] * (most - len(wanted))


def encoder(one: ImagesInput, dim: int = 6) -> keras.Model:
    keras.utils.set_random_seed(0)
    modality = MODALITIES["images"](one)
    specs = modality.specs(Resources())
    inputs = {k: keras.Input(s, dtype=d, name=k) for k, (s, d) in specs.items()}
    result = modality.encoder(inputs, dim, Resources())
    model = keras.Model(
        inputs, {"tokens": result.tokens, "mask": result.mask, "pooled": result.pooled}
    )
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0, 0.5, variable.shape))
    return model


def batch(mask: list[list[int]], seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    shape = (len(mask), 4, 4, 4, 1)
    return {
        "ct_frames": tf.constant(rng.uniform(0, 255, shape), tf.float32),
        "ct_frame_mask": tf.constant(mask, tf.int32),
    }


def test_every_frame_goes_through_one_backbone() -> None:
    model = encoder(CT)
    paths = [v.path for v in model.variables]
    assert len([p for p in paths if p.endswith("conv_0/kernel")]) == 1
    x = batch([[1, 1, 1, 1]])
    out = model(x)
    assert out["tokens"].shape == (1, 4, 6)
    assert out["mask"].numpy().tolist() == [[True] * 4]
    # Without layers over time, a frame's token is its own.
    still = encoder(replace(CT, layers=0))
    base = np.asarray(still(x)["tokens"])
    changed = x["ct_frames"].numpy()
    changed[:, 2] = 255 - changed[:, 2]
    got = np.asarray(still({**x, "ct_frames": tf.constant(changed)})["tokens"])
    same = [0, 1, 3]
    np.testing.assert_allclose(got[:, same], base[:, same], atol=1e-6)
    assert np.abs(got[:, 2] - base[:, 2]).max() > 1e-3


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_masked_frames_have_no_influence(layers: int) -> None:
    model = encoder(replace(CT, layers=layers))
    mask = [[1, 1, 0, 0], [0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]]
    first, second = batch(mask), batch(mask, seed=1)
    shown = np.array(mask, bool)[:, :, None, None, None]
    mixed = np.where(shown, first["ct_frames"], second["ct_frames"])
    base = model(first)
    got = model({**first, "ct_frames": tf.constant(mixed)})
    np.testing.assert_allclose(got["pooled"], base["pooled"], atol=1e-5)
    here = np.array(mask, bool)
    np.testing.assert_allclose(
        np.asarray(got["tokens"])[here], np.asarray(base["tokens"])[here], atol=1e-5
    )
    assert np.isfinite(base["pooled"]).all()
    everything = model({**first, "ct_frame_mask": tf.ones((4, 4), tf.int32)})
    assert np.abs(np.asarray(everything["pooled"]) - base["pooled"]).max() > 1e-3


@pytest.mark.parametrize(("layers", "counts"), [(0, False), (1, True)])
def test_layers_see_the_order_of_frames(layers: int, counts: bool) -> None:
    model = encoder(replace(CT, layers=layers))
    x = batch([[1, 1, 1, 1]])
    steps = tf.constant([0.0, 60.0, 140.0, 255.0])
    x["ct_frames"] = tf.zeros((1, 4, 4, 4, 1)) + steps[None, :, None, None, None]
    turned = {**x, "ct_frames": x["ct_frames"][:, ::-1]}
    difference = np.abs(np.asarray(model(x)["pooled"]) - model(turned)["pooled"])
    assert (difference.max() > 1e-4) == counts


@pytest.mark.parametrize("change", [{"flip": True}, {"shift": 0.3}, {"rotation": 0.2}])
def test_a_sequence_moves_as_a_whole(change: dict[str, Any]) -> None:
    one = replace(CT, **change)
    model = encoder(one)
    moved = keras.Model(
        model.input,
        next(o for o in model.operations if o.name == "inputs.ct.scale").input,
    )
    x = batch([[1, 1, 1, 1]] * 8)
    same = tf.repeat(x["ct_frames"][:, :1], 4, axis=1)
    pixels = np.asarray(moved({**x, "ct_frames": same}, training=True))
    pixels = pixels.reshape(8, 4, 4, 4, 1)
    for other in range(1, 4):
        np.testing.assert_allclose(pixels[:, other], pixels[:, 0], atol=1e-3)
    assert np.abs(pixels[:, 0] - same[:, 0]).max() > 10
    quiet = np.asarray(moved({**x, "ct_frames": same}, training=False))
    np.testing.assert_allclose(quiet.reshape(same.shape), same, atol=1e-4)


def test_batch_norm_sees_pictures_only() -> None:
    """Its statistics over short rows are those of their frames, not of padding."""
    model = encoder(CT)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    # Convolution with a kernel of ones in the middle: the frame's own level.
    kernel = np.zeros((3, 3, 1, 3), np.float32)
    kernel[1, 1] = 1.0
    model.get_layer("inputs.ct.conv_0").kernel.assign(kernel)
    rows = prepared(
        *(pack([frame(level)] * count) for level, count in ((50, 1), (200, 4)))
    )
    model(
        {k: tf.constant(rows[k]) for k in ("ct_frames", "ct_frame_mask")}, training=True
    )
    # Levels on [-1, 1], half of the places each: no zeros of padding among them.
    low, high = 50 / 127.5 - 1, 200 / 127.5 - 1
    norm = model.get_layer("inputs.ct.norm_0")
    np.testing.assert_allclose(norm.moving_mean, (low + high) / 2, atol=1e-4)
    np.testing.assert_allclose(norm.moving_variance, ((high - low) / 2) ** 2, rtol=1e-2)


@pytest.mark.parametrize(
    ("precision", "jit_compile"), [("mixed_bfloat16", True), ("mixed_float16", False)]
)
def test_mixed_precision_and_xla(precision: str, jit_compile: bool) -> None:
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        model = encoder(replace(CT, flip=True))
    finally:
        keras.config.set_dtype_policy(previous)
    weights = [v.value for v in model.trainable_variables]
    x = batch([[1, 1, 0, 0], [0, 0, 0, 0]])

    @tf.function(jit_compile=jit_compile)
    def step() -> Any:
        with tf.GradientTape() as tape:
            pooled = tf.cast(model(x, training=True)["pooled"], tf.float32)
            loss = tf.reduce_mean(tf.square(pooled - 1.0))
        return loss, tape.gradient(loss, weights)

    loss, slopes = step()
    assert np.isfinite(loss)
    for variable, slope in zip(model.trainable_variables, slopes, strict=True):
        assert np.isfinite(slope).all(), variable.path


@pytest.mark.slow
def test_it_is_served_with_the_load_gate_passed(tmp_path: Any) -> None:
    config = samples.clinic_config(
        inputs=(CT,), heads=(RegressionHead("score"),), embedding_dim=6
    )
    resources = Resources(statistics={"score": (0.0, 1.0)})
    model = build_model(config, resources)
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.1, 0.6, w.shape) for w in model.get_weights()])

    @tf.function
    def transform(stored: dict[str, Any]) -> dict[str, Any]:
        dense = densify(config, stored)
        if "score" in dense:
            dense["weight:score"] = tf.ones_like(dense["score"])
        return dense

    rows: list[dict[str, Any]] = [
        {"ct": pack([frame(10 * i) for i in range(6)]), "score": 1.0},
        {"ct": pack([frame(3), b"junk"]), "score": 2.0},
        {"ct": frame(99), "score": 0.0},
        {"score": 0.0},
    ]
    folder = str(tmp_path / "1")
    export(config, model, resources, transform, folder)
    examples = [to_example(row) for row in rows]
    check(folder, config, model, resources, transform, examples)
    loaded = tf.saved_model.load(folder)
    ct = tf.constant([row.get("ct", b"") for row in rows])
    answers = loaded.signatures["serving_raw"](ct=ct)
    assert answers["ct_present"].numpy().tolist() == [True, True, True, False]
    # Answered together as alone, however many frames the others have.
    alone = loaded.signatures["serving_raw"](ct=ct[1:2])
    np.testing.assert_allclose(alone["score"], answers["score"][1:2], atol=1e-4)
