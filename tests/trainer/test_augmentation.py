"""What is random in training, and nowhere else."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.config import ImageInput
from trainer.layers import MaskedMean, MissingToken, ModalityDropout
from trainer.modalities._pictures import augmentation
from trainer.modalities._spectrogram import SpecAugment
from trainer.modalities.text import TokenDropout, TokenPairs


@pytest.fixture(autouse=True)
def _seed() -> None:
    keras.utils.set_random_seed(0)


def test_modality_dropout_hides_at_its_rate_and_keeps_one() -> None:
    patterns = [[True] * 3, [True, True, False], [False, True, False], [False] * 3]
    present = np.repeat(patterns, 4000, axis=0)
    layer = ModalityDropout(0.4, seed=0)
    shown = np.asarray(layer(tf.constant(present), training=True))
    assert not (shown & ~present).any()
    assert (shown.any(-1) == present.any(-1)).all()
    # An input of n goes with 0.4, unless all do and it had the highest draw:
    # 0.4 - 0.4^n / n; four standard errors of 4000 draws are 0.031.
    for rows, n in ((slice(0, 4000), 3), (slice(4000, 8000), 2)):
        kept = shown[rows][:, :n].mean(0)
        np.testing.assert_allclose(kept, 1 - (0.4 - 0.4**n / n), atol=0.031)


@pytest.mark.parametrize(("rate", "training"), [(0.4, False), (0.0, True)])
def test_modality_dropout_is_off(rate: float, training: bool) -> None:
    present = tf.constant([[True, False, True]] * 50)
    got = ModalityDropout(rate, seed=0)(present, training=training)
    np.testing.assert_array_equal(got, present)


def test_modality_dropout_of_a_saved_model_draws_as_it_did() -> None:
    present = tf.constant([[True, True, True]] * 200)
    config = ModalityDropout(0.4, seed=7).get_config()
    assert (config["rate"], config["seed"]) == (0.4, 7)
    drawn = [
        np.asarray(layer(present, training=True))
        for layer in (
            ModalityDropout(0.4, seed=7),
            ModalityDropout.from_config(config),
            ModalityDropout(0.4, seed=0),
        )
    ]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any()


SPECIAL = (0, 2, 3)


def test_token_dropout_replaces_its_share_and_no_special_token() -> None:
    ids = np.tile([2, 7, 8, 9, 3, 0], (2000, 1))
    layer = TokenDropout(0.25, 1, SPECIAL)
    got = np.asarray(layer(tf.constant(ids), training=True))
    assert set(got[got != ids]) == {1}
    np.testing.assert_array_equal(got[:, [0, 4, 5]], ids[:, [0, 4, 5]])
    # 6000 draws: four standard errors are 0.023.
    assert (got != ids).sum() / 6000 == pytest.approx(0.25, abs=0.023)
    np.testing.assert_array_equal(layer(tf.constant(ids)), ids)


def test_token_pairs_depend_on_the_token_and_its_successor() -> None:
    ids = tf.constant([[5, 6, 7], [6, 5, 6], [100000, 250000, 1]])
    got = np.asarray(TokenPairs(64)(ids))
    assert got.min() >= 0
    assert got.max() < 64
    assert got[0, 0] == got[1, 1]  # both 5, 6

    def hashed(token: int, following: int) -> int:
        wrapped = (token * 1000003 + following * 7919 + 31 + 2**31) % 2**32 - 2**31
        return wrapped % 64

    wanted = [[hashed(a, b) for a, b in zip(r, [*r[1:], 0], strict=True)]
              for r in ids.numpy().tolist()]  # fmt: skip
    np.testing.assert_array_equal(got, wanted)


def test_spec_augment_masks_one_stripe_of_bounded_width_each_way() -> None:
    x = tf.ones([500, 20, 10])
    got = np.asarray(SpecAugment(frames=5, bins=3)(x, training=True))
    frames, bins = (got == 0).all(2), (got == 0).all(1)
    assert 0 < frames.sum(1).max() <= 6
    assert 0 < bins.sum(1).max() <= 4
    assert (frames.sum(1) > 0).mean() > 0.5
    for stripe in (*frames, *bins):
        at = np.flatnonzero(stripe)
        assert len(at) == 0 or len(at) == at[-1] - at[0] + 1
    np.testing.assert_array_equal(got == 0, frames[:, :, None] | bins[:, None])


def test_spec_augment_shifts_whole_frames() -> None:
    x = np.tile(np.arange(20.0, dtype=np.float32)[None, :, None], (200, 1, 4))
    got = np.asarray(SpecAugment(shift=3)(tf.constant(x), training=True))
    by = got[:, 10, 0] - 10
    assert set(by) == {-3, -2, -1, 0, 1, 2, 3}
    for row, shift in zip(got, by, strict=True):
        wanted = np.clip(np.arange(20) + shift, 0, 19)
        np.testing.assert_array_equal(row, np.tile(wanted[:, None], (1, 4)))


def test_spec_augment_is_off_in_inference() -> None:
    x = tf.ones([3, 20, 10])
    np.testing.assert_array_equal(SpecAugment(9, 9, 9)(x), x)


@pytest.mark.parametrize("change", [{"flip": True}, {"shift": 0.3}, {"rotation": 0.2}])
def test_pictures_are_changed_in_training_only(change: dict[str, Any]) -> None:
    (layer,) = augmentation(ImageInput("p", **change))
    x = np.zeros((16, 8, 8, 3), np.float32)
    x[:, 2:5, 1:3] = 200.0
    moved = np.asarray(layer(tf.constant(x), training=True))
    np.testing.assert_array_equal(layer(tf.constant(x), training=False), x)
    assert np.abs(moved - x).max() > 50
    if "flip" in change:
        for row in moved:
            assert (row == x[0]).all() or (row == x[0][:, ::-1]).all()
    else:
        assert moved.max() > 250  # the white background comes in at the edges


def test_no_augmentation_unless_asked_for() -> None:
    assert augmentation(ImageInput("p")) == []


def test_masked_mean_is_over_the_real_tokens() -> None:
    tokens = tf.constant([[[1.0], [3.0], [50.0]], [[7.0], [8.0], [9.0]]])
    mask = tf.constant([[True, True, False], [False] * 3])
    np.testing.assert_allclose(MaskedMean()(tokens, mask), [[2.0], [0.0]])


def test_the_missing_token_stands_where_an_input_is_absent() -> None:
    layer = MissingToken()
    layer.build((None, 2))
    layer.token.assign([8.0, 9.0])
    got = layer(tf.constant([[1.0, 2.0], [3.0, 4.0]]), tf.constant([True, False]))
    np.testing.assert_array_equal(got, [[1, 2], [8, 9]])
