"""What a stage moves and how far, on the tiny table of test_train."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainer.test_train import RESOURCES, ROWS, rows, table_config
from trainer import config as c
from trainer import train as train_module
from trainer.adaptation import (
    AdaptationError,
    adapt,
    decay_factors,
    enable_lora,
    layer_levels,
    lora_layers,
    plain_values,
)
from trainer.callbacks import Progress
from trainer.modalities import Resources
from trainer.model import Network, build_network
from trainer.train import Trained, train

HEADS = {
    "heads.y.logits/kernel",
    "heads.y.logits/bias",
    "heads.z.logits/kernel",
    "heads.z.logits/bias",
}


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
    adapt(one, stage(freeze=("^inputs.facts.dense.*/kernel", "heads.z.logits")))
    assert everything - learning(one.model) == {
        "inputs.facts.dense_0/kernel", "heads.z.logits/kernel", "heads.z.logits/bias",
    }  # fmt: skip
    with pytest.raises(AdaptationError, match="freeze: the pattern 'picture' is found"):
        adapt(network(), stage(freeze=("picture",)))


def test_lora_adds_a_product_and_moves_nothing_else(tmp_path: Path) -> None:
    lora = c.LoraConfig(rank=2, alpha=6.0, targets="^inputs.facts.dense_0")
    one = network()
    start = np.asarray(one.model.get_layer("inputs.facts.dense_0").kernel)
    adapt(one, stage(lora=lora))
    layer = one.model.get_layer("inputs.facts.dense_0")
    assert learning(one.model) == HEADS | {
        "inputs.facts.dense_0/lora_kernel_a", "inputs.facts.dense_0/lora_kernel_b",
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
    np.testing.assert_allclose(merged["inputs.facts.dense_0/kernel"], wanted, atol=1e-5)
    trained = run(stage(lora=lora), tmp_path)
    assert moved(trained) == HEADS | {"inputs.facts.dense_0/kernel"}
    start_kernel = np.asarray(network().model.get_layer("inputs.facts.dense_0").kernel)
    change = (
        np.asarray(trained.model.get_layer("inputs.facts.dense_0").kernel)
        - start_kernel
    )
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
    one = stage(lora=c.LoraConfig(rank=2, targets="^inputs.facts.dense_0"))
    with pytest.raises(Killed):
        run(one, tmp_path)
    monkeypatch.setattr(Killer, "active", False)
    resumed = run(one, tmp_path)
    assert resumed.resumed_from_epoch == 2
    monkeypatch.setattr(Killer, "active", True)
    # Two epochs alone, for what the resumed ones started from.
    two = run(one, tmp_path / "two", epochs=2)
    name = "inputs.facts.dense_0"
    before = np.asarray(two.model.get_layer(name).kernel)
    assert (
        np.abs(np.asarray(resumed.model.get_layer(name).kernel) - before).max() > 1e-4
    )


def test_layers_decay_with_their_distance_from_the_heads() -> None:
    model = network().model
    levels = [sorted(x.name for x in level) for level in layer_levels(model)]
    assert levels == [
        ["heads.y.logits", "heads.z.logits"], ["fusion.out"], ["fusion.norm"],
        ["inputs.facts.missing"], ["inputs.facts.pooled"], ["inputs.facts.dense_0"],
    ]  # fmt: skip
    factors = decay_factors(model, 0.5)
    assert factors["heads.y.logits/kernel"] == 1.0
    assert factors["fusion.out/bias"] == 0.5
    assert factors["inputs.facts.dense_0/kernel"] == 0.5**5
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
    assert slowed["fusion.out/kernel"] / full["fusion.out/kernel"] == pytest.approx(
        0.1, rel=0.5
    )
    assert (
        slowed["inputs.facts.dense_0/kernel"]
        < 1e-3 * full["inputs.facts.dense_0/kernel"]
    )


def test_groups_thaw_one_after_the_other(tmp_path: Path) -> None:
    def after(epochs: int) -> set[str]:
        one = stage(
            unfreeze=c.UnfreezeConfig(("^fusion", "^inputs.facts"), every_epochs=1)
        )
        return {p.split("/")[0] for p in moved(run(one, tmp_path / str(epochs),
                                                   epochs=epochs))}  # fmt: skip

    assert after(1) == {"heads.y.logits", "heads.z.logits"}
    assert after(2) == {"heads.y.logits", "heads.z.logits", "fusion.norm", "fusion.out"}
    assert {"inputs.facts.dense_0", "inputs.facts.pooled"} <= after(3)
    with pytest.raises(AdaptationError, match=r"unfreeze.groups: the pattern 'x9'"):
        adapt(network(), stage(unfreeze=c.UnfreezeConfig(("x9",))))


def test_heads_learn_whole_beside_low_rank_matrices() -> None:
    # Wider than the rank: what a head's kernel is, and the only one that is to learn.
    many = c.ClassificationHead("y", tuple("abcdefgh"))
    config = c.replace(table_config(), heads=(many,), embedding_dim=8)
    one = build_network(config, Resources(class_counts={"y": (1.0,) * 8}))
    adapt(one, stage(lora=c.LoraConfig(rank=2)))
    assert {p for p in learning(one.model) if p.startswith("heads.")} == {
        "heads.y.logits/kernel", "heads.y.logits/bias",
    }  # fmt: skip
    assert "inputs.facts.pooled/lora_kernel_a" in learning(one.model)
    with pytest.raises(AdaptationError, match="below the heads"):
        adapt(build_network(config, Resources(class_counts={"y": (1.0,) * 8})),
              stage(lora=c.LoraConfig(rank=2, targets="^heads")))  # fmt: skip


def test_frozen_weights_get_no_low_rank_matrices(tmp_path: Path) -> None:
    # Merged at the end, they would move what is to stay.
    groups = (c.ParameterGroup("^inputs.facts.pooled/kernel$", frozen=True),)
    one = stage(lora=c.LoraConfig(rank=2), freeze=("^fusion.out/kernel$",))
    done = run(one, tmp_path, parameter_groups=groups)
    assert moved(done) == HEADS | {"inputs.facts.dense_0/kernel"}
    with pytest.raises(AdaptationError, match="heads that is not frozen"):
        adapt(network(), stage(lora=c.LoraConfig(rank=2), freeze=("kernel$",)))


def test_a_model_without_lora_has_no_such_layers() -> None:
    assert lora_layers(network().model) == []


class Steered(Progress):
    """Puts the bias of `z` where each epoch's number says, away from the best one."""

    best = 0.0
    away = (3.0, 1.0, -2.0, 4.0, 2.2, -2.6)
    """By epoch. From the nearest down: 1, -2, 2.2, -2.6; the means of the first one, two,
    three and four are 1, -0.5, 0.4 and -0.35, each nearer to the best than the last."""
    epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        bias = self.model.model.get_layer("heads.z.logits").bias
        bias.assign([self.best + self.away[self.epoch]])


