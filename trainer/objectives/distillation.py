"""Distillation from a finished model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from trainer.config import (
    ClassificationHead,
    DistillationObjective,
    RetrievalHead,
    UserError,
    VqaHead,
)
from trainer.features import FUSED
from trainer.heads import HEADS
from trainer.modalities.base import Resources, Tensors
from trainer.objectives._layers import normalized
from trainer.objectives.base import Objective
from trainer.weight_names import Base, listed, read_base


class TeacherError(UserError, ValueError):
    """A teacher that answers something else than this model."""


class Distillation(Objective[DistillationObjective]):
    """L = sum_h w_h D_h over the heads h that teacher and student share, w_h their weight.

    Classes and answers: D = T^2 KL(p || q), p and q the softmax of the teacher's and the
    student's logits / T (Hinton et al. 2015); where a row may have several labels, each
    class is a question of its own, and D their mean. All else: the mean squared
    difference of what the heads' layers give, for numbers in the standard deviations of
    the student's labels (Ba and Caruana 2014). On all rows, labelled or not. The
    teacher's classes may stand in another order; other classes are refused.

    With `feature_weight`, also that times the mean of 1 - cos of both fused embeddings,
    the student's through a linear layer of its own (FitNets, Romero et al. 2015).
    """

    def build(self, network: Any, peers: Mapping[str, Objective[Any]]) -> None:
        super().build(network, peers)
        path = self.config.teacher
        self.teacher = network.finished(path)
        self.teacher.trainable = False
        ours, theirs = network.model.output, self.teacher.output
        shared = [head for head in self.whole.heads if head.name in theirs]
        base = read_base(path)
        self.theirs = Resources() if base is None else base.resources
        self.orders = self._orders(base, path, [head.name for head in shared])
        self.heads = [
            head
            for head in shared
            if theirs[head.name].shape[1:] == ours[head.name].shape[1:]
        ]
        if not self.heads:
            raise TeacherError(
                f"distillation.teacher: {path} has none of the heads"
                f" {', '.join(one.name for one in self.whole.heads)}, or none with as"
                " many classes."
            )
        self.match: keras.layers.Dense | None = None
        if self.config.feature_weight:
            self.match = keras.layers.Dense(
                theirs[FUSED].shape[-1], dtype="float32", name="distillation.match"
            )
            self.match.build(network.shapes()[FUSED])
            self.layers = [self.match]

    def _orders(
        self, base: Base | None, path: str, names: Sequence[str]
    ) -> dict[str, list[int]]:
        """Head -> where the teacher has each of this model's classes, if elsewhere.

        A `.keras` file does not tell its classes: they are taken as they stand.
        """
        if base is None:
            return {}
        out = {}
        for name in names:
            there, here = base.config.head(name), self.whole.head(name)
            head, student = HEADS[there.kind](there), HEADS[here.kind](here)
            if student.learned_answers:
                continue  # `finished` has put the teacher's answers in this order.
            known, wanted = (
                one.names(resources)
                for one, resources in (
                    (head, base.resources), (student, self.resources),
                )
            )  # fmt: skip
            if (there.kind, known) == (here.kind, wanted):
                continue
            free = isinstance(here, ClassificationHead) and there.kind == here.kind
            if not free or sorted(known) != sorted(wanted):
                raise TeacherError(
                    f"distillation.teacher: {path} has heads[{name}] as {there.kind}"
                    f" ({listed(known)}), and here it is {here.kind} ({listed(wanted)});"
                    " a teacher must know the same."
                )
            out[name] = [known.index(one) for one in wanted]
        return out

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
            if head.name in self.orders:
                theirs = ops.take(theirs, self.orders[head.name], axis=-1)
            kind = HEADS[head.kind](head)
            theirs = kind.in_our_units(theirs, self.theirs, self.resources)
            total += head.weight * self._difference(head, theirs, ours)
        if self.match is not None:
            mine = normalized(self.match(outputs[FUSED]))
            near = ops.sum(mine * normalized(given[FUSED]), axis=-1)
            total += self.config.feature_weight * ops.mean(1.0 - near)
        return total

    def _difference(self, head: Any, theirs: Any, ours: Any) -> Any:
        """Scalar float32: how far the student's logits are from the teacher's."""
        if isinstance(head, (ClassificationHead, VqaHead)):
            several = (
                head.multi_label
                if isinstance(head, ClassificationHead)
                else head.loss == "sigmoid"
            )
            return softened_divergence(
                theirs, ours, self.config.temperature, several=several
            )
        if isinstance(head, RetrievalHead):
            # The embeddings; the scale beside them is a hundred times as large.
            theirs, ours = theirs[:, : 2 * head.dim], ours[:, : 2 * head.dim]
        return ops.mean(ops.square(theirs - ours))


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
