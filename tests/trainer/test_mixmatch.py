"""MixMatch: guesses, shares and both losses, in float64 NumPy and SciPy."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tests.trainer import samples
from tests.trainer.objective_cases import (
    RESOURCES,
    StandIn,
    batch,
    config_of,
    float64,
    log_softmax,
    of_inputs,
    softmax,
)
from trainer import config as c
from trainer import encoder_config as e
from trainer.model import build_network
from trainer.objectives.mixmatch import MixMatch, Ramp, RampUp, sharpened

RNG = np.random.default_rng(0)
ROWS = 5
KERNEL = RNG.normal(0, 2, (4, 3))
LABELS = np.array([0, 2, -1, 1, -1])
KNOWN = np.array([1, 1, 0, 1, 0], bool)
# One embedding of the first view, and of each further one; and of what is guessed by.
VIEWS = RNG.normal(0, 1, (3, ROWS, 4))
GUESSED = RNG.normal(0, 1, (3, ROWS, 4))
Y = {
    "disease": tf.constant(LABELS),
    "weight:disease": tf.constant(KNOWN, tf.float32),
}


def seen(view: Any) -> dict[str, Any]:
    embedding = tf.constant(view, tf.float32)
    return {
        "fused:": embedding,
        "pooled:note": 2 * embedding,
        "shown:": tf.ones((len(view), 1), tf.bool),
    }


def logits(given: Any) -> dict[str, Any]:
    kernel = tf.constant(KERNEL, tf.float32)
    half = (given["fused:"] + given["pooled:note"] / 2) / 2
    return {"disease": half @ kernel}


def mixmatch(partners: Any = None, **changes: Any) -> tuple[Any, Any]:
    """The objective on a stand-in, and what the stage's own pass gave."""
    option = c.MixMatchObjective(**{"ramp_up_epochs": 0, **changes})
    config = config_of(
        "mixmatch", option, inputs=(samples.NOTE,), heads=(samples.DISEASE,)
    )
    one: Any = MixMatch(option, config, RESOURCES)
    left = [seen(view) for view in VIEWS[1:]]
    quiet = [seen(view) for view in GUESSED]
    one.build(StandIn(lambda x: left.pop(0), logits, {}, lambda x: quiet.pop(0)), {})
    one.ramp.value.assign(1.0)
    if partners is not None:
        order, share = partners
        one.partners = lambda rows: (
            tf.constant(order),
            tf.constant(share[:, None], tf.float32),
        )
    first = seen(VIEWS[0])
    return one, {**first, **logits(first)}


def test_sharpening() -> None:
    p = softmax(RNG.normal(0, 1, (6, 4)))
    for temperature in (0.5, 1.0, 0.1):
        powers = p ** (1 / temperature)
        wanted = powers / powers.sum(1, keepdims=True)
        got = sharpened(tf.constant(p, tf.float32), temperature)
        np.testing.assert_allclose(got, wanted, atol=1e-5)
    # By hand: (0.8^2, 0.2^2) / 0.68
    got = np.asarray(sharpened(tf.constant([[0.8, 0.2]]), 0.5))
    np.testing.assert_allclose(got, [[0.64 / 0.68, 0.04 / 0.68]], rtol=1e-5)
    assert np.isfinite(sharpened(tf.constant([[1.0, 0.0, 0.0]]), 0.01)).all()


@pytest.mark.parametrize("alpha", [0.75, 0.5, 3.0])
def test_shares_are_of_a_folded_beta_and_partners_a_shuffle(alpha: float) -> None:
    one, _ = mixmatch(alpha=alpha)
    order, share = one.partners(4000)
    assert sorted(np.asarray(order)) == list(range(4000))
    assert (np.asarray(order) != np.arange(4000)).mean() > 0.99
    share = np.asarray(share)[:, 0]
    assert share.min() >= 0.5

    def folded(x: np.ndarray) -> np.ndarray:
        # max(l, 1 - l) <= x where 1 - x <= l <= x
        beta = stats.beta(alpha, alpha)
        return np.asarray(beta.cdf(x) - beta.cdf(1 - x))

    assert stats.kstest(share, folded).pvalue > 0.01


def reference(
    order: np.ndarray, share: np.ndarray, views: int, temperature: float
) -> Any:
    """L_x and L_u over the views."""
    guess = np.mean([softmax(GUESSED[k] @ KERNEL) for k in range(views)], axis=0)
    guess = guess ** (1 / temperature)
    guess /= guess.sum(1, keepdims=True)
    target = np.where(KNOWN[:, None], np.eye(3)[np.maximum(LABELS, 0)], guess)
    z, target = np.concatenate(VIEWS[:views]), np.concatenate([target] * views)
    by = share[:, None]
    mixed = (by * z + (1 - by) * z[order]) @ KERNEL
    target = by * target + (1 - by) * target[order]
    known = np.concatenate([KNOWN] * views)
    entropy = -(target * log_softmax(mixed)).sum(1)
    squared = ((target - softmax(mixed)) ** 2).mean(1)
    return entropy[known].mean(), squared[~known].mean()


