"""Whole runs of `train` on a tiny table of numbers."""

from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import trainer.train as train_module
from trainer import config as c
from trainer.callbacks import Progress, TrainingError
from trainer.modalities import Resources
from trainer.train import Trained, train

RESOURCES = Resources(statistics={"z": (0.0, 1.0)}, class_counts={"y": (16.0, 16.0)})
ROWS = 32


def table_config(**training: Any) -> c.Config:
    settings = {
        "epochs": 4, "batch_size": 8, "learning_rate": 0.05, "warmup_fraction": 0.0,
        "modality_dropout": 0.0, "early_stopping_patience": None,
    }  # fmt: skip
    return c.Config(
        name="table",
        inputs=(
            c.TabularInput("facts", numeric=("a", "b"), hidden_dims=(8,), dropout=0.0),
        ),
        heads=(c.ClassificationHead("y", ("no", "yes")), c.RegressionHead("z")),
        embedding_dim=4,
        fusion=c.ConcatFusion(dim=4, hidden_dims=(), dropout=0.0),
        training=c.TrainingConfig(**{**settings, **training}),
    )


@cache
def rows(seed: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
    """y = a > b; z = a + b."""
    values = np.random.default_rng(seed).normal(0, 1, (ROWS, 2)).astype(np.float32)
    ones = np.ones(ROWS, np.float32)
    x = {
        "facts_numeric": np.concatenate([values, np.zeros_like(values)], 1),
        "facts_present": ones > 0,
    }
    y = {
        "y": (values[:, 0] > values[:, 1]).astype(np.int64),
        "z": values.sum(1),
        "weight:y": ones,
        "weight:z": ones,
    }
    return x, y


def run(config: c.Config, folder: Path, **options: Any) -> Trained:
    # tf.data mixes the process' seed into its own.
    keras.utils.set_random_seed(config.seed)
    data = tf.data.Dataset.from_tensor_slices(rows())
    shuffled = data.shuffle(ROWS, seed=config.seed).batch(config.training.batch_size)
    settings: dict[str, Any] = {
        "selection_data": tf.data.Dataset.from_tensor_slices(rows(1)).batch(16),
        "train_examples": ROWS,
        "work_dir": str(folder / "work"),
        "log_dir": str(folder / "log"),
        "say": lambda line: None,
    }
    return train(config, RESOURCES, shuffled, **{**settings, **options})


def weights(trained: Trained) -> np.ndarray:
    return np.concatenate([w.ravel() for w in trained.model.get_weights()])


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Path]:
    folder = tmp_path_factory.mktemp("first")
    return run(table_config(), folder), folder


def test_the_loss_falls_and_the_backup_goes(first: tuple[Trained, Path]) -> None:
    trained, folder = first
    losses = trained.history["loss"]
    assert len(losses) == 4
    assert losses[-1] < 0.5 * losses[0]
    assert trained.resumed_from_epoch == 0
    assert not (folder / "work").exists()


def test_history_is_what_the_model_does(first: tuple[Trained, Path]) -> None:
    trained, _ = first
    x, y = rows(1)
    out = trained.model({k: tf.constant(v) for k, v in x.items()})
    logits, said = np.asarray(out["y"], np.float64), np.asarray(out["z"])[:, 0]
    entropy = np.log(np.exp(logits).sum(-1)) - logits[np.arange(ROWS), y["y"]]
    wanted = entropy.mean() + ((said - y["z"]) ** 2).mean()
    # The best epoch's weights came back.
    assert min(trained.history["val_loss"]) == pytest.approx(wanted, rel=1e-4)


def test_the_same_seed_gives_the_same_weights_another_others(
    first: tuple[Trained, Path], tmp_path: Path
) -> None:
    again = run(table_config(), tmp_path / "again")
    np.testing.assert_array_equal(weights(first[0]), weights(again))
    other = run(c.replace(table_config(), seed=1), tmp_path / "other")
    assert np.abs(weights(first[0]) - weights(other)).max() > 0.01


