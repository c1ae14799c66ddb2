"""Masked patches of pictures and stretches of sounds, in float64 NumPy."""

import math
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import samples
from tests.trainer.objective_cases import (
    RESOURCES,
    batch,
    float64,
    learner,
    of_inputs,
)
from trainer import config as c
from trainer import encoder_config as e
from trainer.model import build_network
from trainer.objectives._masked import standardized

RNG = np.random.default_rng(0)
HEADS = (samples.DISEASE,)
SILENCE = math.log(1e-3)


def objective(name: str, option: Any, *inputs: Any) -> Any:
    return learner(name, option, inputs=inputs, heads=HEADS).objectives[name]


def watched(one: Any, name: str) -> tuple[list[Any], np.ndarray]:
    """What is hidden, by `where.hidden`; and what the reader is made to answer."""
    where, queries, _ = one.parts[name]
    seen: list[Any] = []
    answer = RNG.normal(0, 1, (where.count, where.size))
    hide = where.hidden

    def hidden(x: Any, chosen: Any) -> Any:
        seen.append(np.asarray(chosen))
        return hide(x, chosen)

    def reader(asked: Any, _: Any) -> Any:
        assert asked.shape[1] == where.count
        return tf.tile(tf.constant(answer, tf.float32)[None], (asked.shape[0], 1, 1))

    where.hidden = hidden
    one.parts[name] = (where, queries, reader)
    return seen, answer


def standard(x: np.ndarray) -> np.ndarray:
    mean, deviation = x.mean(-1, keepdims=True), x.std(-1, keepdims=True)
    return np.asarray((x - mean) / np.maximum(deviation, 1e-12))


def patches(pixels: np.ndarray, side: int) -> np.ndarray:
    rows, height, width, channels = pixels.shape
    out = [
        pixels[:, i : i + side, j : j + side].reshape(rows, -1)
        for i in range(0, height, side)
        for j in range(0, width, side)
    ]
    return np.stack(out, axis=1) / 255


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("patch", [2, 4])
def test_the_loss_of_pictures_is_over_hidden_patches(
    normalize: bool, patch: int
) -> None:
    option = c.MaskedImageObjective(patch=patch, normalize=normalize, rate=0.5)
    one = objective("masked_image", option, samples.PHOTO, samples.FACTS)
    x, y = batch(5)
    x["photo_present"] = tf.constant([True, True, False, True, True])
    seen, answer = watched(one, "photo")
    got = float(one.loss(of_inputs(x, one.whole), y, {}, training=False))
    (hidden,) = seen
    assert hidden.shape == (5, (8 // patch) ** 2)
    assert not hidden[2].any()
    assert hidden[[0, 1, 3, 4]].any(1).all()
    target = patches(float64(x["photo_pixels"]), patch)
    if normalize:
        target = standard(target)
    wanted = ((answer - target) ** 2).mean(-1)[hidden].mean()
    assert got == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("normalize", [True, False])
def test_the_loss_of_sounds_is_over_hidden_stretches_with_sound(
    normalize: bool,
) -> None:
    option = c.MaskedAudioObjective(frames=5, normalize=normalize, rate=0.6)
    one = objective("masked_audio", option, samples.VOICE, samples.FACTS)
    x, y = batch(6)
    sound = np.array(x["voice_log_mel"])
    sound[0, 7:] = SILENCE  # two of five stretches, the second with two frames
    sound[1] = SILENCE
    x["voice_log_mel"] = tf.constant(sound)
    seen, answer = watched(one, "voice")
    got = float(one.loss(of_inputs(x, one.whole), y, {}, training=False))
    (hidden,) = seen
    assert hidden.shape == (6, 5)
    assert not hidden[0, 2:].any()
    assert hidden[0, :2].any()
    assert not hidden[1].any()
    padded = np.pad(sound, [(0, 0), (0, 2), (0, 0)], constant_values=SILENCE)
    target = padded.reshape(6, 5, 40).astype(np.float64)
    if normalize:
        target = standard(target)
    wanted = ((answer - target) ** 2).mean(-1)[hidden].mean()
    assert got == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "option", "one"),
    [
        ("masked_image", c.MaskedImageObjective, samples.PHOTO),
        ("masked_audio", c.MaskedAudioObjective, samples.VOICE),
    ],
)
def test_the_share_that_is_hidden(name: str, option: Any, one: Any) -> None:
    fine = {"patch": 1} if name == "masked_image" else {"frames": 1}
    found = objective(name, option(rate=0.3, **fine), one)
    seen, _ = watched(found, one.name)
    x, y = batch(40)
    found.loss(of_inputs(x, found.whole), y, {}, training=False)
    # 2560 patches or 920 frames: four standard errors are 0.036 and 0.06.
    assert seen[0].mean() == pytest.approx(0.3, abs=0.06)