@pytest.mark.parametrize(("views", "temperature"), [(2, 0.5), (3, 0.8), (1, 0.5)])
def test_the_loss(views: int, temperature: float) -> None:
    order = RNG.permutation(views * ROWS)
    share = RNG.uniform(0.5, 1, views * ROWS)
    one, outputs = mixmatch(
        (order, share), augmentations=views, temperature=temperature,
        unlabelled_weight=7.0,
    )  # fmt: skip
    got = float(one.loss({}, Y, outputs, training=True))
    labelled, unlabelled = reference(order, share, views, temperature)
    assert got == pytest.approx(labelled + 7.0 * unlabelled, rel=1e-4)
    assert len(one.network.asked) == views - 1


def test_an_anchored_guess_is_of_the_row_as_it_is() -> None:
    one, _ = mixmatch(anchor=True, augmentations=3)
    guess = np.asarray(one.guess({}), np.float64)
    assert len(one.network.asked_at_rest) == 1
    # The stand-in's trunk gives VIEWS[1] first; sharpened by the square.
    wanted = softmax(VIEWS[1] @ KERNEL) ** 2
    np.testing.assert_allclose(guess, wanted / wanted.sum(1, keepdims=True), atol=1e-5)
    plain, _ = mixmatch(augmentations=3)
    mean = np.mean([softmax(z @ KERNEL) for z in GUESSED], axis=0) ** 2
    got = np.asarray(plain.guess({}), np.float64)
    np.testing.assert_allclose(got, mean / mean.sum(1, keepdims=True), atol=1e-5)
    assert not plain.network.asked_at_rest


def test_the_ramp_weighs_what_is_unlabelled() -> None:
    order, share = np.arange(10)[::-1].copy(), np.full(10, 0.75)
    labelled, unlabelled = reference(order, share, 2, 0.5)
    for ramp in (0.0, 0.25):
        one, outputs = mixmatch((order, share), unlabelled_weight=100.0)
        one.ramp.value.assign(ramp)
        got = float(one.loss({}, Y, outputs, training=True))
        assert got == pytest.approx(labelled + 100 * ramp * unlabelled, rel=1e-4)


@pytest.mark.parametrize(
    ("epochs", "values"), [(4, [0, 0.25, 0.5, 0.75, 1, 1]), (0, [1, 1])]
)
def test_the_ramp_rises_with_the_epochs(epochs: int, values: list[float]) -> None:
    one, _ = mixmatch(ramp_up_epochs=epochs)
    (rise,) = one.callbacks(None)
    assert isinstance(rise, RampUp)
    for epoch, wanted in enumerate(values):
        rise.on_epoch_begin(epoch)
        assert float(one.ramp.value) == wanted
    ramp = Ramp()
    ramp.build()
    assert float(ramp.value) == 0


def test_each_input_alone_learns_what_all_of_them_say() -> None:
    """Of the views of which both partners have the input; weighted as the head says."""
    head = c.replace(samples.DISEASE, auxiliary_weight=0.5)
    inputs = (samples.NOTE, samples.VOICE)
    option = c.MixMatchObjective(augmentations=1, ramp_up_epochs=0)
    config = config_of("mixmatch", option, inputs=inputs, heads=(head,))
    # The kernels of the fused embedding and of each input's own copy of the head.
    kernels = {
        key: RNG.normal(0, 1, (4, 3))
        for key in ("disease", "disease:from:note", "disease:from:voice")
    }
    read = {
        "disease": "fused:",
        "disease:from:note": "pooled:note",
        "disease:from:voice": "pooled:voice",
    }
    views = {key: RNG.normal(0, 1, (ROWS, 4)) for key in read.values()}

    def judged(given: Any) -> dict[str, Any]:
        return {
            key: given[read[key]] @ tf.constant(kernel, tf.float32)
            for key, kernel in kernels.items()
        }

    given: Any = {key: tf.constant(z, tf.float32) for key, z in views.items()}
    given["shown:"] = tf.ones((ROWS, 2), tf.bool)
    quiet = {**given, "fused:": tf.constant(GUESSED[0], tf.float32)}
    one: Any = MixMatch(option, config, RESOURCES)
    one.build(StandIn(None, judged, {}, lambda x: quiet), {})
    one.ramp.value.assign(1.0)
    order, share = np.array([3, 4, 0, 1, 2]), np.array([0.5, 0.6, 0.7, 0.8, 0.9])
    one.partners = lambda rows: (
        tf.constant(order),
        tf.constant(share[:, None], tf.float32),
    )
    present = {
        "pooled:note": np.ones(ROWS, bool),
        "pooled:voice": np.array([1, 1, 1, 0, 1], bool),
    }
    x = {
        f"{name}_present": tf.constant(present[f"pooled:{name}"])
        for name in ("note", "voice")
    }
    got = float(one.loss(x, Y, {**given, **judged(given)}, training=True))

    guess = np.asarray(softmax(GUESSED[0] @ kernels["disease"]) ** 2)
    guess /= guess.sum(1, keepdims=True)
    target = np.where(KNOWN[:, None], np.eye(3)[np.maximum(LABELS, 0)], guess)
    by = share[:, None]
    target = by * target + (1 - by) * target[order]
    wanted = 0.0
    for key, kernel in kernels.items():
        z = views[read[key]]
        mixed = (by * z + (1 - by) * z[order]) @ kernel
        there = present.get(read[key], np.ones(ROWS, bool))
        there = there & there[order]
        entropy = -(target * log_softmax(mixed)).sum(1)[there & KNOWN]
        squared = ((target - softmax(mixed)) ** 2).mean(1)[there & ~KNOWN]
        # Half of the mean of the two inputs.
        weight = 1.0 if key == "disease" else 0.25
        wanted += weight * (entropy.mean() + 10.0 * squared.mean())
    # By voice are counted rows 1, 2 and 4: row 3 has none, and row 0 meets row 3.
    assert got == pytest.approx(wanted, rel=1e-4)


