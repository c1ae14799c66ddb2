"""Trains a model: distribution, precision, optimizer, callbacks."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.adaptation import (
    ReviveLora,
    Unfreeze,
    adapt,
    decay_factors,
    lora_layers,
    plain_values,
    thaw_groups,
)
from trainer.callbacks import BestWeights, Progress, write_confusion_matrix
from trainer.config import ClassificationHead, Config, StageConfig, to_json
from trainer.dataset import steps_per_epoch
from trainer.features import weight_key
from trainer.learner import Learner
from trainer.modalities import Resources
from trainer.model import Network, build_model, build_network
from trainer.monitor import MonitoredMetric, monitored
from trainer.optimizer import (
    GroupedAdamW,
    SwapAverages,
    freeze,
    make_optimizer,
    running_statistics,
)
from trainer.transfer import Transferred, restore


@dataclass(frozen=True)
class Trained:
    """A trained model and how it came about."""

    model: keras.Model
    history: dict[str, list[float]]
    resumed_from_epoch: int
    transferred: Transferred | None = None
    soup: tuple[int, ...] = ()
    """Epochs whose weights were averaged, from 0; one where there is no soup."""


def fingerprint(config: Config, sources: Sequence[str]) -> str:
    """Names a training run: the same config on the same data gives the same name."""
    text = "\n".join([to_json(config), *sorted(sources)])
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def make_strategy(devices: Sequence[str] | None = None) -> tf.distribute.Strategy:
    """MirroredStrategy over the devices (default: all GPUs) where there are several."""
    if devices is None:
        gpus = tf.config.list_logical_devices("GPU")
        devices = [device.name for device in gpus]
    if len(devices) > 1:
        return tf.distribute.MirroredStrategy(list(devices))
    return tf.distribute.get_strategy()


def train(
    config: Config,
    resources: Resources,
    train_data: tf.data.Dataset,
    selection_data: tf.data.Dataset | None,
    *,
    train_examples: int,
    work_dir: str,
    log_dir: str,
    stage: StageConfig | None = None,
    base: str | None = None,
    devices: Sequence[str] | None = None,
    say: Callable[[str], None] = print,
) -> Trained:
    """Trains to the end, or on from where a killed run of the same `work_dir` stopped.

    Args:
        train_data: batches `(x, y)` of one epoch.
        selection_data: what early stopping and the best epoch look at, see
            `trainer.monitor`; None keeps the last epoch.
        train_examples: rows of one epoch; sets the schedule's length.
        work_dir: where the backup lives until the run has ended well.
        log_dir: TensorBoard's directory.
        stage: which weights move, and how far; None = all of them.
        base: what the weights start from, see `trainer.transfer`; None = at random.
        devices: for MirroredStrategy; None = all GPUs.
        say: gets one line per epoch, and which of them was kept.
    """
    one = config.training
    keras.utils.set_random_seed(config.seed)
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(one.precision)
    try:
        with make_strategy(devices).scope():
            network = build_network(config, resources)
            model = network.model
            transferred = None
            if base is not None:
                transferred = restore(model, config, resources, base)
                say(f"{transferred} ({base})")
            frozen = freeze(model, one.parameter_groups)
            if frozen:
                say(f"frozen: {len(frozen)} variables")
            if stage is not None and _adapts(stage):
                say(adapt(network, stage))
            learner = Learner(network, config, resources)
            steps = one.epochs * steps_per_epoch(config, train_examples)
            optimizer = _optimizer(config, stage, network, steps)
            learner.compile(optimizer=optimizer, jit_compile=one.jit_compile)
            # BackupAndRestore restores the optimizer only if its slots exist.
            learner.optimizer.build(learner.trainable_variables)
        os.makedirs(work_dir, exist_ok=True)
        resumed = _finished_epochs(work_dir)
        if resumed:
            say(f"resuming after epoch {resumed}")
        callbacks: list[keras.callbacks.Callback] = [
            Progress(say, one.epochs),
            keras.callbacks.TensorBoard(log_dir, write_graph=False),
            keras.callbacks.BackupAndRestore(
                os.path.join(work_dir, "backup"), double_checkpoint=True
            ),
        ]
        if lora_layers(model):
            callbacks.append(ReviveLora(model, config.seed))
        if stage is not None and stage.unfreeze is not None:
            callbacks.append(Unfreeze(stage.unfreeze, optimizer.gates))
        for objective in learner.objectives.values():
            callbacks += objective.callbacks(train_data)
        if one.ema_momentum is not None:
            # After the backup, which wants the raw weights; before the best weights.
            callbacks.append(SwapAverages(swap_on_epoch=True))
        best = None
        if selection_data is not None:
            watched = monitored(config)
            measured: list[MonitoredMetric] = []
            if watched.head is not None:
                measured.append(MonitoredMetric(watched, resources, selection_data))

            def judge() -> float:
                found = learner.evaluate(
                    selection_data, callbacks=measured, verbose=0, return_dict=True
                )
                return measured[0].value if measured else found["loss"]

            best = BestWeights(
                work_dir,
                one.early_stopping_patience,
                keep=one.soup,
                judge=judge,
                monitor=f"val_{watched.name}",
                higher=watched.higher,
            )
            callbacks = [*measured, *callbacks, best]
        with warnings.catch_warnings():
            # A stage's objectives need not move every weight: pre-training has no use
            # for the heads.
            warnings.filterwarnings("ignore", "Gradients do not exist for variables")
            history = learner.fit(
                train_data,
                validation_data=selection_data,
                epochs=one.epochs,
                callbacks=callbacks,
                # The data set has drawn its order already; Keras warns otherwise.
                shuffle=False,
                verbose=0,
            )
        epochs = resumed + len(history.epoch)
        if best is None:
            say(f"kept the last epoch, {epochs}: there is no selection split")
        else:
            say(best.says(epochs))
        _draw(config, model, selection_data or train_data, log_dir)
        _write_graph(model, log_dir)
        # Outside of any strategy, with plain variables: what exports and compares. In
        # float32, for a server rounds bfloat16 in another order than training did.
        keras.config.set_dtype_policy("float32")
        plain_model = build_model(config, resources)
        plain_model.set_weights(plain_values(model))
    finally:
        keras.config.set_dtype_policy(previous)
    shutil.rmtree(work_dir, ignore_errors=True)
    return Trained(
        plain_model,
        history.history,
        resumed,
        transferred,
        tuple(best.soup) if best is not None else (),
    )


def _adapts(stage: StageConfig) -> bool:
    chosen = (stage.linear_probe, stage.lora, stage.freeze, stage.unfreeze)
    return any(bool(one) for one in chosen)


def _optimizer(
    config: Config, stage: StageConfig | None, network: Network, steps: int
) -> GroupedAdamW:
    factors, thaw = None, None
    if stage is not None:
        factors = decay_factors(network.model, stage.layer_decay)
        if stage.unfreeze is not None:
            thaw = thaw_groups(network.model, stage.unfreeze)
    statistics = running_statistics(network.model)
    return make_optimizer(config.training, steps, factors, thaw, statistics)


def _write_graph(model: keras.Model, log_dir: str) -> None:
    """The forward pass for TensorBoard's graph page; Keras draws no subclass."""
    specs = {k: tf.TensorSpec(v.shape, v.dtype) for k, v in model.input.items()}
    traced = tf.function(lambda x: model(x, training=False)).get_concrete_function(
        specs
    )
    with tf.summary.create_file_writer(log_dir).as_default():
        tf.summary.graph(traced.graph)


