"""What early stopping and the best epoch look at: the loss, or a metric of a head."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.config import Config
from trainer.heads import HEADS, Head
from trainer.modalities import Resources

_LOSS = "loss"


@dataclass(frozen=True)
class Monitored:
    """A number that is computed on the selection split after each epoch.

    Attributes:
        head: whose metric it is; None = the loss of all objectives.
        metric: one of the head's `named_directions`.
        higher: whether higher is better.
    """

    head: Head[Any] | None = None
    metric: str = _LOSS
    higher: bool = False

    @property
    def name(self) -> str:
        """`loss`, or HEAD/METRIC."""
        return self.metric if self.head is None else f"{self.head.name}/{self.metric}"


def monitored(config: Config) -> Monitored:
    """What `training.monitor` names, in the stage whose config this is.

    A stage without objectives that teach the heads is judged by its loss.
    """
    learned = config.objectives
    taught = (learned.supervised, learned.mixmatch, learned.distillation)
    if config.training.monitor is None or all(one is None for one in taught):
        return Monitored()
    head, metric = _named(config, config.training.monitor)
    assert head is not None
    return Monitored(head, metric, head.named_directions[metric])


def monitor_problems(config: Config) -> Iterator[str]:
    """Metrics under `monitor` that no head has, in the order of the file."""
    # Stages inherit what stands in the file's `training`.
    chosen = {config.training.monitor: "training"}
    for stage in config.stages:
        where = f"stages[{stage.name}].training"
        chosen.setdefault(stage.training.monitor, where)
    for name, where in chosen.items():
        if name is None:
            continue
        head, metric = _named(config, name)
        if head is None:
            known = ", ".join(one.name for one in config.heads)
            yield f"{where}.monitor: no such head. Heads: {known}. Received: {name!r}"
        elif problem := head.metric_problem(metric):
            yield f"{where}.monitor: {problem}"


def _named(config: Config, name: str) -> tuple[Head[Any] | None, str]:
    """METRIC of the first head, or HEAD/METRIC; a class's name may hold a / too."""
    first = config.heads[0]
    before, slash, after = name.partition("/")
    for one in config.heads:
        if slash and one.name == before:
            return HEADS[one.kind](one), after
    head = HEADS[first.kind](first)
    return (None if slash and head.metric_problem(name) else head), name


class MonitoredMetric(keras.callbacks.Callback):
    """Computes the metric of a head at the end of each evaluation.

    It belongs before all callbacks that are to see the metric among an epoch's logs,
    and before those that put averaged weights in for an evaluation: at its end, these
    take them away.

    Args:
        monitored: with a head.
        data: batches `(x, y)` of the selection split.

    Attributes:
        value: of the last evaluation.
    """

    def __init__(
        self, monitored: Monitored, resources: Resources, data: Iterable[Any]
    ) -> None:
        super().__init__()
        self.monitored, self.resources, self.data = monitored, resources, data
        self.value = float("nan")
        self._forward: Any = None

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        if self._forward is None:
            inner = self.model.model
            self._forward = tf.function(lambda x: inner(x, training=False))
        self.value = selection_metric(
            self.monitored, self.resources, self._forward, self.data
        )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None:
            logs[f"val_{self.monitored.name}"] = self.value


def selection_metric(
    monitored: Monitored, resources: Resources, model: Any, data: Iterable[Any]
) -> float:
    """A head's metric over all labelled rows; NaN where they cannot judge it.

    Args:
        model: from preprocessed tensors to logits by head.
        data: batches `(x, y)`.
    """
    head = monitored.head
    assert head is not None
    labels: list[Any] = []
    answers: dict[str, list[Any]] = {key: [] for key in head.judged}
    for x, y in data:
        found = head.answers(model(x)[head.name], resources)
        given = head.batch_labels(y, resources)
        known = [i for i, label in enumerate(given) if label is not None]
        labels += [given[i] for i in known]
        for key, parts in answers.items():
            parts.append(np.asarray(found[key])[known])
    if not labels:
        return float("nan")
    whole = {key: _texts(np.concatenate(parts)) for key, parts in answers.items()}
    found_metrics = head.named_metrics(labels, whole)
    return found_metrics.get(monitored.metric, float("nan"))


def _texts(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "OS":
        return values
    texts = [text.decode("utf-8") for text in values.ravel().tolist()]
    return np.array(texts, object).reshape(values.shape)