@pytest.mark.parametrize(
    ("soup", "epochs", "mean"),
    [
        (1, (1,), 1.0),
        (2, (1, 2), -0.5),
        (3, (1, 2, 4), 0.4),
        (4, (1, 2, 4, 5), -0.35),
    ],
)
def test_a_soup_is_cooked_of_as_many_epochs_as_asked(
    soup: int,
    epochs: tuple[int, ...],
    mean: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, y = rows(1)
    # The squared error is least where the errors' mean is zero.
    errors = y["z"] - np.asarray(network().model(x)["z"])[:, 0]
    monkeypatch.setattr(Steered, "best", float(errors.mean()))
    monkeypatch.setattr(train_module, "Progress", Steered)
    done = train(
        table_config(soup=soup, epochs=6, learning_rate=1e-9, weight_decay=0.0),
        RESOURCES,
        tf.data.Dataset.from_tensor_slices(rows()).batch(8),
        tf.data.Dataset.from_tensor_slices(rows(1)).batch(16),
        train_examples=ROWS, work_dir=str(tmp_path / "w"), log_dir=str(tmp_path / "l"),
        say=lambda line: None,
    )  # fmt: skip
    assert done.soup == epochs
    bias = done.model.get_layer("heads.z.logits").bias
    assert float(bias[0]) == pytest.approx(errors.mean() + mean, abs=1e-4)
