"""Tables and labels through a real Transform run."""

import math
from typing import Any

import numpy as np
import pytest

from tests.trainer.conftest import Clinic
from tests.trainer.samples import SPECIAL
from trainer.preprocessing import labels, preprocess


@pytest.fixture(scope="module")
def tensors(clinic: Clinic) -> dict[str, Any]:
    import tensorflow as tf

    prepare = tf.function(lambda x: preprocess(clinic.config, x, clinic.resources))
    stored = {k: tf.constant(v) for k, v in clinic.transformed.items()}
    return {k: v.numpy() for k, v in prepare(stored).items()}


@pytest.mark.parametrize(("key", "column"), [("age", 0), ("height", 1)])
def test_numbers_are_standardized_by_the_rows_that_have_them(
    clinic: Clinic, tensors: dict[str, Any], key: str, column: int
) -> None:
    given = np.array([row.get(key, math.nan) for row in clinic.rows])
    known = given[~np.isnan(given)]
    wanted = np.nan_to_num((given - known.mean()) / known.std(), nan=0.0)
    got = tensors["facts_numeric"]
    assert got.shape == (12, 4)
    np.testing.assert_allclose(got[:, column], wanted, atol=1e-5)
    np.testing.assert_array_equal(got[:, 2 + column], np.isnan(given))


def test_categories_are_numbered_by_frequency_from_two(
    tensors: dict[str, Any], clinic: Clinic
) -> None:
    # Berlin 5 times, Paris 2 and Rome 3; max_categories 2 leaves Paris out.
    ids = {b"Berlin": 2, b"Rome": 3, b"Paris": 1, None: 0}
    wanted = [[ids[row.get("city")]] for row in clinic.rows]
    np.testing.assert_array_equal(tensors["facts_categorical"], wanted)
    assert clinic.resources.categories == {"city": 2}


def test_a_table_is_absent_when_all_of_its_values_are(tensors: dict[str, Any]) -> None:
    # Row 4 still has its height; row 5 has nothing.
    assert tensors["facts_present"].tolist() == [i != 5 for i in range(12)]


def test_the_other_inputs_are_absent_where_they_are_missing(
    tensors: dict[str, Any],
) -> None:
    for name, at in (("photo", 1), ("voice", 2), ("note", 3)):
        assert tensors[f"{name}_present"].tolist() == [i != at for i in range(12)]


def test_labels_and_their_weights(clinic: Clinic) -> None:
    got = labels(clinic.config, clinic.transformed)
    assert set(got) == {"disease", "weight:disease", "score", "weight:score"}
    classes = [i % 3 if i != 6 else -1 for i in range(12)]
    assert got["disease"].tolist() == classes
    assert got["weight:disease"].tolist() == [float(i != 6) for i in range(12)]
    scores = [float(i) if i != 7 else math.nan for i in range(12)]
    np.testing.assert_array_equal(got["score"], scores)
    assert got["weight:score"].tolist() == [float(i != 7) for i in range(12)]


def test_resources_hold_the_full_passs_counts(clinic: Clinic) -> None:
    assert clinic.resources.class_counts == {"disease": (3.0, 4.0, 4.0)}
    known = np.array([i for i in range(12) if i != 7], float)
    mean, deviation = clinic.resources.statistics["score"]
    assert mean == pytest.approx(known.mean(), abs=1e-5)
    assert deviation == pytest.approx(known.std(), abs=1e-5)


def test_the_learned_vocabulary_holds_special_tokens_and_characters(
    clinic: Clinic,
) -> None:
    vocabulary = clinic.resources.vocabularies["note"]
    assert vocabulary[:5] == SPECIAL
    assert len(set(vocabulary)) == len(vocabulary)
    assert {"发", "烧", "咳", "嗽", "cough", "fever"} <= set(vocabulary)
    # Lower-cased, and with its accent, as the tokenizer splits it.
    assert {"c", "##é"} <= set(vocabulary)
    assert "C" not in vocabulary


def test_constants_are_the_same_in_every_row(clinic: Clinic) -> None:
    for key, value in clinic.transformed.items():
        if key.startswith("constant:"):
            assert all(np.array_equal(row, value[0]) for row in value), key
