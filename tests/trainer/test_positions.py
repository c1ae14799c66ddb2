"""Where inputs can be hidden, against NumPy and by hand."""

import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import samples
from tests.trainer.objective_cases import RESOURCES, VOCABULARY, batch
from trainer import config as c
from trainer.modalities import MODALITIES
from trainer.positions import (
    ColumnPositions,
    PatchPositions,
    StretchPositions,
    TokenPositions,
)

SILENCE = math.log(1e-3)
X, _ = batch(3)


def positions(one: Any, size: int | None = None) -> Any:
    return MODALITIES[one.modality](one).positions(RESOURCES, size)


def choice(count: int, *chosen: tuple[int, int]) -> tf.Tensor:
    """bool [3, count], true at (row, position)."""
    out = np.zeros((3, count), bool)
    for at in chosen:
        out[at] = True
    return tf.constant(out)


def changed(before: dict[str, Any], after: dict[str, Any], key: str) -> np.ndarray:
    """Where a tensor differs; all others must not."""
    for other in before:
        if other != key:
            np.testing.assert_array_equal(before[other], after[other])
    return np.asarray(before[key]) != np.asarray(after[key])


def test_only_words_of_a_text_are_candidates() -> None:
    where = positions(samples.NOTE)
    assert isinstance(where, TokenPositions)
    #        [CLS] fever [UNK] [MASK] cough [SEP] and two of padding that look like words
    ids = tf.constant([[2, 6, 1, 4, 10, 3, 7, 8]])
    mask = tf.constant([[1, 1, 1, 1, 1, 1, 0, 0]])
    got = where.candidates({"note_token_ids": ids, "note_padding_mask": mask})
    assert got.numpy()[0].tolist() == [
        False, True, False, False, True, False, False, False
    ]  # fmt: skip
    assert where.ordinary_ids.numpy().tolist() == [5, 6, 7, 8, 9, 10]


def test_pieces_belong_to_the_word_that_began_before_them() -> None:
    # [CLS] fever ##ish ##ish no 发 [SEP] [PAD]: ##ish goes on with what stands before it.
    ids = tf.constant([[2, 6, 7, 7, 5, 8, 3, 0], [7, 7, 6, 7, 3, 0, 0, 0]])
    got = positions(samples.NOTE).word_starts(ids)
    assert got.numpy().tolist() == [[0, 1, 1, 1, 4, 5, 6, 7], [0, 0, 2, 2, 4, 5, 6, 7]]


def test_hidden_tokens_become_mask_tokens() -> None:
    where = positions(samples.NOTE)
    after = where.hidden(X, choice(8, (0, 1), (2, 2)))
    assert np.argwhere(changed(X, after, "note_token_ids")).tolist() == [[0, 1], [2, 2]]
    assert VOCABULARY[int(after["note_token_ids"][0, 1])] == "[MASK]"


def test_patches_are_cut_row_by_row() -> None:
    where = positions(samples.PHOTO, 4)  # of 8 x 8 pixels: two by two
    assert isinstance(where, PatchPositions)
    assert (where.count, where.size) == (4, 48)
    got = np.asarray(where.values(X))
    pixels = np.asarray(X["photo_pixels"]) / 255
    for i, (y, x) in enumerate([(0, 0), (0, 4), (4, 0), (4, 4)]):
        patch = pixels[:, y : y + 4, x : x + 4].reshape(3, 48)
        np.testing.assert_allclose(got[:, i], patch, rtol=1e-6)
    after = where.hidden(X, choice(4, (1, 2)))
    at = changed(X, after, "photo_pixels")
    assert at[1, 4:, :4].all()
    assert at.sum() == 48
    assert (after["photo_pixels"].numpy()[1, 4:, :4] == 127.5).all()
    assert where.candidates(X).numpy().all()


def test_a_picture_without_a_size_has_sixteen_cells_of_any_shape() -> None:
    one = c.ImageInput("photo", height=9, width=6, channels=1)
    where = positions(one)
    assert where.count == 16
    picture = {"photo_pixels": tf.zeros((3, 9, 6, 1))}
    hidden = where.hidden(picture, choice(16, (0, 5)))["photo_pixels"].numpy()[
        0, ..., 0
    ]
    # 9 rows in four: 0-2, 3-4, 5-6, 7-8; 6 columns: 0-1, 2, 3-4, 5.
    wanted = np.zeros((9, 6))
    wanted[3:5, 2:3] = 127.5
    np.testing.assert_array_equal(hidden, wanted)
    tiny = positions(c.ImageInput("photo", height=2, width=3))
    assert tiny.count == 6


