"""Exported models as teachers: they carry the names and the units of what they learned."""

import dataclasses
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import samples
from tests.trainer.conftest import Clinic
from tests.trainer.objective_cases import (
    batch,
    float64,
)
from trainer import config as c
from trainer.export import export
from trainer.learner import Learner
from trainer.model import build_model, build_network
from trainer.objectives.distillation import TeacherError
from trainer.preprocessing import preprocess
from trainer.transfer import TransferError, restore


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
