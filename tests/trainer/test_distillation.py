"""Distillation: divergences against SciPy, what a teacher may be, and what it may not."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import rel_entr

from tests.trainer import samples
from tests.trainer.objective_cases import (
    RESOURCES,
    SMALL,
    batch,
    float64,
    learner,
    of_inputs,
    softmax,
)
from trainer import config as c
from trainer.model import build_model
from trainer.objectives.distillation import TeacherError, softened_divergence
from trainer.transfer import TransferError

RNG = np.random.default_rng(0)
THEIRS, OURS = RNG.normal(0, 2, (5, 3)), RNG.normal(0, 2, (5, 3))


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_kl_divergence_times_the_temperature_squared(temperature: float) -> None:
    p, q = softmax(THEIRS / temperature), softmax(OURS / temperature)
    wanted = temperature**2 * rel_entr(p, q).sum(1).mean()
    got = softened_divergence(
        tf.constant(THEIRS, tf.float32),
        tf.constant(OURS, tf.float32),
        temperature,
        several=False,
    )
    assert float(got) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_of_several_labels_each_is_a_question(temperature: float) -> None:
    p, q = (1 / (1 + np.exp(-v / temperature)) for v in (THEIRS, OURS))
    each = rel_entr(p, q) + rel_entr(1 - p, 1 - q)
    got = softened_divergence(
        tf.constant(THEIRS, tf.float32),
        tf.constant(OURS, tf.float32),
        temperature,
        several=True,
    )
    assert float(got) == pytest.approx(temperature**2 * each.mean(), rel=1e-4)


def test_the_scale_of_the_gradient_hardly_depends_on_the_temperature() -> None:
    sizes = []
    for temperature in (20.0, 80.0):
        ours = tf.Variable(OURS, dtype=tf.float32)
        with tf.GradientTape() as tape:
            loss = softened_divergence(
                tf.constant(THEIRS, tf.float32), ours, temperature, several=False
            )
        sizes.append(np.abs(np.asarray(tape.gradient(loss, ours))).mean())
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)


HEADS: tuple[Any, ...] = (
    c.replace(samples.DISEASE, weight=2.0),
    c.ClassificationHead("tags", ("a", "b"), multi_label=True),
    samples.SCORE,
    c.RetrievalHead("found", pair=("note", "facts"), dim=2, weight=0.5),
)
TEACHING = {"inputs": SMALL["inputs"], "heads": HEADS}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("teacher") / "teacher.keras")
    keras.utils.set_random_seed(7)
    build_model(samples.clinic_config(**TEACHING), RESOURCES).save(path)
    return path


def student(teacher: str, option: Any = None, **changes: Any) -> tuple[Any, Any]:
    one = learner(
        "distillation",
        c.DistillationObjective(teacher=teacher, **(option or {})),
        **{**TEACHING, **changes},
    )
    return one, one.objectives["distillation"]


def test_the_loss_over_the_heads_of_a_keras_file(teacher: str) -> None:
    one, objective = student(teacher, {"temperature": 3.0, "feature_weight": 0.7})
    x, y = batch(5)
    x = of_inputs(x, one.network.config)
    given = keras.saving.load_model(teacher, compile=False)(x, training=False)
    outputs = one(x, training=False)
    got = float(objective.loss(x, y, outputs))
    theirs = {k: float64(v) for k, v in given.items()}
    ours = {k: float64(v) for k, v in outputs.items() if k in given}
    p, q = (softmax(v["disease"] / 3) for v in (theirs, ours))
    disease = 9 * rel_entr(p, q).sum(1).mean()
    p, q = (1 / (1 + np.exp(-v["tags"] / 3)) for v in (theirs, ours))
    tags = 9 * (rel_entr(p, q) + rel_entr(1 - p, 1 - q)).mean()
    score = ((theirs["score"] - ours["score"]) ** 2).mean()
    # Not the scale, which stands behind both embeddings.
    found = ((theirs["found"] - ours["found"])[:, :4] ** 2).mean()
    kernel, bias = map(float64, objective.match.weights)
    fused = ours["fused:"] @ kernel + bias
    both = fused, theirs["fused:"]
    mine, wanted = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in both)
    feature = (1 - (mine * wanted).sum(1)).mean()
    total = 2 * disease + tags + score + 0.5 * found + 0.7 * feature
    assert got == pytest.approx(total, rel=1e-4)


def test_a_student_that_is_its_teacher_has_nothing_to_learn(teacher: str) -> None:
    one, objective = student(teacher)
    assert objective.match is None
    one.model.set_weights(objective.teacher.get_weights())
    x, y = batch(5)
    x = of_inputs(x, one.network.config)
    assert float(objective.loss(x, y, one(x, training=False))) < 1e-6


def test_the_teacher_does_not_learn(teacher: str) -> None:
    one, objective = student(teacher, {"feature_weight": 1.0})
    x, y = batch(5)
    x = of_inputs(x, one.network.config)
    with tf.GradientTape() as tape:
        loss = objective.loss(x, y, one(x, training=True))
    theirs = [v.value for v in objective.teacher.variables]
    assert all(g is None for g in tape.gradient(loss, theirs))
    ours = {id(v) for v in one.trainable_variables}
    assert not any(id(v) in ours for v in objective.teacher.variables)
    assert all(id(v) in ours for v in objective.match.variables)


def test_only_shared_heads_are_learned(teacher: str) -> None:
    heads = (
        samples.SCORE,
        c.replace(samples.DISEASE, classes=("flu", "cold")),
        c.ClassificationHead("new", ("x", "y")),
    )
    _, objective = student(teacher, heads=heads)
    assert [head.name for head in objective.heads] == ["score"]
    with pytest.raises(
        TeacherError, match="none of the heads new, or none with as many"
    ):
        student(teacher, heads=heads[2:])


def test_a_teacher_must_read_the_same_tensors(teacher: str) -> None:
    inputs = (c.replace(samples.NOTE, max_tokens=6), samples.FACTS)
    with pytest.raises(
        TransferError, match=r"note_padding_mask \(None, 8\), here \(None, 6\)"
    ):
        student(teacher, inputs=inputs)
    with pytest.raises(TransferError, match=r"facts_categorical .* here none"):
        student(teacher, inputs=(samples.NOTE,), heads=(samples.DISEASE,))


def test_a_teacher_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="neither a .keras file nor the folder"):
        student(str(tmp_path))
    broken = tmp_path / "broken.keras"
    broken.write_bytes(b"no archive")
    with pytest.raises(TransferError, match="cannot be loaded by Keras"):
        student(str(broken))