def test_only_stretches_with_sound_are_candidates() -> None:
    where = positions(samples.VOICE, 4)  # 23 frames of 8 bins: six stretches
    assert isinstance(where, StretchPositions)
    assert (where.count, where.size) == (6, 32)
    sound = np.full((3, 23, 8), SILENCE, np.float32)
    sound[0, :9] = -2.0  # two stretches, and the first frame of the third
    sound[1, 22, 3] = SILENCE + 0.1
    got = where.candidates({"voice_log_mel": tf.constant(sound)}).numpy()
    assert got.tolist() == [
        [True, True, True, False, False, False],
        [False] * 5 + [True],
        [False] * 6,
    ]


def test_stretches_and_what_the_last_one_lacks() -> None:
    where = positions(samples.VOICE, 4)
    got = np.asarray(where.values(X))
    sound = np.asarray(X["voice_log_mel"])
    np.testing.assert_array_equal(got[:, 1], sound[:, 4:8].reshape(3, 32))
    np.testing.assert_array_equal(got[:, 5, :24], sound[:, 20:].reshape(3, 24))
    np.testing.assert_allclose(got[:, 5, 24:], SILENCE)
    after = where.hidden(X, choice(6, (0, 5), (2, 1)))
    at = changed(X, after, "voice_log_mel")
    assert at[0, 20:].all()
    assert at[2, 4:8].all()
    assert at.sum() == (3 + 4) * 8
    np.testing.assert_allclose(after["voice_log_mel"].numpy()[at], SILENCE)


def test_hidden_columns_are_missing() -> None:
    where = positions(samples.FACTS)  # age and height, city
    assert isinstance(where, ColumnPositions)
    numbers = tf.constant([[0.5, 0.0, 0, 1], [1.0, 2.0, 0, 0]])
    table = {"facts_numeric": numbers, "facts_categorical": tf.constant([[0], [3]])}
    got = where.candidates(table).numpy()
    assert got.tolist() == [[True, False, False], [True] * 3]
    after = where.hidden(
        table, tf.constant([[True, False, False], [False, True, True]])
    )
    assert after["facts_numeric"].numpy().tolist() == [[0, 0, 1, 1], [1, 0, 0, 1]]
    assert after["facts_categorical"].numpy().tolist() == [[0], [0]]


@pytest.mark.parametrize(
    ("numeric", "categorical", "count"), [(("age",), (), 1), ((), ("city",), 1)]
)
def test_a_table_of_one_kind(
    numeric: tuple[str, ...], categorical: tuple[str, ...], count: int
) -> None:
    one = c.TabularInput("facts", numeric=numeric, categorical=categorical)
    where = positions(one)
    table = (
        {"facts_numeric": tf.constant([[2.0, 0.0]])}
        if numeric
        else {"facts_categorical": tf.constant([[2]])}
    )
    assert where.candidates(table).numpy().tolist() == [[True]]
    (after,) = where.hidden(table, tf.constant([[True]])).values()
    assert after.numpy().tolist() == ([[0.0, 1.0]] if numeric else [[0]])


@pytest.mark.parametrize(
    ("one", "key"),
    [
        (samples.NOTE, "note_token_ids"),
        (samples.PHOTO, "photo_pixels"),
        (samples.VOICE, "voice_log_mel"),
    ],
)
def test_replaced_positions_are_anothers(one: Any, key: str) -> None:
    where = positions(one)
    others = {k: tf.roll(v, 1, 0) for k, v in X.items()}
    after = where.replaced(X, choice(where.count, (1, 1)), others)
    at = changed(X, after, key)
    hidden = changed(X, where.hidden(X, choice(where.count, (1, 1))), key)
    np.testing.assert_array_equal(
        after[key].numpy()[hidden], others[key].numpy()[hidden]
    )
    assert not at[~hidden].any()


def test_a_modality_need_not_have_any() -> None:
    from trainer.modalities.base import Modality

    assert Modality.positions(MODALITIES["text"](samples.NOTE), RESOURCES) is None
