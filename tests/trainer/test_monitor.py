"""Early stopping and the best epoch by a metric of a head, on the selection split."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from sklearn import metrics

from tests.trainer.test_callbacks import Holder
from tests.trainer.test_callbacks import run as run_epochs
from tests.trainer.test_train import RESOURCES, rows, run, table_config
from trainer.callbacks import BestWeights
from trainer.config import (
    ClassificationHead,
    Config,
    ObjectivesConfig,
    OrdinalHead,
    PclObjective,
    RankingHead,
    RegressionHead,
    StageConfig,
    TextInput,
    TrainingConfig,
    VqaHead,
    replace,
)
from trainer.heads import HEADS
from trainer.modalities import Resources
from trainer.monitor import (
    Monitored,
    monitor_problems,
    monitored,
    selection_metric,
)


def config(*heads: Any, **changes: Any) -> Config:
    one = Config(name="c", inputs=(TextInput("a"),), heads=heads)
    return replace(one, training=TrainingConfig(**changes))


LABEL, PRICE = ClassificationHead("label", ("cat", "a/b")), RegressionHead("price")


@pytest.mark.parametrize(
    ("monitor", "name", "higher"),
    [
        (None, "loss", False),
        ("balanced_accuracy", "label/balanced_accuracy", True),
        ("log_loss", "label/log_loss", False),
        ("price/rmse", "price/rmse", False),
        ("recall_of_cat", "label/recall_of_cat", True),
        ("f1_of_a/b", "label/f1_of_a/b", True),
        ("label/precision_of_a/b", "label/precision_of_a/b", True),
    ],
)
def test_what_is_monitored(monitor: str, name: str, higher: bool) -> None:
    one = config(LABEL, PRICE, monitor=monitor)
    assert list(monitor_problems(one)) == []
    found = monitored(one)
    assert (found.name, found.higher) == (name, higher)


def test_a_stage_that_teaches_no_head_looks_at_its_loss() -> None:
    one = config(LABEL, PRICE, monitor="accuracy")
    assert (
        monitored(replace(one, objectives=ObjectivesConfig(pcl=PclObjective()))).name
        == "loss"
    )


def test_a_metric_that_no_head_has_is_refused_with_those_that_it_has() -> None:
    (said,) = monitor_problems(config(LABEL, PRICE, monitor="balanced_acuracy"))
    assert said == (
        "training.monitor: head 'label' is judged by accuracy, log_loss,"
        " balanced_accuracy, macro_recall, macro_f1, auc, precision_of_CLASS,"
        " recall_of_CLASS, f1_of_CLASS. Did you mean 'balanced_accuracy'?"
        " Received: 'balanced_acuracy'"
    )
    (said,) = monitor_problems(config(LABEL, monitor="lable/accuracy"))
    assert said == (
        "training.monitor: no such head. Heads: label. Received: 'lable/accuracy'"
    )
    stage = StageConfig("last", training=TrainingConfig(monitor="price/accuracy"))
    staged = replace(config(LABEL, PRICE), stages=(stage,))
    (said,) = monitor_problems(staged)
    assert said.startswith("stages[last].training.monitor: head 'price' is judged by")


# ---- the metric itself, off batches


def batches(y: Mapping[str, Any], logits: Any, size: int = 4) -> list[Any]:
    count = len(logits)
    return [
        ({"z": tf.constant(logits[i : i + size], tf.float32)},
         {key: tf.constant(value[i : i + size]) for key, value in y.items()})
        for i in range(0, count, size)
    ]  # fmt: skip


def measured(
    head: Any, metric: str, y: Mapping[str, Any], logits: Any, **resources: Any
) -> float:
    one = Monitored(HEADS[head.kind](head), metric, True)
    data = batches(y, np.asarray(logits, np.float32))
    found = Resources(**resources)
    return selection_metric(one, found, lambda x: {head.name: x["z"]}, data)


RNG = np.random.default_rng(0)
KNOWN = (np.arange(20) % 5 > 0).astype(np.float32)


def test_a_metric_of_classes_is_scikit_learns_on_the_labelled_rows() -> None:
    labels, logits = RNG.integers(0, 3, 20), RNG.normal(0, 1, (20, 3))
    y = {"y": np.where(KNOWN > 0, labels, -1), "weight:y": KNOWN}
    there = KNOWN > 0
    head = ClassificationHead("y", ("a", "b", "c"))
    truth, chosen = labels[there], logits.argmax(-1)[there]
    got = measured(head, "balanced_accuracy", y, logits)
    assert got == pytest.approx(metrics.balanced_accuracy_score(truth, chosen))
    got = measured(head, "recall_of_b", y, logits)
    each = metrics.recall_score(truth, chosen, average=None)
    assert got == pytest.approx(each[1])


def test_metrics_of_other_heads_off_batches() -> None:
    ordinal = OrdinalHead("y", ("low", "mid", "high"))
    y = {"y": np.array([0, 1, 2, 0]), "weight:y": np.ones(4, np.float32)}
    above = [[-1.0, -2.0], [1.0, -1.0], [1.0, -1.0], [2.0, 1.0]]
    assert measured(ordinal, "mae", y, above) == (0 + 0 + 1 + 2) / 4
    several = ClassificationHead("y", ("a", "b"), multi_label=True)
    flags = np.array([[1, 0], [1, 1], [0, 0], [0, 1]], np.float32)
    logits = [[1.0, -1.0], [-1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0]]
    y = {"y": flags, "weight:y": np.ones(4, np.float32)}
    assert measured(several, "recall_of_a", y, logits) == 0.5
    assert measured(several, "precision_of_b", y, logits) == pytest.approx(2 / 3)
    number = RegressionHead("y")
    y = {"y": np.array([1, 2, math.nan, 5], np.float32),
         "weight:y": np.array([1, 1, 0, 1], np.float32)}  # fmt: skip
    got = measured(
        number, "mae", y, [[1.0], [1.0], [9.0], [1.0]], statistics={"y": (0.0, 1.0)}
    )
    assert got == pytest.approx((0 + 1 + 4) / 3)
    ranking = RankingHead("y", group="query", relevant_from=2.0)
    y = {"y": np.array([2, 1, 0, 3], np.float32), "weight:y": np.ones(4, np.float32),
         "group:y": np.array([7, 7, 9, 9])}  # fmt: skip
    # The relevant one is second of 7 and first of 9.
    got = measured(ranking, "mrr", y, [[0.0], [1.0], [0.0], [1.0]])
    assert got == pytest.approx((1 / 2 + 1) / 2)
    vqa = VqaHead("y")
    # Annotators: no, no, unknown; yes. Answered: no, no.
    y = {"y": np.array([[1, 1, -1, -2], [0, -2, -2, -2]]),
         "weight:y": np.ones(2, np.float32)}  # fmt: skip
    got = measured(
        vqa, "vqa_accuracy", y, [[0.0, 1.0]] * 2, answers={"y": ("yes", "no")}
    )
    assert got == pytest.approx((2 / 3 + 0) / 2)


def test_without_a_labelled_row_there_is_no_metric() -> None:
    y = {"y": np.full(4, -1), "weight:y": np.zeros(4, np.float32)}
    head = ClassificationHead("y", ("a", "b"))
    assert math.isnan(measured(head, "accuracy", y, np.zeros((4, 2))))


# ---- the best epoch


def started(tmp_path: Path, holder: Any, **changes: Any) -> BestWeights:
    callback = BestWeights(str(tmp_path), 2, **changes)
    callback.set_model(holder)
    callback.on_train_begin()
    return callback


def test_the_highest_epoch_is_kept_where_higher_is_better(tmp_path: Path) -> None:
    holder = Holder()
    callback = started(tmp_path, holder, higher=True)
    # Epoch 1 is the best; two epochs without a better one end the run.
    assert run_epochs(callback, holder, [0.5, 0.8, 0.7, 0.8, 0.9]) == 4
    callback.on_train_end()
    assert holder.value == 1.0
    assert callback.says(4) == (
        "kept the weights of epoch 2 of 4: loss 0.8000 on the selection split"
    )
    second = Holder()
    assert started(tmp_path, second, higher=True).kept == [(0.8, 1)]


def test_a_soup_of_a_metric_takes_what_raises_it(tmp_path: Path) -> None:
    holder = Holder()
    callback = started(
        tmp_path, holder, higher=True, keep=3, judge=lambda: -abs(holder.value - 1.4),
        monitor="val_y/auc",
    )  # fmt: skip
    for epoch, value in enumerate([-1.4, -0.4, -0.6, -1.6]):
        holder.value = float(epoch)
        callback.on_epoch_end(epoch, {"val_y/auc": value})
    callback.on_train_end()
    assert (holder.value, callback.soup) == (1.5, [1, 2])
    assert callback.says(4) == (
        "kept the mean weights of epochs 2, 3 of 4: y/auc -0.1000 on the selection split"
    )


def test_epochs_without_a_number_are_said(tmp_path: Path) -> None:
    callback = started(tmp_path, Holder())
    run_epochs(callback, Holder(), [math.nan])
    callback.on_train_end()
    assert callback.says(1) == (
        "kept the last epoch, 1: no epoch had a loss on the selection split that is a"
        " number"
    )


# ---- a whole run


@pytest.mark.parametrize("ema", [None, 0.5])
def test_training_keeps_the_epoch_that_the_metric_names(
    tmp_path: Path, ema: float | None
) -> None:
    lines: list[str] = []
    one = table_config(
        monitor="z/mae", epochs=5, learning_rate=0.2, ema_momentum=ema, clip_norm=None
    )
    trained = run(one, tmp_path, say=lines.append)
    found = trained.history["val_z/mae"]
    best = int(np.argmin(found))
    assert trained.soup == (best,)
    assert len({*found}) == 5
    assert lines[-1] == (
        f"kept the weights of epoch {best + 1} of 5: z/mae {found[best]:.4f} on the"
        " selection split"
    )
    # The exported weights have that metric: on the rows of the selection split.
    x, y = rows(1)
    tensors = {k: tf.constant(v) for k, v in x.items()}
    said = np.asarray(trained.model(tensors, training=False)["z"])[:, 0]
    assert np.abs(said - y["z"]).mean() == pytest.approx(found[best], rel=1e-4)
    assert RESOURCES.statistics["z"] == (0.0, 1.0)


def test_the_log_says_that_the_last_epoch_was_kept(tmp_path: Path) -> None:
    lines: list[str] = []
    run(table_config(epochs=2), tmp_path, selection_data=None, say=lines.append)
    assert lines[-1] == "kept the last epoch, 2: there is no selection split"