@pytest.mark.parametrize(
    ("name", "option", "one"),
    [
        ("masked_image", c.MaskedImageObjective, samples.PHOTO),
        ("masked_audio", c.MaskedAudioObjective, samples.VOICE),
    ],
)
def test_only_the_inputs_that_are_named_are_hidden(
    name: str, option: Any, one: Any
) -> None:
    other = c.replace(one, name="other")
    for wanted, parts in ((None, {one.name, "other"}), (("other",), {"other"})):
        found = objective(name, option(inputs=wanted), one, other)
        assert set(found.parts) == parts


def test_a_flat_patch_becomes_zeros() -> None:
    flat = np.full((1, 2, 6), 0.7, np.float32)
    flat[0, 1] = [0, 1, 0, 1, 0, 1]
    got = np.asarray(standardized(tf.constant(flat)))
    np.testing.assert_allclose(got[0, 0], 0, atol=1e-3)
    np.testing.assert_allclose(got[0, 1], [-1, 1, -1, 1, -1, 1], atol=1e-4)


def test_the_other_inputs_are_in_sight_of_the_prediction() -> None:
    one = objective(
        "masked_image", c.MaskedImageObjective(), samples.PHOTO, samples.NOTE
    )
    _, queries, reader = one.parts["photo"]
    x, _ = batch(3)
    x = of_inputs(x, one.whole)

    def predicted(**changes: Any) -> np.ndarray:
        seen = one.network.still({**x, **changes}, training=False)
        return float64(reader(queries(tf.zeros((3, 4, 8))), seen))

    before = predicted()
    other = predicted(note_token_ids=tf.where(x["note_token_ids"] > 4, 5, 0))
    hidden = predicted(note_present=tf.zeros(3, tf.bool))
    assert (np.abs(before - other).max((1, 2)) > 1e-5).any()
    assert (np.abs(before - hidden).max((1, 2)) > 1e-5).all()


def test_a_masked_pass_sees_no_augmentation() -> None:
    """What is to be told would not lie where it was hidden."""
    keras.utils.set_random_seed(0)
    inputs = (
        c.replace(
            samples.PHOTO, flip=True, shift=0.3, rotation=0.2,
            encoder=e.MlpEncoder(hidden_dims=(4,), dropout=0.0),
        ),
        c.replace(
            samples.VOICE, mask_frames=9, mask_bins=4, shift_frames=3,
            encoder=e.TransformerAudioEncoder(
                layers=1, heads=1, hidden_dim=4, stride=4, dropout=0.0
            ),
        ),
        c.replace(samples.NOTE, token_dropout=0.5),
    )  # fmt: skip
    config = samples.clinic_config(inputs=inputs, heads=HEADS)
    network = build_network(config, RESOURCES)
    x, _ = batch(6)
    x = of_inputs(x, config)
    # The bands' normalization would differ in training: it is held still too.
    for layer in network.trunk._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    quiet = network.trunk(x, training=False)
    still = network.still(x, training=True)
    moved = network.trunk(x, training=True)
    for one in inputs:
        key = f"pooled:{one.name}"
        np.testing.assert_allclose(still[key], quiet[key], atol=1e-5)
        assert np.abs(np.asarray(moved[key]) - np.asarray(quiet[key])).max() > 1e-3
    assert {v.path for v in network.still.weights} == {
        v.path for v in network.trunk.weights
    }
    assert network.still.weights[0] is network.trunk.weights[0]
