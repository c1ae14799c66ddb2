import math
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.config import ParameterGroup, TrainingConfig
from trainer.optimizer import (
    SwapAverages,
    freeze,
    group_of,
    make_optimizer,
    running_statistics,
)


def tiny_model() -> keras.Model:
    """text_tokens -> norm -> head; the first name holds the word `token`."""
    x = keras.Input((3,))
    y = keras.layers.Dense(2, name="text_tokens")(x)
    y = keras.layers.BatchNormalization(name="norm", momentum=0.5)(y)
    y = keras.layers.Dropout(0.5, name="dropout")(y)
    return keras.Model(x, keras.layers.Dense(1, name="head")(y))


CONFIG = TrainingConfig(
    learning_rate=0.1,
    weight_decay=0.5,
    warmup_fraction=0.0,
    final_learning_rate_fraction=1.0,
    clip_norm=None,
    parameter_groups=(
        ParameterGroup("text_tokens", learning_rate_multiplier=0.25),
        ParameterGroup("head/bias", learning_rate_multiplier=0.0),
    ),
)


def test_steps_are_adamw_with_each_groups_factor_on_rate_and_decay() -> None:
    keras.utils.set_random_seed(0)
    model = tiny_model()
    optimizer = make_optimizer(CONFIG, 10)
    variables = model.trainable_variables
    optimizer.build(variables)
    rng = np.random.default_rng(0)
    wanted = {v.path: np.asarray(v, np.float64) for v in variables}
    m = {p: np.zeros_like(w) for p, w in wanted.items()}
    v = {p: np.zeros_like(w) for p, w in wanted.items()}
    factors = {"text_tokens": 0.25, "norm": 1.0, "head": 1.0}
    for step in (1, 2, 3):
        gradients = [rng.normal(0, 1, variable.shape) for variable in variables]
        optimizer.apply([tf.constant(g, tf.float32) for g in gradients], variables)
        for variable, g in zip(variables, gradients, strict=True):
            path = variable.path
            factor = factors[path.split("/")[0]] if path != "head/bias" else 0.0
            rate = 0.1 * factor
            if path.endswith("kernel"):  # the only ones that decay
                wanted[path] -= rate * 0.5 * wanted[path]
            m[path] = 0.9 * m[path] + 0.1 * g
            v[path] = 0.999 * v[path] + 0.001 * g**2
            m_hat, v_hat = m[path] / (1 - 0.9**step), v[path] / (1 - 0.999**step)
            wanted[path] -= rate * m_hat / (np.sqrt(v_hat) + 1e-7)
    for variable in variables:
        np.testing.assert_allclose(
            variable, wanted[variable.path], rtol=1e-4, atol=1e-5, err_msg=variable.path
        )


def rate(one: TrainingConfig, steps: int, at: int) -> float:
    return float(make_optimizer(one, steps)._learning_rate(at))


def test_the_rate_warms_up_from_zero_and_decays_as_a_cosine() -> None:
    one = TrainingConfig(
        learning_rate=0.2, warmup_fraction=0.1, final_learning_rate_fraction=0.05
    )
    assert rate(one, 100, 0) == 0.0
    assert rate(one, 100, 5) == pytest.approx(0.1)
    assert rate(one, 100, 10) == pytest.approx(0.2)
    # Half-way through the 90 steps of decay: the mean of 1 and 0.05.
    assert rate(one, 100, 55) == pytest.approx(0.2 * 0.525)
    assert rate(one, 100, 100) == pytest.approx(0.01)
    assert rate(one, 100, 1000) == pytest.approx(0.01)


def test_without_warm_up_the_rate_starts_at_its_peak() -> None:
    one = TrainingConfig(warmup_fraction=0.0, learning_rate=0.2)
    assert rate(one, 3, 0) == pytest.approx(0.2)


def test_gradients_are_clipped_by_their_global_norm() -> None:
    variables = [keras.Variable([0.0, 0.0], name="kernel") for _ in range(2)]
    for bound, factor in ((1.0, 0.1), (None, 1.0)):
        one = TrainingConfig(clip_norm=bound)
        optimizer: Any = make_optimizer(one, 10)
        optimizer.build(variables)
        seen: list[Any] = []
        optimizer.update_step = lambda g, *_, seen=seen: seen.append(g)
        # Norm of (6, 0, 0, 8): 10.
        gradients = [tf.constant([6.0, 0.0]), tf.constant([0.0, 8.0])]
        optimizer.apply(gradients, variables)
        np.testing.assert_allclose(seen[0], [6 * factor, 0], rtol=1e-5)
        np.testing.assert_allclose(seen[1], [0, 8 * factor], rtol=1e-5)


