"""From a model's outputs to what the signatures answer, one row at a time the same."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from trainer.calibration import MAX_INPUTS, Calibration
from trainer.config import ClassificationHead, Config
from trainer.features import present_key
from trainer.heads import heads
from trainer.modalities import Resources, modalities


def answer(
    config: Config,
    outputs: Mapping[str, Any],
    tensors: Mapping[str, Any],
    resources: Resources,
    calibration: Calibration,
) -> dict[str, tf.Tensor]:
    """The heads' answers, and what is to be said of the inputs.

    Args:
        outputs: the model's: each head's name -> float32 logits [batch, size].
        tensors: the model's inputs, of which the presence masks are looked at.

    Returns:
        What each head answers, with its logits divided by the temperature of the inputs
        that the row has; `H_abstained` bool [batch] of a head with `abstain_below`,
        true where the highest score is below the threshold (Chow 1970, "On optimum
        recognition error and reject tradeoff"); and of each input what
        `Modality.answers` tells: whether it was there, and which categories are unknown.
    """
    out: dict[str, tf.Tensor] = {}
    for one in modalities(config):
        # Masks out of a decoder have no rank that the graph knows; these have.
        told = one.answers(dict(tensors))
        out |= {key: tf.reshape(value, [-1]) for key, value in told.items()}
    for head in heads(config):
        logits = tf.convert_to_tensor(outputs[head.name])
        fitted = calibration.get(head.name)
        if fitted is not None and fitted.temperatures:
            logits /= _by_inputs(config, tensors, fitted.temperature)[:, None]
        answers = head.answers(logits, resources)
        out.update(answers)
        bound = threshold(config, head.name, tensors, calibration)
        if bound is not None:
            highest = tf.reduce_max(answers[f"{head.name}_scores"], axis=-1)
            out[f"{head.name}_abstained"] = highest < bound
    return out


def threshold(
    config: Config, head: str, tensors: Mapping[str, Any], calibration: Calibration
) -> tf.Tensor | None:
    """float32 [batch], the score below which a head abstains; None = it never does."""
    one = config.head(head)
    if not isinstance(one, ClassificationHead) or one.abstain_below is None:
        return None
    if isinstance(one.abstain_below, float):
        rows = tf.shape(tensors[present_key(config.inputs[0].name)])
        return tf.fill(rows, one.abstain_below)
    if not calibration.get(head):
        return None
    return _by_inputs(config, tensors, calibration[head].threshold)


def _by_inputs(
    config: Config,
    tensors: Mapping[str, Any],
    looked_up: Callable[[Sequence[str]], float],
) -> tf.Tensor:
    """float32 [batch], by the inputs that each row has: a table over all sets of them."""
    names = [one.name for one in config.inputs]
    if len(names) > MAX_INPUTS:
        rows = tf.shape(tensors[present_key(names[0])])
        return tf.fill(rows, tf.constant(looked_up(names), tf.float32))
    table = [
        looked_up([n for n, there in zip(names, chosen, strict=True) if there])
        for chosen in itertools.product((False, True), repeat=len(names))
    ]
    place = 0
    for name in names:  # in the order in which product counts
        place = 2 * place + tf.cast(tensors[present_key(name)], tf.int32)
    # Masks out of a decoder have no rank that the graph knows; this one has.
    return tf.gather(tf.constant(table, tf.float32), tf.reshape(place, [-1]))