def _finished_epochs(work_dir: str) -> int:
    """Epochs that the backup holds; mends what a kill in the midst of writing left.

    Keras writes the metadata in place and reads it without a second thought: where
    it is cut off, the backup before it takes its place.
    """
    weights = os.path.join(work_dir, "backup", "latest.weights.h5")
    metadata = os.path.join(work_dir, "backup", "training_metadata.json")
    for suffix in ("", ".bkp"):
        try:
            with open(metadata + suffix, encoding="utf-8") as file:
                epochs = int(json.load(file)["epoch"])
        except (OSError, ValueError, KeyError):
            continue
        if suffix:
            shutil.copy(weights + suffix, weights)
            shutil.copy(metadata + suffix, metadata)
        return epochs
    shutil.rmtree(os.path.join(work_dir, "backup"), ignore_errors=True)
    return 0


def _draw(config: Config, model: keras.Model, data: Any, log_dir: str) -> None:
    heads = [
        h
        for h in config.heads
        if isinstance(h, ClassificationHead) and not h.multi_label
    ]
    seen: dict[str, list[Any]] = {h.name: [] for h in heads}
    for x, y in data:
        logits = model(x, training=False)
        for head in heads:
            known = y[weight_key(head.name)].numpy() > 0
            chosen = np.argmax(logits[head.name].numpy(), -1)
            label = y[head.name].numpy()
            seen[head.name].append(np.stack([label, chosen])[:, known])
    for head in heads:
        pairs = np.concatenate(seen[head.name], axis=1)
        if pairs.size:
            write_confusion_matrix(log_dir, head.name, head.classes, pairs[0], pairs[1])
