"""Distillation: divergences against SciPy, what a teacher may be, and what it may not."""

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import rel_entr

from tests.trainer import samples
from tests.trainer.conftest import Clinic
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
from trainer.export import export
from trainer.learner import Learner
from trainer.model import build_model, build_network
from trainer.objectives.distillation import TeacherError, softened_divergence
from trainer.preprocessing import preprocess
from trainer.transfer import TransferError, restore

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


# ---- an exported model


@pytest.fixture(scope="module")
def exported(clinic: Clinic, tmp_path_factory: pytest.TempPathFactory) -> str:
    keras.utils.set_random_seed(7)
    folder = str(tmp_path_factory.mktemp("exported") / "1")
    model = build_model(clinic.config, clinic.resources)
    export(clinic.config, model, clinic.resources, clinic.layer, folder)
    return folder


def of_export(
    folder: str, clinic: Clinic, resources: Any = None, **changes: Any
) -> Any:
    objectives = c.ObjectivesConfig(
        supervised=None, distillation=c.DistillationObjective(teacher=folder)
    )
    config = c.replace(clinic.config, objectives=objectives, **changes)
    resources = resources or clinic.resources
    return Learner(build_network(config, resources), config, resources)


def test_an_exported_model_teaches_as_it_answers(exported: str, clinic: Clinic) -> None:
    # The student is larger than its teacher.
    fusion = c.ConcatFusion(dim=16, hidden_dims=(16,), dropout=0.0)
    one = of_export(exported, clinic, fusion=fusion)
    teacher = one.objectives["distillation"].teacher
    signature = tf.saved_model.load(exported).signatures["serving_tensors"]
    vocabulary = clinic.resources.vocabularies["note"]
    x, _ = batch(4)
    x["note_token_ids"] = tf.minimum(x["note_token_ids"], len(vocabulary) - 1)
    answers = signature(**x)
    logits = teacher(x, training=False)
    np.testing.assert_allclose(
        tf.nn.softmax(logits["disease"]), answers["disease_scores"], atol=1e-5
    )


def test_other_vocabularies_and_categories_are_no_teachers(
    exported: str, clinic: Clinic
) -> None:
    words = clinic.resources.vocabularies["note"]
    other = dataclasses.replace(
        clinic.resources, vocabularies={"note": (*words[:-1], "unheard")}
    )
    with pytest.raises(TransferError, match="another vocabulary of note"):
        of_export(exported, clinic, other)
    other = dataclasses.replace(clinic.resources, categories={"city": 7})
    with pytest.raises(
        TransferError, match=r"other categories.*inputs.facts.city.embedding"
    ):
        of_export(exported, clinic, other)
    other = dataclasses.replace(clinic.resources, vocabularies={})
    inputs = (samples.PHOTO, samples.VOICE)
    with pytest.raises(
        TransferError, match="'note', of which this config knows nothing"
    ):
        of_export(exported, clinic, other, inputs=inputs)


def test_a_teachers_names_may_stand_in_another_order(
    exported: str, clinic: Clinic
) -> None:
    # The same weights, name by name, have nothing to learn from one another.
    disease = c.replace(samples.DISEASE, classes=samples.DISEASE.classes[::-1])
    facts = c.replace(samples.FACTS, numeric=samples.FACTS.numeric[::-1])
    names = {"city": clinic.resources.category_names["city"][::-1]}
    resources = c.replace(clinic.resources, category_names=names)
    inputs = (facts, samples.NOTE, samples.VOICE, samples.PHOTO)
    one = of_export(
        exported, clinic, resources, inputs=inputs, heads=(samples.SCORE, disease)
    )
    restore(one.model, one.network.config, resources, exported)
    transformed = {k: tf.constant(v) for k, v in clinic.transformed.items()}
    prepare = tf.function(lambda x: preprocess(one.network.config, x, resources))
    x = prepare(transformed)
    objective = one.objectives["distillation"]
    assert float(objective.loss(x, {}, one(x))) == pytest.approx(0.0, abs=1e-6)
    # And are no longer the same where a class is moved.
    layer = one.model.get_layer("heads.disease.logits")
    layer.bias.assign(layer.bias + [3.0, 0.0, 0.0])
    assert float(objective.loss(x, {}, one(x))) > 0.1


def test_a_teacher_of_other_classes_is_refused_with_both(
    exported: str, clinic: Clinic
) -> None:
    for classes in (("flu", "cold", "cough"), ("flu", "cold", "none", "cough")):
        head = c.replace(samples.DISEASE, classes=classes)
        with pytest.raises(TeacherError) as caught:
            of_export(exported, clinic, heads=(head, samples.SCORE))
        assert "heads[disease] as classification (flu, cold, none)" in str(caught.value)
        assert f"classification ({', '.join(classes)})" in str(caught.value)
    grade = c.OrdinalHead("disease", samples.DISEASE.classes, allow_missing=True)
    with pytest.raises(TeacherError, match=r"and here it is ordinal \(flu, cold, none"):
        of_export(exported, clinic, heads=(grade, samples.SCORE))


def test_a_teacher_of_other_columns_is_refused_with_both(
    exported: str, clinic: Clinic
) -> None:
    facts = c.replace(samples.FACTS, numeric=("age", "weight"))
    inputs = (samples.PHOTO, samples.VOICE, samples.NOTE, facts)
    with pytest.raises(
        TransferError,
        match=r"inputs\[facts\].numeric are age, height there and age, weight here",
    ):
        of_export(exported, clinic, inputs=inputs)


def test_a_teacher_of_numbers_in_other_units_teaches_the_numbers(
    exported: str, clinic: Clinic
) -> None:
    # Rows with other labels than the teacher's: another mean, another deviation.
    mean, deviation = clinic.resources.statistics["score"]
    resources = c.replace(
        clinic.resources, statistics={"score": (mean + 10.0, deviation * 4.0)}
    )
    one = of_export(exported, clinic, resources, heads=(samples.SCORE,))
    objective = one.objectives["distillation"]
    x, _ = batch(4)
    words = len(clinic.resources.vocabularies["note"])
    x["note_token_ids"] = tf.minimum(x["note_token_ids"], words - 1)
    signature = tf.saved_model.load(exported).signatures["serving_tensors"]
    numbers = float64(signature(**x)["score"])
    # Nothing is left to learn for a student that answers what the teacher answers.
    same = (numbers - (mean + 10.0)) / (deviation * 4.0)
    outputs = {**one(x), "score": tf.constant(same[:, None], tf.float32)}
    assert float(objective.loss(x, {}, outputs)) == pytest.approx(0.0, abs=1e-6)
    # In the student's units: one deviation of its labels is a loss of 1.
    outputs["score"] += 1.0
    assert float(objective.loss(x, {}, outputs)) == pytest.approx(1.0, rel=1e-4)
