"""What a stage moves and how far, on the tiny table of test_train."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainer.test_train import RESOURCES, ROWS, rows, table_config
from trainer import config as c
from trainer.adaptation import (
    AdaptationError,
    adapt,
    decay_factors,
    enable_lora,
    layer_levels,
    lora_layers,
    plain_values,
)
from trainer.model import Network, build_network
from trainer.train import Trained, train

HEADS = {"y_logits/kernel", "y_logits/bias", "z_logits/kernel", "z_logits/bias"}


def network() -> Network:
    keras.utils.set_random_seed(0)
    return build_network(table_config(), RESOURCES)


def stage(**changes: Any) -> c.StageConfig:
    return c.StageConfig("tune", **{"base": "a/b", **changes})


def learning(model: keras.Model) -> set[str]:
    return {v.path for v in model.trainable_variables}


def run(one: c.StageConfig, folder: Path, **training: Any) -> Trained:
    data = tf.data.Dataset.from_tensor_slices(rows()).batch(8)
    return train(
        table_config(**training), RESOURCES, data, None, train_examples=ROWS,
        work_dir=str(folder / "work"), log_dir=str(folder / "log"), stage=one,
        say=lambda line: None,
    )  # fmt: skip


def moved(trained: Trained) -> set[str]:
    """Paths of the weights that training changed."""
    start = network().model
    return {
        new.path
        for new, old in zip(trained.model.variables, start.variables, strict=True)
        if np.abs(np.asarray(new) - np.asarray(old)).max() > 0
        and "seed_generator" not in new.path
    }


def test_a_linear_probe_moves_the_heads_alone(tmp_path: Path) -> None:
    one = network()
    said = adapt(one, stage(linear_probe=True))
    assert learning(one.model) == HEADS
    # Two heads on four numbers: 4 * 2 + 2 and 4 * 1 + 1.
    assert said.startswith("15 of ")
    assert moved(run(stage(linear_probe=True), tmp_path)) == HEADS


def test_freeze_takes_single_weights_and_refuses_what_finds_none() -> None:
    one = network()
    everything = learning(one.model)
    adapt(one, stage(freeze=("^facts_dense.*/kernel", "z_logits")))
    assert everything - learning(one.model) == {
        "facts_dense_0/kernel", "z_logits/kernel", "z_logits/bias",
    }  # fmt: skip
    with pytest.raises(AdaptationError, match="freeze: the pattern 'picture' is found"):
        adapt(network(), stage(freeze=("picture",)))


def test_lora_adds_a_product_and_moves_nothing_else(tmp_path: Path) -> None:
    lora = c.LoraConfig(rank=2, alpha=6.0, targets="^facts_dense_0")
    one = network()
    start = np.asarray(one.model.get_layer("facts_dense_0").kernel)
    adapt(one, stage(lora=lora))
    layer = one.model.get_layer("facts_dense_0")
    assert learning(one.model) == HEADS | {
        "facts_dense_0/lora_kernel_a", "facts_dense_0/lora_kernel_b",
    }  # fmt: skip
    assert tuple(layer.lora_kernel_a.shape) == (4, 2)
    assert tuple(layer.lora_kernel_b.shape) == (2, 8)
    np.testing.assert_array_equal(layer.kernel, start)  # B starts at zero
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, (4, 2)), rng.normal(0, 1, (2, 8))
    layer.lora_kernel_a.assign(a)
    layer.lora_kernel_b.assign(b)
    # W + alpha / rank * A B, by NumPy.
    wanted = start + 6.0 / 2 * a @ b
    merged = dict(
        zip(
            [v.path for v in network().model.weights],
            plain_values(one.model),
            strict=True,
        )
    )
    np.testing.assert_allclose(merged["facts_dense_0/kernel"], wanted, atol=1e-5)
    trained = run(stage(lora=lora), tmp_path)
    assert moved(trained) == HEADS | {"facts_dense_0/kernel"}
    start_kernel = np.asarray(network().model.get_layer("facts_dense_0").kernel)
    change = np.asarray(trained.model.get_layer("facts_dense_0").kernel) - start_kernel
    assert np.linalg.matrix_rank(change, tol=1e-5) == 2


def test_lora_that_finds_no_layer_says_so() -> None:
    with pytest.raises(AdaptationError, match="lora.targets: 'picture' is found in"):
        enable_lora(network().model, c.LoraConfig(targets="picture"))
    with pytest.raises(AdaptationError, match="more than 64 rows"):
        enable_lora(network().model, c.LoraConfig(rank=64))


class Killed(Exception):
    pass


class Killer(keras.callbacks.Callback):
    active = True

    def __init__(self, *_: Any) -> None:
        super().__init__()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self.active and epoch == 2:
            raise Killed


def test_lora_goes_on_learning_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.train.Progress", Killer)
    monkeypatch.setattr(Killer, "active", True)
    one = stage(lora=c.LoraConfig(rank=2, targets="^facts_dense_0"))
    with pytest.raises(Killed):
        run(one, tmp_path)
    monkeypatch.setattr(Killer, "active", False)
    resumed = run(one, tmp_path)
    assert resumed.resumed_from_epoch == 2
    monkeypatch.setattr(Killer, "active", True)
    # Two epochs alone, for what the resumed ones started from.
    two = run(one, tmp_path / "two", epochs=2)
    name = "facts_dense_0"
    before = np.asarray(two.model.get_layer(name).kernel)
    assert (
        np.abs(np.asarray(resumed.model.get_layer(name).kernel) - before).max() > 1e-4
    )


def test_layers_decay_with_their_distance_from_the_heads() -> None:
    model = network().model
    levels = [sorted(x.name for x in level) for level in layer_levels(model)]
    assert levels == [
        ["y_logits", "z_logits"], ["fusion_out"], ["fusion_norm"],
        ["facts_missing"], ["facts_pooled"], ["facts_dense_0"],
    ]  # fmt: skip
    factors = decay_factors(model, 0.5)
    assert factors["y_logits/kernel"] == 1.0
    assert factors["fusion_out/bias"] == 0.5
    assert factors["facts_dense_0/kernel"] == 0.5**5
    assert decay_factors(model, 1.0) == {}


def test_layer_decay_slows_what_lies_deep(tmp_path: Path) -> None:
    def change(decay: float) -> dict[str, float]:
        done = run(stage(layer_decay=decay), tmp_path / str(decay), epochs=1,
                   weight_decay=0.0)  # fmt: skip
        start = network().model
        return {
            new.path: float(np.abs(np.asarray(new) - np.asarray(old)).mean())
            for new, old in zip(done.model.variables, start.variables, strict=True)
        }

    full, slowed = change(1.0), change(0.1)
    # Adam's first steps have the size of the learning rate, so the ratio is the factor.
    assert slowed["fusion_out/kernel"] / full["fusion_out/kernel"] == pytest.approx(
        0.1, rel=0.5
    )
    assert slowed["facts_dense_0/kernel"] < 1e-3 * full["facts_dense_0/kernel"]


def test_groups_thaw_one_after_the_other(tmp_path: Path) -> None:
    def after(epochs: int) -> set[str]:
        one = stage(unfreeze=c.UnfreezeConfig(("^fusion", "^facts"), every_epochs=1))
        return {p.split("/")[0] for p in moved(run(one, tmp_path / str(epochs),
                                                   epochs=epochs))}  # fmt: skip

    assert after(1) == {"y_logits", "z_logits"}
    assert after(2) == {"y_logits", "z_logits", "fusion_norm", "fusion_out"}
    assert {"facts_dense_0", "facts_pooled"} <= after(3)
    with pytest.raises(AdaptationError, match=r"unfreeze.groups: the pattern 'x9'"):
        adapt(network(), stage(unfreeze=c.UnfreezeConfig(("x9",))))


def test_a_model_without_lora_has_no_such_layers() -> None:
    assert lora_layers(network().model) == []


def test_a_soup_is_cooked_of_as_many_epochs_as_asked(tmp_path: Path) -> None:
    data = tf.data.Dataset.from_tensor_slices(rows()).batch(8)
    selection = tf.data.Dataset.from_tensor_slices(rows(1)).batch(16)

    def best_loss(soup: int) -> tuple[float, int]:
        config = table_config(
            soup=soup, epochs=12, learning_rate=0.3, final_learning_rate_fraction=1.0
        )
        done = train(
            config, RESOURCES, data, selection, train_examples=ROWS,
            work_dir=str(tmp_path / f"w{soup}"), log_dir=str(tmp_path / "l"),
            say=lambda line: None,
        )  # fmt: skip
        x, y = rows(1)
        out = done.model({k: tf.constant(v) for k, v in x.items()})
        logits = np.asarray(out["y"], np.float64)
        entropy = np.log(np.exp(logits).sum(-1)) - logits[np.arange(ROWS), y["y"]]
        error = (np.asarray(out["z"])[:, 0] - y["z"]) ** 2
        return float(entropy.mean() + error.mean()), len(done.soup)

    (alone, one), (mixed, several) = best_loss(1), best_loss(4)
    assert one == 1
    assert 1 < several <= 4
    assert mixed < alone
