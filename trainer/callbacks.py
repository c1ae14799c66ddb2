"""Callbacks that survive a killed run, and pictures for TensorBoard."""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.config import UserError


class BestWeights(keras.callbacks.Callback):
    """Keeps the best epoch's weights and stops when nothing improves.

    Keras' ModelCheckpoint and EarlyStopping forget their best value when a run is
    resumed; this one keeps it in a file beside the weights.

    Args:
        directory: where best.weights.h5 and best.json live.
        patience: epochs without improvement before stopping; None = never.
        monitor: log key that is to fall.
    """

    def __init__(
        self, directory: str, patience: int | None, monitor: str = "val_loss"
    ) -> None:
        super().__init__()
        self.weights = os.path.join(directory, "best.weights.h5")
        self.state_file = os.path.join(directory, "best.json")
        self.patience, self.monitor = patience, monitor
        self.best, self.best_epoch = math.inf, -1

    def on_train_begin(self, logs: Any = None) -> None:
        if os.path.exists(self.state_file) and os.path.exists(self.weights):
            with open(self.state_file, encoding="utf-8") as file:
                state = json.load(file)
            self.best, self.best_epoch = state["best"], state["epoch"]

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        value = float((logs or {})[self.monitor])
        if value < self.best:
            self.best, self.best_epoch = value, epoch
            # Each file appears whole or not at all: a kill may come at any moment.
            part = self.weights.replace(".weights.h5", ".part.weights.h5")
            self.model.model.save_weights(part)
            os.replace(part, self.weights)
            with open(self.state_file + ".part", "w", encoding="utf-8") as file:
                json.dump({"best": value, "epoch": epoch}, file)
            os.replace(self.state_file + ".part", self.state_file)
        elif self.patience is not None and epoch - self.best_epoch >= self.patience:
            self.model.stop_training = True

    def on_train_end(self, logs: Any = None) -> None:
        if self.best_epoch >= 0:
            self.model.model.load_weights(self.weights)


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
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

    ids = list(range(len(classes)))
    matrix = confusion_matrix(labels, chosen, labels=ids)
    rows = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = min(12.0, 3.0 + 0.4 * len(classes))
    with plt.rc_context({"font.sans-serif": _fonts()}):
        figure, axes = plt.subplots(figsize=(side, side), layout="constrained")
        display = ConfusionMatrixDisplay(rows, display_labels=classes)
        display.plot(
            ax=axes, cmap="Blues", colorbar=False, xticks_rotation=45,
            include_values=len(classes) <= 20, values_format=".2f",
        )  # fmt: skip
        axes.set_title(f"{name}: share of each true class, n = {len(labels)}")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=100)
        plt.close(figure)
    image = tf.io.decode_png(buffer.getvalue(), channels=3)
    with tf.summary.create_file_writer(directory).as_default():
        tf.summary.image(f"confusion_matrix/{name}", image[None], step=0)


def _fonts() -> list[str]:
    """Fonts that can draw Chinese class names come first where they are installed."""
    from matplotlib import font_manager

    wanted = ("Noto Sans CJK", "WenQuanYi", "SimHei", "Microsoft YaHei", "PingFang")
    installed = {font.name for font in font_manager.fontManager.ttflist}
    chinese = sorted(n for n in installed if n.startswith(wanted))
    return [*chinese, "DejaVu Sans"]
