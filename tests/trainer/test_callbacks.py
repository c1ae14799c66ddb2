import json
import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from trainer.callbacks import BestWeights, Progress, TrainingError


class Holder:
    """Stands for the learner: a model inside, and the flag that stops `fit`."""

    def __init__(self, value: float = 0.0) -> None:
        x = keras.Input((1,))
        y = keras.layers.Dense(1, use_bias=False, name="dense")(x)
        self.model = keras.Model(x, y)
        self.stop_training = False
        self.value = value

    @property
    def value(self) -> float:
        return float(self.model.get_weights()[0][0, 0])

    @value.setter
    def value(self, value: float) -> None:
        self.model.set_weights([np.full((1, 1), value)])


def started(tmp_path: Path, holder: Any, patience: int | None = 2) -> BestWeights:
    callback = BestWeights(str(tmp_path), patience)
    callback.set_model(holder)
    callback.on_train_begin()
    return callback


def run(callback: BestWeights, holder: Holder, losses: list[float], at: int = 0) -> int:
    """Epochs with those losses, each with its number as weight; how many ran."""
    for epoch, loss in enumerate(losses, at):
        holder.value = float(epoch)
        callback.on_epoch_end(epoch, {"val_loss": loss})
        if holder.stop_training:
            return epoch + 1
    return at + len(losses)


def test_the_best_epochs_weights_come_back(tmp_path: Path) -> None:
    holder = Holder()
    callback = started(tmp_path, holder, None)
    assert run(callback, holder, [3.0, 1.0, 2.0, 1.5, 1.0]) == 5
    callback.on_train_end()
    assert holder.value == 1.0  # an equal loss later is no improvement


def test_it_stops_after_the_patience(tmp_path: Path) -> None:
    holder = Holder()
    callback = started(tmp_path, holder)
    assert run(callback, holder, [3.0, 1.0, 2.0, 1.5, 0.5]) == 4
    assert holder.stop_training


def test_a_resumed_run_knows_the_best_of_before(tmp_path: Path) -> None:
    first = Holder()
    run(started(tmp_path, first), first, [3.0, 1.0, 2.0])
    second = Holder(value=99.0)
    callback = started(tmp_path, second)
    assert callback.kept == [(1.0, 1)]
    assert run(callback, second, [1.5, 1.2], at=3) == 4
    callback.on_train_end()
    assert second.value == 1.0


def test_a_loss_that_is_no_number_is_never_the_best(tmp_path: Path) -> None:
    holder = Holder()
    callback = started(tmp_path, holder, None)
    run(callback, holder, [math.nan, 2.0, math.nan])
    callback.on_train_end()
    assert holder.value == 1.0


def test_no_half_written_file_is_left(tmp_path: Path) -> None:
    holder = Holder()
    run(started(tmp_path, holder), holder, [3.0, 1.0])
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["best.1.weights.h5", "best.json"]
    assert json.loads((tmp_path / "best.json").read_text()) == [[1.0, 1]]


def soup(tmp_path: Path, holder: Holder, keep: int) -> BestWeights:
    """A judge that likes the weight 1.4: epochs 1, 2 and 0 come nearest, in that order."""
    callback = BestWeights(
        str(tmp_path), None, keep=keep, judge=lambda: abs(holder.value - 1.4)
    )
    callback.set_model(holder)
    callback.on_train_begin()
    return callback


def test_a_greedy_soup_takes_what_lowers_the_loss(tmp_path: Path) -> None:
    holder = Holder()
    callback = soup(tmp_path, holder, 3)
    # Epoch n has the weight n, and the loss |n - 1.4|.
    run(callback, holder, [1.4, 0.4, 0.6, 1.6])
    assert [epoch for _, epoch in callback.kept] == [1, 2, 0]
    assert len(list(tmp_path.glob("best.*.weights.h5"))) == 3
    callback.on_train_end()
    # 1: 0.4. (1 + 2) / 2 = 1.5: 0.1, taken. (1 + 2 + 0) / 3 = 1: 0.4, left out.
    assert holder.value == 1.5
    assert callback.soup == [1, 2]


def test_a_soup_of_a_resumed_run_holds_epochs_of_before(tmp_path: Path) -> None:
    first = Holder()
    run(soup(tmp_path, first, 2), first, [1.4, 0.4])
    second = Holder()
    callback = soup(tmp_path, second, 2)
    run(callback, second, [0.6], at=2)
    callback.on_train_end()
    assert (second.value, callback.soup) == (1.5, [1, 2])


def test_progress_says_a_line_per_epoch() -> None:
    lines: list[str] = []
    Progress(lines.append, 5).on_epoch_end(1, {"loss": 0.25, "val_loss": 1.0})
    assert lines == ["epoch 2/5  loss 0.2500  val_loss 1.0000"]


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_lost_loss_stops_the_run(loss: float) -> None:
    with pytest.raises(TrainingError, match=r"in epoch 3: lower.*learning_rate"):
        Progress(print, 5).on_epoch_end(2, {"loss": loss})
