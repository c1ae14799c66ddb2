"""Supervised learning: every head's loss, weighted."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from trainer.config import SupervisedObjective
from trainer.features import auxiliary_key, present_key
from trainer.heads import heads
from trainer.modalities.base import Tensors
from trainer.objectives.base import Objective


class Supervised(Objective[SupervisedObjective]):
    """L = sum_h w_h (L_h(fused) + a_h mean_i L_h(input i alone)).

    L_h is the head's mean loss over the rows that carry its label. The second term
    (`auxiliary_weight` a_h) sees each input through a linear head of its own, on the
    rows where that input is present: the uni-modal teachers of Wang et al. 2020
    ("What makes training multi-modal classification networks hard?").
    """

    def loss(
        self, x: Tensors, y: Tensors, outputs: Tensors, *, training: bool = True
    ) -> Any:
        total = 0.0
        for head in heads(self.whole):
            value = head.loss(y, outputs[head.name], self.resources)
            if head.config.auxiliary_weight:
                alone = [
                    self._alone(head, one.name, x, y, outputs)
                    for one in self.whole.inputs
                ]
                value += head.config.auxiliary_weight * sum(alone) / len(alone)
            total += head.config.weight * value
        return total

    def _alone(
        self, head: Any, name: str, x: Tensors, y: Tensors, outputs: Tensors
    ) -> Any:
        present = ops.cast(x[present_key(name)], "float32")
        labels = {**y, head.weight: y[head.weight] * present}
        logits = outputs[auxiliary_key(head.name, name)]
        return head.loss(labels, logits, self.resources)

    def trackers(self) -> dict[str, keras.metrics.Metric]:
        out: dict[str, keras.metrics.Metric] = {}
        for head in heads(self.whole):
            out.update(head.trackers())
        return out

    def track(
        self,
        trackers: dict[str, keras.metrics.Metric],
        x: Tensors,
        y: Tensors,
        outputs: Tensors,
    ) -> None:
        for head in heads(self.whole):
            head.track(trackers, y, outputs[head.name], self.resources)
