"""Weights of an exported model or a Keras file as the start of another."""

import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import samples
from tests.trainer.conftest import Clinic
from trainer import config as c
from trainer.export import export
from trainer.layer_names import former_path
from trainer.model import build_model
from trainer.preprocessing import preprocess
from trainer.transfer import VARIABLES_ASSET, TransferError, base_values, restore


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


def random_base(clinic: Clinic, folder: str, **changes: Any) -> tuple[Any, Any]:
    """An export of random weights, and its config."""
    keras.utils.set_random_seed(5)
    config = c.replace(clinic.config, **changes)
    model = build_model(config, clinic.resources)
    rng = np.random.default_rng(5)
    model.set_weights([
        rng.normal(0, 0.3, w.shape) ** (2 if "variance" in v.path else 1)
        if np.issubdtype(w.dtype, np.floating) else w
        for v, w in zip(model.weights, model.get_weights(), strict=True)
    ])  # fmt: skip
    export(config, model, clinic.resources, clinic.layer, folder)
    return config, model


def tensors(config: c.Config, resources: Any, transformed: Any) -> Any:
    # Tokenizers give lists outside of a graph.
    return tf.function(lambda x: preprocess(config, x, resources))(transformed)


def turned(clinic: Clinic, **changes: Any) -> tuple[c.Config, Any]:
    """All names of the clinic in another order: inputs, columns, classes, categories."""
    facts = c.replace(samples.FACTS, numeric=samples.FACTS.numeric[::-1])
    disease = c.replace(samples.DISEASE, classes=samples.DISEASE.classes[::-1])
    config = c.replace(
        clinic.config,
        inputs=(facts, samples.NOTE, samples.VOICE, samples.PHOTO),
        heads=(samples.SCORE, disease),
        **changes,
    )
    names = {"city": clinic.resources.category_names["city"][::-1]}
    return config, c.replace(clinic.resources, category_names=names)


@pytest.mark.parametrize(
    "fusion",
    [
        c.ConcatFusion(dim=8, hidden_dims=(8,), dropout=0.0),
        c.ConcatFusion(dim=8, hidden_dims=(), dropout=0.0),
        c.GatedFusion(dim=6, dropout=0.0),
        c.FilmFusion(dim=6, dropout=0.0),
        c.LowRankFusion(dim=6, rank=2, dropout=0.0),
        c.AttentionFusion(dim=6, layers=1, heads=2, dropout=0.0),
    ],
    ids=["concat", "linear", "gated", "film", "low_rank", "attention"],
)
def test_names_in_another_order_give_the_same_answers(
    clinic: Clinic, tmp_path: Path, fusion: Any
) -> None:
    base = str(tmp_path / "1")
    old_config, old = random_base(clinic, base, fusion=fusion)
    config, resources = turned(clinic, fusion=fusion)
    model = build_model(config, resources)
    done = restore(model, config, resources, base)
    assert done.fresh == ()
    transformed = {k: tf.constant(v) for k, v in clinic.transformed.items()}
    x = tensors(old_config, clinic.resources, transformed)
    # 0 and 1 are missing and unknown; the two cities have changed places.
    there = transformed["city"]
    transformed["city"] = tf.where(there > 1, 5 - there, there)
    mine = tensors(config, resources, transformed)
    wanted, got = old(x, training=False), model(mine, training=False)
    np.testing.assert_allclose(got["disease"][:, ::-1], wanted["disease"], atol=2e-5)
    np.testing.assert_allclose(got["score"], wanted["score"], atol=2e-5)


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


def test_a_category_that_the_base_lacks_starts_as_its_unknown(
    clinic: Clinic, tmp_path: Path
) -> None:
    base = str(tmp_path / "1")
    _, old = random_base(clinic, base)
    known = clinic.resources.category_names["city"]
    assert known == ("Berlin", "Rome") or known == ("Berlin", "Paris")
    names = {"city": (known[1], "Oslo")}
    resources = c.replace(clinic.resources, category_names=names)
    model = build_model(clinic.config, resources)
    done = restore(model, clinic.config, resources, base)
    assert f"city has Berlin, {known[1]} there and {known[1]}, Oslo here" in str(done)
    theirs = np.asarray(old.get_layer("inputs.facts.city.embedding").embeddings)
    ours = np.asarray(model.get_layer("inputs.facts.city.embedding").embeddings)
    # Missing, unknown, the second city, and a city that is unknown there.
    np.testing.assert_array_equal(ours, theirs[[0, 1, 3, 1]])


class WithPairs(tf.Module):
    """The clinic's Transform, with what a retrieval head takes for a label."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def __call__(self, stored: Any) -> Any:
        out = dict(self.layer(stored))
        zeros = tf.zeros(tf.shape(out["photo"])[:1])
        return {**out, "found": zeros, "weight:found": zeros}


def test_an_order_that_means_something_is_no_other_order(
    clinic: Clinic, tmp_path: Path
) -> None:
    grade = c.OrdinalHead("disease", ("low", "mid", "high"), allow_missing=True)
    found = c.RetrievalHead("found", ("photo", "note"), dim=4)
    old = c.replace(clinic.config, heads=(grade, samples.SCORE, found))
    model = build_model(old, clinic.resources)

    folder = str(tmp_path / "1")
    export(old, model, clinic.resources, WithPairs(clinic.layer), folder)
    config = c.replace(
        old,
        heads=(
            c.replace(grade, classes=("high", "mid", "low")),
            samples.SCORE,
            c.replace(found, pair=("note", "photo")),
        ),
    )
    done = restore(
        build_model(config, clinic.resources), config, clinic.resources, folder
    )
    assert {path.split("/")[0] for path in done.fresh} == {
        "heads.disease.logits", "heads.found.logits",
    }  # fmt: skip
    assert "(low, mid, high) and ordinal here (high, mid, low)" in str(done)
    assert "(photo, note) and retrieval here (note, photo)" in str(done)


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
