"""Matching: how negatives are drawn, what is judged, and the loss, in NumPy."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import samples
from tests.trainer.objective_cases import (
    RESOURCES,
    SMALL,
    StandIn,
    batch,
    float64,
    of_inputs,
    softmax,
)
from trainer import config as c
from trainer.learner import Learner
from trainer.model import build_network
from trainer.objectives.matching import Matching

RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(0, 1, (3, 1))
INPUTS = (samples.NOTE, samples.FACTS, samples.PHOTO)
NAMES = [one.name for one in INPUTS]


def trunk(x: Any) -> dict[str, Any]:
    """A fused embedding in which every input leaves a trace, where it is there."""
    note = tf.cast(tf.reduce_sum(x["note_token_ids"], 1), tf.float32) / 40
    facts = tf.reduce_sum(x["facts_numeric"], 1)
    photo = tf.reduce_mean(x["photo_pixels"], (1, 2, 3)) / 255
    shown = tf.stack([x[f"{name}_present"] for name in NAMES], axis=1)
    values = tf.stack([note, note * facts, photo], axis=1)
    return {
        "fused:": tf.where(shown, values, 0.0),
        "shown:": tf.logical_and(shown, x["note_token_ids"][:, :1] > 0),
    }


def matching(option: c.MatchingObjective, rows: int = 6) -> tuple[Any, Any]:
    config = samples.clinic_config(
        inputs=INPUTS, heads=(samples.DISEASE,),
        objectives=c.ObjectivesConfig(supervised=None, matching=option),
    )  # fmt: skip
    one = Matching(option, config, RESOURCES)
    one.build(StandIn(trunk, None, {"fused:": (None, 3)}), {"matching": one})
    for judge in one.judges.values():
        judge.kernel.assign(WEIGHTS)
    return one, of_inputs(batch(rows)[0], config)


def test_negatives_are_drawn_by_the_softmax_of_likeness() -> None:
    one, _ = matching(c.MatchingObjective(temperature=0.5))
    # Only the first four rows may be drawn; 2,000 others draw among them.
    cosines, rows = np.array([0.9, 0.5, -0.2, 0.1]), 2004
    alike = np.zeros((rows, rows), np.float32)
    alike[:, :4] = cosines
    valid = np.arange(rows) < 4
    got = np.asarray(one.negatives(tf.constant(alike), tf.constant(valid)))
    counts = np.bincount(got[4:], minlength=4)
    wanted = softmax(cosines / 0.5)
    error = 4 * np.sqrt(wanted * (1 - wanted) / 2000)
    assert (np.abs(counts / 2000 - wanted) < error).all()


def test_a_negative_is_never_the_row_itself_nor_an_invalid_one() -> None:
    one, _ = matching(c.MatchingObjective(temperature=0.01))
    valid = np.arange(60) % 3 > 0
    # The row itself is by far the most alike.
    got = np.asarray(one.negatives(100.0 * tf.eye(60), tf.constant(valid)))
    assert (got != np.arange(60)).all()
    assert valid[got].all()
    assert len(set(got)) > 20


def fixed(one: Any, *choices: list[int]) -> None:
    """The rows that `negatives` gives, in the order in which it is asked."""
    left = list(choices)
    one.negatives = lambda alike, valid: tf.constant(left.pop(0))


def entropy(logit: np.ndarray, label: float) -> np.ndarray:
    p = 1 / (1 + np.exp(-logit))
    return -(label * np.log(p) + (1 - label) * np.log(1 - p))


def test_the_loss_is_binary_cross_entropy_on_one_right_and_two_wrong_pairs() -> None:
    one, x = matching(c.MatchingObjective(pairs=(("note", "facts"),)))
    x["facts_present"] = tf.constant([True, True, False, True, True, True])
    # Modality dropout hides the note of row 5 (its first token is padding).
    ids = np.array(x["note_token_ids"])
    ids[5, 0] = 0
    x["note_token_ids"] = tf.constant(ids)
    at_facts, at_note = [1, 0, 0, 4, 3, 1], [3, 4, 0, 5, 0, 4]
    fixed(one, at_facts, at_note)
    got = float(one.loss(x, {}, trunk(x), training=True))

    note = float64(tf.reduce_sum(x["note_token_ids"], 1)) / 40
    facts = float64(tf.reduce_sum(x["facts_numeric"], 1))
    valid = np.array([1, 1, 0, 1, 1, 1], bool)
    total, count = 0.0, 0
    for label, i, j in (
        (1.0, np.arange(6), np.arange(6)),
        (0.0, np.arange(6), np.array(at_facts)),
        (0.0, np.array(at_note), np.arange(6)),
    ):
        logit = note[i] * WEIGHTS[0, 0] + note[i] * facts[j] * WEIGHTS[1, 0]
        counted = valid & (i != 5)
        total += entropy(logit, label)[counted].sum()
        count += counted.sum()
    assert count == 4 + 4 + 4  # row 2 lacks a side, and 5's note is hidden
    assert got == pytest.approx(total / count, rel=1e-4)
    # The picture takes no part.
    assert not any(
        np.asarray(asked["photo_present"]).any() for asked in one.network.asked
    )


def test_of_several_pairs_the_mean() -> None:
    option = c.MatchingObjective(pairs=(("note", "facts"), ("photo", "note")))
    one, x = matching(option)
    assert one.pairs == [("note", "facts"), ("photo", "note")]
    found = []
    for pair in one.pairs:
        fixed(one, [1, 2, 3, 4, 5, 0], [1, 2, 3, 4, 5, 0])
        found.append(float(one._pair(pair, x, trunk(x), training=True)))
    fixed(one, *[[1, 2, 3, 4, 5, 0]] * 4)
    got = float(one.loss(x, {}, trunk(x)))
    assert got == pytest.approx(np.mean(found), rel=1e-5)
    assert len(set(found)) == 2
    every, _ = matching(c.MatchingObjective())
    assert every.pairs == [("note", "facts"), ("note", "photo"), ("facts", "photo")]


@pytest.mark.parametrize("rows", [1, 6])
def test_a_row_without_another_is_no_pair(rows: int) -> None:
    one, x = matching(c.MatchingObjective(pairs=(("note", "facts"),)), rows)
    x["note_present"] = tf.constant(np.arange(rows) == 0)
    assert float(one.loss(x, {}, trunk(x))) == 0


def test_the_temperature_reaches_the_draw() -> None:
    one, _ = matching(c.MatchingObjective(temperature=1e-3))
    alike = RNG.uniform(-1, 1, (30, 30)).astype(np.float32)
    got = np.asarray(one.negatives(tf.constant(alike), tf.ones(30, tf.bool)))
    np.testing.assert_array_equal(got, (alike - 9 * np.eye(30)).argmax(1))


RETRIEVAL = c.RetrievalHead("found", pair=("facts", "note"), dim=3, match="fused")


def alike(heads: Any = (samples.DISEASE,), **objectives: Any) -> tuple[Any, Any, Any]:
    """A learner, what it makes of five rows, and how alike their notes and facts are."""
    keras.utils.set_random_seed(0)
    config = samples.clinic_config(
        inputs=SMALL["inputs"],
        heads=heads,
        objectives=c.ObjectivesConfig(
            supervised=None, matching=c.MatchingObjective(), **objectives
        ),
    )
    one = Learner(build_network(config, RESOURCES), config, RESOURCES)
    outputs = one(of_inputs(batch(5)[0], config), training=False)
    found = one.objectives["matching"]
    assert isinstance(found, Matching)
    return one, outputs, found._alike(("note", "facts"), outputs, 5)


def test_likeness_is_the_contrastive_objectives() -> None:
    one, outputs, got = alike(contrastive=c.ContrastiveObjective(dim=4))
    vectors = one.objectives["contrastive"].projected(outputs)
    wanted = float64(vectors["note"]) @ float64(vectors["facts"]).T
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_or_that_of_the_retrieval_head() -> None:
    _, outputs, got = alike(heads=(samples.DISEASE, RETRIEVAL))
    logits = float64(outputs["found"])
    assert logits.shape == (5, 8)
    facts, note = logits[:, :3], logits[:, 3:6]
    np.testing.assert_allclose(got, note @ facts.T, atol=1e-5)


def test_or_all_are_as_likely() -> None:
    _, _, got = alike()
    np.testing.assert_array_equal(got, np.zeros((5, 5)))


def test_a_retrieval_head_that_matches_is_what_learns() -> None:
    one, outputs, _ = alike(heads=(RETRIEVAL,))
    objective = one.objectives["matching"]
    assert objective.judges == {}
    layer = one.model.get_layer("heads.found.logits")
    kernel = layer.judge.kernel
    x = of_inputs(batch(5)[0], one.network.config)
    with tf.GradientTape() as tape:
        loss = objective.loss(x, {}, one(x, training=False), training=False)
    assert np.abs(np.asarray(tape.gradient(loss, kernel.value))).max() > 1e-4
    # Right pairs are judged by what the head answers.
    found, fused = float64(outputs["found"]), float64(outputs["fused:"])
    a, b = found[:, : layer.dim], found[:, layer.dim : 2 * layer.dim]
    cosine = np.sum(a * b, -1)
    logit = fused @ float64(kernel)[:, 0] + (cosine - 0.5) / layer.temperature
    np.testing.assert_allclose(found[:, -1], logit, atol=1e-5)


def test_a_judge_of_vectors_needs_no_pass_of_its_own() -> None:
    """The loss is that of passes over the rearranged rows, and no pass is made."""
    head = c.replace(RETRIEVAL, match="vectors")
    one, _, _ = alike(heads=(samples.DISEASE, head))
    objective: Any = one.objectives["matching"]
    x = of_inputs(batch(5)[0], one.network.config)
    # An input that is not there goes with the row that it is taken from.
    x["note_present"] = tf.constant([True, False, True, True, True])
    outputs = one(x, training=False)
    order = tf.constant([2, 0, 1, 4, 3])
    objective.negatives = lambda alike, valid: order
    passed: list[Any] = []
    trunk = one.network.trunk

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(one.network, name)

        def trunk(self, x: Any, training: bool) -> Any:
            passed.append(x)
            return trunk(x, training=training)

    objective.network = Counting()
    got = float(objective.loss(x, {}, outputs, training=False))
    assert not passed
    objective._by_vectors = lambda pair: False
    wanted = float(objective.loss(x, {}, outputs, training=False))
    assert len(passed) == 2
    assert got == pytest.approx(wanted, rel=1e-5)
