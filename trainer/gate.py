"""The load gate: what must hold before an exported model may be pushed.

Evaluator loads a SavedModel as TF2 does and can bless one that TF Serving's loader
cannot open. The gate opens it with the TF1-style loader, which restores by the names
in the graph as TF Serving does, runs every signature, and compares the answers with
the trained model's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.answers import answer, threshold
from trainer.calibration import Calibration
from trainer.config import Config, UserError
from trainer.export import SIGNATURES
from trainer.features import EMBEDDING, FUSED, features
from trainer.modalities import Resources
from trainer.preprocessing import input_spec, preprocess

TOLERANCE = 1e-4
"""Largest accepted difference of scores: float32 sums in another order."""


class GateError(UserError, RuntimeError):
    """An exported model that must not be pushed."""


def check(
    directory: str,
    config: Config,
    model: keras.Model,
    resources: Resources,
    transform: Callable[[dict[str, Any]], dict[str, Any]],
    examples: Sequence[bytes],
    calibration: Calibration | None = None,
) -> None:
    """Raises GateError unless the SavedModel answers as the trained model does.

    Args:
        directory: the SavedModel.
        examples: serialized tf.Examples, at least one; real rows with some input
            missing make a sharper gate than made-up ones.
        calibration: what was exported with it.
    """
    sparse = tf.io.parse_example(tf.constant(list(examples)), input_spec(config))

    # KerasNLP's tokenizers give lists outside of a graph.
    @tf.function
    def prepare(stored: dict[str, Any]) -> dict[str, Any]:
        return preprocess(config, transform(stored), resources)

    tensors = prepare(sparse)
    outputs = model(tensors, training=False)
    calibration = calibration or {}
    expected: dict[str, Any] = answer(config, outputs, tensors, resources, calibration)
    raw = {
        f.key: _column(sparse[f.key], numeric=f.kind == "numeric")
        for f in features(config)
    }
    feeds = {
        "serving_default": {"examples": np.array(list(examples), object)},
        "serving_raw": raw,
        "transform_features": {"examples": np.array(list(examples), object)},
        "serving_tensors": {key: value.numpy() for key, value in tensors.items()},
        "embed": raw,
    }
    undecided = undecided_rows(config, expected, tensors, calibration)
    wanted = dict.fromkeys(("serving_default", "serving_raw"), expected)
    wanted["serving_tensors"] = expected
    wanted["embed"] = {EMBEDDING: outputs[FUSED]}
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        try:
            meta = tf.compat.v1.saved_model.load(session, ["serve"], directory)
        except Exception as error:
            raise GateError(
                f"{directory}: the TF1-style loader, and so TF Serving, cannot open"
                f" this SavedModel: {error}"
            ) from error
        for name in SIGNATURES:
            answers = _run(session, meta, name, feeds[name], directory)
            for key, value in wanted.get(name, {}).items():
                if key not in answers:
                    raise GateError(f"signature {name!r}: the answer lacks {key!r}.")
                either = undecided.get(key, False)
                _compare(name, key, answers[key], np.asarray(value), either)


def _column(sparse: Any, *, numeric: bool) -> np.ndarray:
    default = float("nan") if numeric else ""
    dense = tf.sparse.to_dense(sparse, default).numpy()
    if dense.shape[1]:
        first: np.ndarray = dense[:, 0]
        return first
    return np.full([len(dense)], default, np.float32 if numeric else object)


def _run(
    session: Any, meta: Any, name: str, feed: dict[str, Any], directory: str
) -> dict[str, np.ndarray]:
    if name not in meta.signature_def:
        raise GateError(f"{directory}: signature {name!r} is missing.")
    signature = meta.signature_def[name]
    fetches = {key: info.name for key, info in signature.outputs.items()}
    if set(signature.inputs) != set(feed):
        raise GateError(
            f"{directory}: signature {name!r} takes {sorted(signature.inputs)}, but the"
            f" config says {sorted(feed)}."
        )
    feeds = {signature.inputs[key].name: value for key, value in feed.items()}
    try:
        answers: dict[str, np.ndarray] = session.run(fetches, feeds)
    except Exception as error:
        raise GateError(
            f"{directory}: signature {name!r} fails in the TF1-style session: {error}"
        ) from error
    return answers


def undecided_rows(
    config: Config,
    answers: dict[str, Any],
    tensors: dict[str, Any],
    calibration: Calibration,
) -> dict[str, np.ndarray]:
    """Output -> the rows that rounding may turn: a score on the threshold itself."""
    out = {}
    for head in config.heads:
        bound = threshold(config, head.name, tensors, calibration)
        if bound is not None:
            top = np.asarray(answers[f"{head.name}_scores"]).max(axis=-1)
            near = np.abs(top - np.asarray(bound)) <= TOLERANCE
            out[f"{head.name}_abstained"] = near
    return out


def _compare(
    signature: str, key: str, got: np.ndarray, wanted: np.ndarray, either: Any
) -> None:
    if got.dtype.kind == "f":
        scale = max(1.0, float(np.abs(wanted).max(initial=0.0)))
        same = got.shape == wanted.shape and bool(
            np.allclose(got, wanted, rtol=0, atol=TOLERANCE * scale)
        )
    else:
        same = got.shape == wanted.shape and bool(np.all((got == wanted) | either))
    if not same:
        raise GateError(
            f"signature {signature!r}: {key!r} differs from the trained model's answer."
        )
