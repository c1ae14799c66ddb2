"""Masked language modelling: which tokens, what becomes of them, and the loss."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import samples
from tests.trainer.objective_cases import (
    RESOURCES,
    SMALL,
    VOCABULARY,
    batch,
    config_of,
    float64,
    learner,
    log_softmax,
    of_inputs,
)
from trainer import config as c
from trainer.learner import Learner
from trainer.modalities import MODALITIES
from trainer.model import build_network
from trainer.objectives.masked_lm import Masking

RNG = np.random.default_rng(0)
MASK = VOCABULARY.index("[MASK]")
ROWS = 8000
# [CLS] fever ##ish ##ish no cough [SEP] [PAD]
IDS = np.array([2, 6, 7, 7, 5, 10, 3, 0], np.int32)
WORDS = np.array([0, 1, 1, 1, 1, 1, 0, 0], bool)


def where() -> Any:
    return MODALITIES["text"](samples.NOTE).positions(RESOURCES)


def masked(rate: float, *, whole_word: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Spoilt ids and what was chosen, of many rows of IDS."""
    masking = Masking(where(), rate, 0, whole_word=whole_word)
    spoilt, chosen = masking(
        tf.constant(np.tile(IDS, (ROWS, 1))), tf.constant(np.tile(WORDS, (ROWS, 1)))
    )
    return np.asarray(spoilt), np.asarray(chosen)


def share(count: float, of: int, wanted: float) -> None:
    """Within four standard errors."""
    error = 4 * np.sqrt(wanted * (1 - wanted) / of)
    assert count / of == pytest.approx(wanted, abs=error)


@pytest.mark.parametrize("rate", [0.15, 0.4])
def test_each_token_is_chosen_at_the_rate_and_one_at_least(rate: float) -> None:
    spoilt, chosen = masked(rate)
    assert not chosen[:, ~WORDS].any()
    np.testing.assert_array_equal(spoilt[~chosen], np.tile(IDS, (ROWS, 1))[~chosen])
    assert chosen.any(1).all()
    # Of five tokens: with its own chance, or as the one of a row without any other.
    share(chosen[:, 1].sum(), ROWS, rate + (1 - rate) ** 5 / 5)


def test_of_the_chosen_eight_tenths_are_masked_one_replaced_one_kept() -> None:
    spoilt, chosen = masked(0.4)
    given = np.tile(IDS, (ROWS, 1))
    total = int(chosen.sum())
    share((spoilt[chosen] == MASK).sum(), total, 0.8)
    # Another one of six ordinary tokens, of which one is the token itself.
    changed = chosen & (spoilt != MASK) & (spoilt != given)
    share(changed.sum(), total, 0.1 * 5 / 6)
    share((chosen & (spoilt == given)).sum(), total, 0.1 + 0.1 / 6)
    assert set(spoilt[changed]) == {5, 6, 7, 8, 9, 10}
    counts = np.bincount(spoilt[changed], minlength=11)[5:]
    # Each of the six is put in the place of five others... of four for 7, twice there.
    assert counts.min() > 0.7 * counts.mean()


def test_whole_words_are_chosen_and_spoilt_together() -> None:
    spoilt, chosen = masked(0.3, whole_word=True)
    pieces = chosen[:, 1:4]
    assert (pieces.all(1) | ~pieces.any(1)).all()
    hidden = spoilt[:, 1:4] == MASK
    assert (hidden.all(1) | ~hidden.any(1)).all()
    assert not chosen[:, ~WORDS].any()
    # Three words of a row: each with 0.3, or as the one of a row without any other.
    for word in (1, 4, 5):
        share(chosen[:, word].sum(), ROWS, 0.3 + 0.7**3 / 3)
    share(hidden[:, 0].sum(), int(pieces[:, 0].sum()), 0.8)
    # Pieces apart where words are not whole.
    apart = masked(0.3)[1][:, 1:4]
    assert (apart.any(1) & ~apart.all(1)).mean() > 0.3


def test_whole_word_and_rate_reach_the_masking() -> None:
    option = c.MaskedLmObjective(rate=0.7, whole_word=True)
    one = learner("masked_lm", option, **SMALL)
    _, masking, _ = one.objectives["masked_lm"].parts["note"]
    assert (masking.rate, masking.whole_word) == (0.7, True)


def test_without_candidates_nothing_is_chosen() -> None:
    masking = Masking(where(), 0.5, 0, whole_word=True)
    ids = tf.constant([[2, 3, 0, 0, 0, 0, 0, 0]])
    spoilt, chosen = masking(ids, tf.zeros((1, 8), tf.bool))
    assert not np.asarray(chosen).any()
    np.testing.assert_array_equal(spoilt, ids)