def event_values(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("events*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            if event.graph_def:
                found["graph"] = tf.compat.v1.GraphDef.FromString(event.graph_def)
            for value in event.summary.value:
                found[value.tag] = value
    return found


def test_tensorboard_has_scalars_graph_and_confusion_matrix(
    first: tuple[Trained, Path],
) -> None:
    trained, folder = first
    values = event_values(folder / "log")
    loss = tf.make_ndarray(values["epoch_loss"].tensor).item()
    assert loss in [pytest.approx(trained.history[k][-1]) for k in ("loss", "val_loss")]
    assert len(values["graph"].node) > 5
    image = values["confusion_matrix/y"].tensor.string_val
    picture = tf.io.decode_png(image[2])
    assert picture.shape[2] == 3
    assert len(np.unique(picture)) > 10
    assert "confusion_matrix/z" not in values


@pytest.mark.parametrize(
    "change", [{"precision": "mixed_bfloat16"}, {"jit_compile": True}]
)
def test_lower_precision_and_xla_learn_as_well(
    change: dict[str, Any], tmp_path: Path
) -> None:
    trained = run(table_config(**change), tmp_path / "changed")
    losses = trained.history["loss"]
    assert losses[-1] < 0.6 * losses[0]
    assert keras.config.dtype_policy().name == "float32"
    # bfloat16 has three digits: the same course, and not the same numbers.
    plain = run(table_config(), tmp_path / "plain").history["loss"]
    assert losses[0] == pytest.approx(plain[0], rel=0.05)
    rounded = max(abs(a - b) for a, b in zip(losses, plain, strict=True))
    assert (rounded > 1e-4) == ("precision" in change)
    # What is exported computes in float32 either way.
    assert all(w.dtype == np.float32 for w in trained.model.get_weights())
    assert trained.model.get_layer("inputs.facts.dense_0").compute_dtype == "float32"


class Watched(Progress):
    """Notes the weights after every step."""

    seen: list[np.ndarray] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        found = [
            np.asarray(v, np.float64).ravel() for v in self.model.trainable_weights
        ]
        self.seen.append(np.concatenate(found))


@pytest.mark.parametrize("selection", [True, False])
def test_the_moving_average_of_the_weights_is_what_comes_out(
    selection: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_module, "Progress", Watched)
    monkeypatch.setattr(Watched, "seen", [])
    config = table_config(ema_momentum=0.8)
    chosen: dict[str, Any] = {} if selection else {"selection_data": None}
    trained = run(config, tmp_path, **chosen)
    assert len(Watched.seen) == 16
    average, per_epoch = Watched.seen[0], []
    for step, raw in enumerate(Watched.seen):
        average = 0.8 * average + 0.2 * raw
        if step % 4 == 3:
            per_epoch.append(average)
    best = int(np.argmin(trained.history["val_loss"])) if selection else 3
    got = np.concatenate(
        [np.asarray(v).ravel() for v in trained.model.trainable_weights]
    )
    np.testing.assert_allclose(got, per_epoch[best], atol=1e-5)
    assert np.abs(got - Watched.seen[4 * best + 3]).max() > 1e-3


class Killed(Exception):
    pass


class Killer(Progress):
    """Ends the third epoch as a killed process would: with nothing after it."""

    iterations: list[int] = []
    active = True

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.iterations.append(int(self.model.optimizer.iterations))
        if self.active and epoch == 2:
            raise Killed


@pytest.mark.parametrize("change", [{}, {"ema_momentum": 0.8}], ids=["plain", "ema"])
def test_a_killed_run_goes_on_where_it_was(
    change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_module, "Progress", Killer)
    monkeypatch.setattr(Killer, "iterations", [])
    monkeypatch.setattr(Killer, "active", True)
    config = table_config(**change)
    # In file order, for a killed run cannot know the shuffling's state.
    data = tf.data.Dataset.from_tensor_slices(rows()).batch(8)
    selection = tf.data.Dataset.from_tensor_slices(rows(1)).batch(16)
    lines: list[str] = []

    def go(name: str) -> Trained:
        return train(
            config, RESOURCES, data, selection, train_examples=ROWS,
            work_dir=str(tmp_path / name), log_dir=str(tmp_path / "log"),
            say=lines.append,
        )  # fmt: skip

    with pytest.raises(Killed):
        go("killed")
    assert (tmp_path / "killed" / "best.json").exists()
    monkeypatch.setattr(Killer, "active", False)
    resumed = go("killed")
    assert Killer.iterations == [0, 4, 8, 8, 12]
    assert resumed.resumed_from_epoch == 2
    assert "resuming after epoch 2" in lines
    assert len(resumed.history["loss"]) == 2
    whole = go("whole")
    np.testing.assert_allclose(weights(resumed), weights(whole), atol=1e-6)


def test_a_lost_loss_is_an_error_and_keeps_the_backup(tmp_path: Path) -> None:
    x, y = rows()
    y = {**y, "z": np.full(ROWS, 1e30, np.float32)}
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
    with pytest.raises(TrainingError, match="lower training.learning_rate"):
        train(
            table_config(), RESOURCES, data, None, train_examples=ROWS,
            work_dir=str(tmp_path / "w"), log_dir=str(tmp_path / "l"), say=print,
        )  # fmt: skip
    assert (tmp_path / "w").exists()
    assert keras.config.dtype_policy().name == "float32"


def test_early_stopping_and_frozen_groups_and_the_last_epoch(tmp_path: Path) -> None:
    group = c.ParameterGroup("facts", frozen=True)
    config = table_config(
        parameter_groups=(group,), learning_rate=5.0, clip_norm=None, epochs=9,
        early_stopping_patience=1,
    )  # fmt: skip
    lines: list[str] = []
    trained = run(config, tmp_path, say=lines.append)
    assert lines[0] == "frozen: 5 variables"
    epochs = trained.history["val_loss"]
    best = int(np.argmin(epochs))
    assert len(epochs) == min(9, best + 2)
    keras.utils.set_random_seed(0)
    start = train_module.build_model(config, RESOURCES)
    for new, old in zip(trained.model.variables, start.variables, strict=True):
        if new.path.startswith("inputs.facts."):
            np.testing.assert_array_equal(new, old)
