"""Weights of an exported model or a Keras file as the start of another."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.trainer import samples
from tests.trainer.conftest import Clinic
from trainer import config as c
from trainer.export import export
from trainer.layer_names import former_path
from trainer.model import build_model
from trainer.transfer import (
    VARIABLES_ASSET,
    TransferError,
    base_values,
    restore,
)


@pytest.fixture(scope="module")
def base(clinic: Clinic, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An export whose every weight is its place in the list of weights, plus one."""
    model = build_model(clinic.config, clinic.resources)
    model.set_weights(
        [np.full(w.shape, i + 1.0, w.dtype) for i, w in enumerate(model.get_weights())]
    )
    folder = str(tmp_path_factory.mktemp("base") / "1")
    export(clinic.config, model, clinic.resources, clinic.layer, folder)
    return folder


def numbered(model: keras.Model) -> dict[str, float]:
    """Path -> what `base` filled the weight with."""
    return {v.path: i + 1.0 for i, v in enumerate(model.weights)}


def test_an_export_gives_its_weights_by_path(clinic: Clinic, base: str) -> None:
    values = base_values(base)
    wanted = numbered(build_model(clinic.config, clinic.resources))
    assert set(wanted) <= set(values)
    for path, number in wanted.items():
        assert (values[path] == number).all()


def test_all_of_the_same_config_is_restored(clinic: Clinic, base: str) -> None:
    model = build_model(clinic.config, clinic.resources)
    done = restore(model, clinic.config, clinic.resources, base)
    assert done.fresh == done.unused == ()
    assert str(done) == f"{len(done.restored)} variables from the base"
    wanted = numbered(model)
    for variable in model.weights:
        assert (np.asarray(variable) == wanted[variable.path]).all()


def test_a_new_head_starts_at_random_and_an_old_one_is_left(
    clinic: Clinic, base: str
) -> None:
    head = c.RegressionHead("age_in_years", allow_missing=True)
    config = c.replace(clinic.config, heads=(head,))
    resources = c.replace(clinic.resources, statistics={"age_in_years": (0.0, 1.0)})
    model = build_model(config, resources)
    start = {v.path: np.asarray(v) for v in model.variables}
    done = restore(model, config, resources, base)
    assert done.fresh == (
        "heads.age_in_years.logits/bias",
        "heads.age_in_years.logits/kernel",
    )
    assert "heads.disease.logits/kernel" in done.unused
    assert "at random: heads.age_in_years" in str(done)
    for variable in model.variables:
        if variable.path in done.fresh:
            np.testing.assert_array_equal(variable, start[variable.path])


def test_tokens_keep_their_vectors_under_another_vocabulary(
    clinic: Clinic, base: str
) -> None:
    old = clinic.resources.vocabularies["note"]
    new = (*old[:5], "unheard", *reversed(old[5:]))
    resources = c.replace(clinic.resources, vocabularies={"note": new})
    model = build_model(clinic.config, resources)
    start = np.asarray(model.get_layer("inputs.note.embedding").embeddings)
    theirs = np.random.default_rng(0).normal(0, 1, (len(old), 4)).astype("float32")
    there = build_model(clinic.config, clinic.resources)
    there.get_layer("inputs.note.embedding").set_weights([theirs])
    folder = str(Path(base).parent / "2")
    export(clinic.config, there, clinic.resources, clinic.layer, folder)
    restore(model, clinic.config, resources, folder)
    table = np.asarray(model.get_layer("inputs.note.embedding").embeddings)
    np.testing.assert_array_equal(table[5], start[5])
    for i, token in enumerate(new):
        if token != "unheard":
            np.testing.assert_array_equal(table[i], theirs[old.index(token)])


def test_a_keras_file_is_a_base_too(clinic: Clinic, tmp_path: Path) -> None:
    old = build_model(clinic.config, clinic.resources)
    file = str(tmp_path / "old.keras")
    old.save(file)
    model = build_model(clinic.config, clinic.resources)
    assert restore(model, clinic.config, clinic.resources, file).fresh == ()
    np.testing.assert_array_equal(
        model.get_layer("heads.disease.logits").kernel,
        old.get_layer("heads.disease.logits").kernel,
    )


def test_what_is_no_base_is_said(clinic: Clinic, tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="neither a .keras file nor the folder"):
        base_values(str(tmp_path))
    (tmp_path / "x.keras").write_text("no")
    with pytest.raises(TransferError, match="cannot be loaded by Keras"):
        base_values(str(tmp_path / "x.keras"))
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="other")])
    other.save(str(tmp_path / "other.keras"))
    model = build_model(clinic.config, clinic.resources)
    with pytest.raises(TransferError, match="none of its 2 variables .* other/"):
        restore(model, clinic.config, clinic.resources, str(tmp_path / "other.keras"))


def test_classes_that_are_others_start_at_random_and_both_are_listed(
    clinic: Clinic, base: str
) -> None:
    head = c.replace(samples.DISEASE, classes=("flu", "cold", "cough"))
    config = c.replace(clinic.config, heads=(head, samples.SCORE))
    model = build_model(config, clinic.resources)
    done = restore(model, config, clinic.resources, base)
    assert done.fresh == ("heads.disease.logits/bias", "heads.disease.logits/kernel")
    assert (
        "at random: heads.disease; heads[disease] is classification there (flu, cold,"
        " none) and classification here (flu, cold, cough)" in str(done)
    )


def test_a_model_exported_under_former_names_is_a_base(
    clinic: Clinic, base: str, tmp_path: Path
) -> None:
    folder = tmp_path / "former"
    shutil.copytree(base, folder)
    file = folder / VARIABLES_ASSET
    file.write_text(json.dumps([former_path(p) for p in json.loads(file.read_text())]))
    model = build_model(clinic.config, clinic.resources)
    done = restore(model, clinic.config, clinic.resources, str(folder))
    assert done.fresh == done.unused == ()
    wanted = numbered(model)
    for variable in model.weights:
        assert (np.asarray(variable) == wanted[variable.path]).all()
