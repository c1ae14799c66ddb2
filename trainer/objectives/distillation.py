"""Distillation from a finished model."""

from __future__ import annotations

import os
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from trainer.config import (
    CONFIG_ASSET,
    ClassificationHead,
    DistillationObjective,
    UserError,
    load,
)
from trainer.features import EMBEDDING
from trainer.modalities.base import Resources, Tensors
from trainer.objectives.base import Objective
from trainer.objectives.layers import normalized


class TeacherError(UserError, ValueError):
    """A teacher that cannot be loaded, or that answers something else."""


class Distillation(Objective[DistillationObjective]):
    """L = T^2 KL(teacher_T || student_T) for classes, squared error for numbers.

    p_T = softmax(logits / T) (Hinton et al. 2015); for several labels per row each
    class is a question of its own. Summed over the heads that teacher and student
    share, on all rows, labelled or not. With `feature_weight` also 1 - cos of both
    fused embeddings, the student's through a linear layer (FitNets, Romero et al. 2015).
    """

    def build(self, network: Any) -> None:
        super().build(network)
        path = self.config.teacher
        self.teacher = teacher_model(path, self.resources)
        self.teacher.trainable = False
        unknown = sorted(set(self.teacher.input) - set(network.model.input))
        if unknown:
            raise TeacherError(
                f"distillation.teacher: {path} asks for {', '.join(unknown)}, which this"
                " config does not make; its inputs must have the same names and kinds."
            )
        self.heads = [
            head for head in self.whole.heads
            if head.name in self.teacher.output
            and self.teacher.output[head.name].shape[1:]
            == network.model.output[head.name].shape[1:]
        ]  # fmt: skip
        if not self.heads:
            raise TeacherError(
                f"distillation.teacher: {path} has none of the heads"
                f" {', '.join(one.name for one in self.whole.heads)}, or with another"
                " number of classes."
            )
        self.match: keras.layers.Dense | None = None
        if self.config.feature_weight:
            self.match = keras.layers.Dense(
                self.teacher.output[EMBEDDING].shape[-1],
                dtype="float32",
                name="distillation_match",
            )
            self.match.build(network.shapes()[EMBEDDING])
            self.layers = [self.match]

    def loss(
        self, x: Tensors, y: Tensors, outputs: Tensors, *, training: bool = True
    ) -> Any:
        given = self.teacher(
            {key: x[key] for key in self.teacher.input}, training=False
        )
        given = {key: ops.stop_gradient(value) for key, value in given.items()}
        total = 0.0
        for head in self.heads:
            theirs, ours = given[head.name], outputs[head.name]
            if isinstance(head, ClassificationHead):
                total += softened_divergence(
                    theirs, ours, self.config.temperature, several=head.multi_label
                )
            else:
                total += ops.mean(ops.square(theirs - ours))
        if self.match is not None:
            mine = normalized(self.match(outputs[EMBEDDING]))
            near = ops.sum(mine * normalized(given[EMBEDDING]), axis=-1)
            total += self.config.feature_weight * ops.mean(1.0 - near)
        return total


def softened_divergence(
    theirs: Any, ours: Any, temperature: float, *, several: bool
) -> Any:
    """T^2 times the mean KL divergence of the softened student from the teacher.

    Args:
        theirs, ours: logits, float32 [batch, classes].
        several: any number of classes per row: one yes-or-no question per class.
    """
    if several:
        theirs = ops.stack([theirs, ops.zeros_like(theirs)], axis=-1)
        ours = ops.stack([ours, ops.zeros_like(ours)], axis=-1)
    theirs = ops.log_softmax(theirs / temperature, axis=-1)
    ours = ops.log_softmax(ours / temperature, axis=-1)
    divergence = ops.sum(ops.exp(theirs) * (theirs - ours), axis=-1)
    return temperature**2 * ops.mean(divergence)


def teacher_model(path: str, resources: Resources) -> keras.Model:
    """The Keras model of an exported folder or a `.keras` file.

    An exported model is built again from the config that it carries: the training step
    can then be compiled, which it cannot with a signature that answers strings.

    Raises:
        TeacherError: it cannot be loaded, or does not fit the data's vocabularies.
    """
    from trainer.model import build_model
    from trainer.transfer import TransferError, restore

    if path.endswith(".keras"):
        try:
            return keras.saving.load_model(path, compile=False)
        except (OSError, ValueError) as error:
            raise TeacherError(f"distillation.teacher: {path}: {error}") from error
    file = os.path.join(path, CONFIG_ASSET)
    if not tf.io.gfile.exists(file):
        raise TeacherError(
            f"distillation.teacher: {path!r} is neither a .keras file nor the folder of"
            f" a model that polymodal exported (no {CONFIG_ASSET})."
        )
    config = load(file)
    try:
        model = build_model(config, resources)
        done = restore(model, config, resources, path)
    except (KeyError, TransferError) as error:
        raise TeacherError(f"distillation.teacher: {path}: {error}") from error
    if done.fresh:
        raise TeacherError(
            f"distillation.teacher: {path} was trained on other vocabularies or classes:"
            f" {', '.join(done.fresh)} do not fit."
        )
    return model