def test_a_guess_sees_every_input_and_no_dropout() -> None:
    """The trunk that guesses augments, and does nothing else that training does."""
    voice = c.replace(
        samples.VOICE, mask_frames=0, mask_bins=0, shift_frames=0,
        encoder=e.TransformerAudioEncoder(
            layers=1, heads=1, hidden_dim=4, stride=4, dropout=0.5
        ),
    )  # fmt: skip
    note = c.replace(samples.NOTE, token_dropout=0.5)
    training = c.TrainingConfig(modality_dropout=0.5)
    config = samples.clinic_config(
        inputs=(voice, note), heads=(samples.DISEASE,), training=training
    )
    network = build_network(config, RESOURCES)
    x, _ = batch(6)
    x = of_inputs(x, config)
    quiet = network.trunk(x, training=False)
    views = [network.shaken(x, training=False) for _ in range(2)]
    for view in views:
        # The voice is not augmented here, so it is what it was; the note's tokens are.
        np.testing.assert_allclose(
            view["pooled:voice"], quiet["pooled:voice"], atol=1e-5
        )
        np.testing.assert_array_equal(view["shown:"], quiet["shown:"])
    moved = [np.asarray(view["pooled:note"]) for view in views]
    assert np.abs(moved[0] - np.asarray(quiet["pooled:note"])).max() > 1e-3
    assert np.abs(moved[0] - moved[1]).max() > 1e-3
    assert {v.path for v in network.shaken.weights} == {
        v.path for v in network.trunk.weights
    }


def test_no_gradient_flows_into_a_guess() -> None:
    order, share = RNG.permutation(10), np.full(10, 0.6)
    z = tf.Variable(VIEWS[0], dtype=tf.float32)
    slopes = {}
    for kind in ("guessed", "given"):
        one, _ = mixmatch((order, share))
        with tf.GradientTape() as tape:
            first = {**seen(VIEWS[0]), "fused:": z, "pooled:note": 2 * z}
            loss = one.loss({}, Y, {**first, **logits(first)}, training=True)
            if kind == "given":
                # The same with a target that is a constant from the start.
                view = np.concatenate(VIEWS[:2])
                guess = np.mean([softmax(v @ KERNEL) for v in GUESSED[:2]], axis=0)
                guess = guess**2
                guess /= guess.sum(1, keepdims=True)
                truth = np.eye(3)[np.maximum(LABELS, 0)]
                target = np.tile(np.where(KNOWN[:, None], truth, guess), (2, 1))
                target = 0.6 * target + 0.4 * target[order]
                both = tf.concat([z, tf.constant(view[5:], tf.float32)], 0)
                mixed = 0.6 * both + 0.4 * tf.gather(both, order)
                out = mixed @ tf.constant(KERNEL, tf.float32)
                known = np.tile(KNOWN, 2)
                entropy = -tf.reduce_sum(target * tf.nn.log_softmax(out), 1)
                squared = tf.reduce_mean((target - tf.nn.softmax(out)) ** 2, 1)
                loss = tf.reduce_mean(entropy[known])
                loss += 10.0 * tf.reduce_mean(squared[~known])
        slopes[kind] = float64(tape.gradient(loss, z))
    np.testing.assert_allclose(slopes["guessed"], slopes["given"], atol=1e-4)
    assert np.abs(slopes["given"]).max() > 0.01


def test_epochs_are_compared_by_the_labelled_rows_as_they_are() -> None:
    one, outputs = mixmatch()
    got = float(one.loss({}, Y, outputs, training=False))
    entropy = -log_softmax(VIEWS[0] @ KERNEL)[np.arange(ROWS), LABELS]
    assert got == pytest.approx(entropy[KNOWN].mean(), rel=1e-4)


@pytest.mark.parametrize(("name", "chosen"), [(None, "disease"), ("other", "other")])
def test_the_head_is_the_first_or_the_one_that_is_named(
    name: str | None, chosen: str
) -> None:
    heads = (samples.DISEASE, c.ClassificationHead("other", ("a", "b")))
    option = c.MixMatchObjective(head=name)
    config = config_of("mixmatch", option, inputs=(samples.NOTE,), heads=heads)
    one = MixMatch(option, config, RESOURCES)
    one.build(StandIn(None, None, {}), {})
    assert one.head.name == chosen