def test_the_last_matching_group_wins() -> None:
    groups = (ParameterGroup("photo"), ParameterGroup("photo_conv_0", 0.5))
    assert group_of("photo_conv_0/kernel", groups) is groups[1]
    assert group_of("photo_conv_1/kernel", groups) is groups[0]
    assert group_of("note/kernel", groups) is None


def test_freezing_stops_what_matches_and_keeps_batch_norms_statistics() -> None:
    model = tiny_model()
    groups = (
        ParameterGroup("text_tokens|norm", frozen=True),
        ParameterGroup("head", frozen=False),
    )
    paths = freeze(model, groups)
    assert paths == [
        "norm/beta", "norm/gamma", "norm/moving_mean", "norm/moving_variance",
        "text_tokens/bias", "text_tokens/kernel",
    ]  # fmt: skip
    assert [v.path for v in model.trainable_variables] == ["head/kernel", "head/bias"]
    before = [np.asarray(w) for w in model.get_weights()]
    model(tf.constant(np.random.default_rng(0).normal(5, 3, (8, 3))), training=True)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_without_freezing_batch_norm_learns_its_statistics() -> None:
    model = tiny_model()
    x = np.random.default_rng(0).normal(5, 3, (8, 3)).astype(np.float32)
    activation = np.asarray(model.get_layer("text_tokens")(x))
    model(x, training=True)
    got = model.get_layer("norm").moving_mean
    np.testing.assert_allclose(got, 0.5 * activation.mean(0), rtol=1e-5)


def test_a_pattern_that_matches_nothing_is_an_error_that_helps() -> None:
    with pytest.raises(ValueError, match="'txt' is found in no variable's path"):
        freeze(tiny_model(), (ParameterGroup("txt"),))


def test_the_rate_is_finite_for_a_single_step() -> None:
    assert math.isfinite(rate(TrainingConfig(), 1, 1))


def test_a_pattern_freezes_what_it_matches_and_nothing_else() -> None:
    model = tiny_model()
    assert freeze(model, (ParameterGroup("kernel$", frozen=True),)) == [
        "head/kernel", "text_tokens/kernel",
    ]  # fmt: skip
    assert {v.path for v in model.trainable_variables} == {
        "head/bias", "norm/beta", "norm/gamma", "text_tokens/bias",
    }  # fmt: skip
    model.compile(make_optimizer(TrainingConfig(learning_rate=0.1), 4), "mse")
    start = {v.path: np.asarray(v) for v in model.variables}
    x = np.random.default_rng(0).normal(5, 3, (8, 3)).astype(np.float32)
    model.fit(x, x[:, :1], epochs=2, verbose=0)
    still = {v.path for v in model.weights if (np.asarray(v) == start[v.path]).all()}
    assert still == {"head/kernel", "text_tokens/kernel"}


class Counted(keras.callbacks.Callback):
    """Notes what batch normalization has counted after every step."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[np.ndarray] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        norm = self.model.get_layer("norm")
        both = (norm.moving_mean, norm.moving_variance)
        self.seen.append(np.stack([np.asarray(v, np.float64) for v in both]))


def test_averaged_weights_have_averaged_statistics() -> None:
    keras.utils.set_random_seed(0)
    model, counted = tiny_model(), Counted()
    one = TrainingConfig(ema_momentum=0.8, learning_rate=0.3, warmup_fraction=0.0)
    statistics = running_statistics(model)
    assert [v.path for v in statistics] == ["norm/moving_mean", "norm/moving_variance"]
    model.compile(make_optimizer(one, 12, statistics=statistics), "mse")
    x = np.random.default_rng(0).normal(5, 3, (32, 3)).astype(np.float32)
    # The last callback comes first at the end of a step, and last at that of an epoch.
    done = model.fit(
        x, x[:, :1], validation_data=(x, x[:, :1]), batch_size=8, epochs=3, verbose=0,
        callbacks=[counted, SwapAverages(swap_on_epoch=True)],
    )  # fmt: skip
    assert len(counted.seen) == 12
    average = counted.seen[0]
    for raw in counted.seen[1:]:
        average = 0.8 * average + 0.2 * raw
    norm = model.get_layer("norm")
    np.testing.assert_allclose(norm.moving_mean, average[0], rtol=1e-4)
    np.testing.assert_allclose(norm.moving_variance, average[1], rtol=1e-4)
    assert np.abs(average - counted.seen[-1]).max() > 0.1
    # The epochs are judged with the statistics that come out.
    loss = model.evaluate(x, x[:, :1], verbose=0)
    assert done.history["val_loss"][-1] == pytest.approx(loss, rel=1e-4)