def fixed(one: Any, chosen: np.ndarray, logits: np.ndarray) -> list[Any]:
    """Makes an objective's draw and answer known; what the reader was asked."""
    positions, _, _ = one.parts["note"]
    asked: list[Any] = []

    def reader(queries: Any, seen: Any) -> Any:
        asked.append((queries, seen))
        return tf.constant(logits[:, : queries.shape[1]], tf.float32)

    def masking(ids: Any, candidates: Any) -> Any:
        asked.append(np.asarray(candidates))
        return tf.where(chosen, MASK, ids), tf.constant(chosen)

    one.parts["note"] = (positions, masking, reader)
    return asked


def test_the_loss_is_the_mean_over_the_chosen_tokens() -> None:
    one = learner("masked_lm", c.MaskedLmObjective(rate=0.25), **SMALL)
    objective = one.objectives["masked_lm"]
    x, y = batch(4)
    x = of_inputs(x, one.network.config)
    x["note_present"] = tf.constant([True, True, True, False])
    chosen = np.zeros((4, 8), bool)
    chosen[0, [2, 5]] = chosen[1, 1] = True
    # Room for twice a quarter of eight: the fifth of these is not predicted.
    chosen[2, [1, 2, 3, 4, 6]] = True
    logits = RNG.normal(0, 2, (4, 8, len(VOCABULARY)))
    asked = fixed(objective, chosen, logits)
    got = float(objective.loss(x, y, {}, training=False))
    ids = np.asarray(x["note_token_ids"])
    losses = []
    for row, tokens in ((0, [2, 5]), (1, [1]), (2, [1, 2, 3, 4])):
        for place, token in enumerate(tokens):
            losses.append(-log_softmax(logits)[row, place, ids[row, token]])
    assert got == pytest.approx(np.mean(losses), rel=1e-5)
    candidates, (queries, seen) = asked
    assert queries.shape[1] == 4
    assert not candidates[3].any()  # an absent text
    # The reader is asked at the chosen places, of the spoilt text.
    spoilt = {**x, "note_token_ids": tf.where(chosen, MASK, ids)}
    tokens = one.network.trunk(spoilt, training=False)["tokens:note"].numpy()
    np.testing.assert_allclose(queries.numpy()[0, :2], tokens[0, [2, 5]], rtol=1e-5)
    np.testing.assert_allclose(seen["tokens:note"], tokens, rtol=1e-5)


def test_only_the_inputs_that_are_named_are_masked() -> None:
    inputs = (samples.NOTE, c.replace(samples.NOTE, name="plan"), samples.FACTS)
    resources = c.replace(
        RESOURCES, vocabularies={"note": VOCABULARY, "plan": VOCABULARY}
    )
    for wanted, parts in ((None, {"note", "plan"}), (("plan",), {"plan"})):
        config = config_of(
            "masked_lm", c.MaskedLmObjective(inputs=wanted), inputs=inputs,
            heads=(samples.DISEASE,),
        )  # fmt: skip
        one: Any = Learner(build_network(config, resources), config, resources)
        assert set(one.objectives["masked_lm"].parts) == parts


def test_the_other_inputs_are_in_sight_of_the_prediction() -> None:
    one = learner("masked_lm", c.MaskedLmObjective(), **SMALL)
    _, _, reader = one.objectives["masked_lm"].parts["note"]
    x, _ = batch(3)
    x = of_inputs(x, one.network.config)

    def predicted(**changes: Any) -> np.ndarray:
        seen = one.network.still({**x, **changes}, training=False)
        return float64(reader(seen["tokens:note"], seen))

    before = predicted()
    assert before.shape == (3, 8, len(VOCABULARY))
    other = predicted(facts_numeric=x["facts_numeric"] + 1)
    hidden = predicted(facts_present=tf.zeros(3, tf.bool))
    assert (np.abs(before - other).max((1, 2)) > 1e-5).all()
    assert (np.abs(before - hidden).max((1, 2)) > 1e-5).all()
    # What is hidden is not read: another table makes no difference then.
    again = predicted(
        facts_present=tf.zeros(3, tf.bool), facts_numeric=x["facts_numeric"] + 1
    )
    np.testing.assert_allclose(again, hidden, atol=1e-6)


def test_the_reader_skips_padding() -> None:
    one = learner("masked_lm", c.MaskedLmObjective(), **SMALL)
    _, _, reader = one.objectives["masked_lm"].parts["note"]
    x, _ = batch(3)
    seen = one.network.trunk(of_inputs(x, one.network.config), training=False)
    mask = np.asarray(x["note_padding_mask"], bool)
    queries = seen["tokens:note"][:, :2]
    before = float64(reader(queries, seen))
    noise = tf.where(mask[..., None], seen["tokens:note"], 9.0)
    np.testing.assert_allclose(
        reader(queries, {**seen, "tokens:note": noise}), before, atol=1e-5
    )
