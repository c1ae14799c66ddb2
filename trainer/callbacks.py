"""Callbacks that survive a killed run, and pictures for TensorBoard."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from trainer.config import UserError
from trainer.figures import confusion_figure, drawing, write_image


class BestWeights(keras.callbacks.Callback):
    """Keeps the best epochs' weights and stops when nothing improves.

    Keras' ModelCheckpoint and EarlyStopping forget their best value when a run is
    resumed; this one keeps it in a file beside the weights. At the end the model has
    the best epoch's weights or, of several that are kept, their greedy soup: the
    average to which each is added, from the best down, only if the monitored value is
    better with it (Wortsman et al. 2022, "Model soups").

    Args:
        directory: where best.N.weights.h5 and best.json live.
        patience: epochs without improvement before stopping; None = never.
        keep: how many epochs' weights are kept for the soup.
        judge: gives the monitored value of the model as it stands; needed where
            `keep` is above 1.
        monitor: log key that is looked at.
        higher: whether higher is better.

    Attributes:
        kept: (value, epoch from 0), the best first.
        soup: epochs that are in the model at the end.
        value: the monitored one of the model at the end; None before, and where no
            epoch had one.
    """

    def __init__(
        self,
        directory: str,
        patience: int | None,
        *,
        keep: int = 1,
        judge: Callable[[], float] | None = None,
        monitor: str = "val_loss",
        higher: bool = False,
    ) -> None:
        super().__init__()
        self.directory = directory
        self.state_file = os.path.join(directory, "best.json")
        self.patience, self.keep, self.monitor = patience, keep, monitor
        self.judge, self.higher = judge, higher
        self.kept: list[tuple[float, int]] = []
        self.soup: list[int] = []
        self.value: float | None = None

    @property
    def best_epoch(self) -> int:
        """The best epoch so far, from 0; -1 before there is one."""
        return self.kept[0][1] if self.kept else -1

    def _better(self, one: float, other: float) -> bool:
        return one > other if self.higher else one < other

    def _weights(self, epoch: int) -> str:
        return os.path.join(self.directory, f"best.{epoch}.weights.h5")

    def on_train_begin(self, logs: Any = None) -> None:
        if os.path.exists(self.state_file):
            with open(self.state_file, encoding="utf-8") as file:
                kept = [(float(value), int(epoch)) for value, epoch in json.load(file)]
            self.kept = [one for one in kept if os.path.exists(self._weights(one[1]))]

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        value = float((logs or {})[self.monitor])
        if not math.isnan(value) and (
            len(self.kept) < self.keep or self._better(value, self.kept[-1][0])
        ):
            # Each file appears whole or not at all: a kill may come at any moment.
            part = os.path.join(self.directory, "best.part.weights.h5")
            self.model.model.save_weights(part)
            os.replace(part, self._weights(epoch))
            sign = -1 if self.higher else 1
            ordered = sorted(
                [*self.kept, (value, epoch)], key=lambda one: (sign * one[0], one[1])
            )
            self.kept, dropped = ordered[: self.keep], ordered[self.keep :]
            with open(self.state_file + ".part", "w", encoding="utf-8") as file:
                json.dump(self.kept, file)
            os.replace(self.state_file + ".part", self.state_file)
            for _, old in dropped:
                os.remove(self._weights(old))
        if self.patience is not None and epoch - self.best_epoch >= self.patience:
            self.model.stop_training = True

    def on_train_end(self, logs: Any = None) -> None:
        if not self.kept:
            return
        model = self.model.model
        model.load_weights(self._weights(self.best_epoch))
        self.soup, self.value = [self.best_epoch], self.kept[0][0]
        if self.judge is None or len(self.kept) == 1:
            return
        self.value, best = self.judge(), model.get_weights()
        for _, epoch in self.kept[1:]:
            model.load_weights(self._weights(epoch))
            size = len(self.soup)
            mixed = [
                _added(old, new, size)
                for old, new in zip(best, model.get_weights(), strict=True)
            ]
            model.set_weights(mixed)
            value = self.judge()
            if self._better(value, self.value):
                self.value, best = value, mixed
                self.soup.append(epoch)
        model.set_weights(best)

    def says(self, epochs: int) -> str:
        """Which epochs the model at the end is of, and their value, in words.

        Args:
            epochs: how many there were.
        """
        name = self.monitor.removeprefix("val_")
        if self.value is None:
            return (
                f"kept the last epoch, {epochs}: no epoch had a {name} on the selection"
                " split that is a number"
            )
        numbers = ", ".join(str(epoch + 1) for epoch in self.soup)
        kept = (
            f"weights of epoch {numbers}"
            if len(self.soup) == 1
            else f"mean weights of epochs {numbers}"
        )
        return f"kept the {kept} of {epochs}: {name} {self.value:.4f} on the selection split"


def _added(mean: np.ndarray, new: np.ndarray, size: int) -> np.ndarray:
    """The mean of `size` arrays with one more; states of random generators stay."""
    if not np.issubdtype(mean.dtype, np.floating):
        return mean
    out: np.ndarray = (mean * size + new) / (size + 1)
    return out


class TrainingError(UserError, RuntimeError):
    """Training went somewhere from where it cannot come back."""


class Progress(keras.callbacks.Callback):
    """One line per epoch to a function (rich's console, a log).

    Raises TrainingError when the loss is no number any more: the weights are lost,
    and the backup still holds those of the epoch before.
    """

    def __init__(self, say: Callable[[str], None], epochs: int) -> None:
        super().__init__()
        self.say, self.epochs = say, epochs

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs = logs or {}
        if not math.isfinite(logs.get("loss", 0.0)):
            raise TrainingError(
                f"the loss is {logs['loss']} in epoch {epoch + 1}: lower"
                " training.learning_rate, set training.clip_norm, or use float32."
            )
        shown = "  ".join(f"{k} {v:.4f}" for k, v in logs.items())
        self.say(f"epoch {epoch + 1}/{self.epochs}  {shown}")


def write_confusion_matrix(
    directory: str, name: str, classes: tuple[str, ...], labels: Any, chosen: Any
) -> None:
    """Draws a row-normalized confusion matrix into TensorBoard's images.

    Args:
        directory: TensorBoard's log directory.
        labels, chosen: int [rows], class indices.
    """
    matrix = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(matrix, (np.asarray(labels), np.asarray(chosen)), 1)
    with drawing() as plt:
        figure = confusion_figure(plt, name, classes, matrix)
        write_image(directory, f"confusion_matrix/{name}", figure)
