"""Weights go by name: classes, columns, categories and inputs in another order."""

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
from trainer.config import CONFIG_ASSET
from trainer.export import export
from trainer.model import build_model
from trainer.preprocessing import preprocess
from trainer.transfer import VARIABLES_ASSET, restore, variable_names


def random_base(
    clinic: Clinic, folder: str, like: str | None = None, **changes: Any
) -> keras.Model:
    """A model of random weights, and an export of it.

    Args:
        like: an export of the clinic; only what a base is read from is written beside
            its vocabularies, which is much faster than an export.
    """
    keras.utils.set_random_seed(5)
    config = c.replace(clinic.config, **changes)
    model = build_model(config, clinic.resources)
    rng = np.random.default_rng(5)
    model.set_weights([
        rng.normal(0, 0.3, w.shape) ** (2 if "variance" in v.path else 1)
        if np.issubdtype(w.dtype, np.floating) else w
        for v, w in zip(model.weights, model.get_weights(), strict=True)
    ])  # fmt: skip
    if like is None:
        export(config, model, clinic.resources, clinic.layer, folder)
        return model
    shutil.copytree(Path(like, "assets"), Path(folder, "assets"))
    Path(folder, CONFIG_ASSET).parent.mkdir()
    Path(folder, CONFIG_ASSET).write_text(c.to_yaml(config), "utf-8")
    Path(folder, VARIABLES_ASSET).write_text(json.dumps(variable_names(model)), "utf-8")
    weights = [variable.value for variable in model.variables]
    tf.train.Checkpoint(_model_variables=weights).write(
        str(Path(folder, "variables", "variables"))
    )
    return model


@pytest.fixture(scope="module")
def exported(
    clinic: Clinic, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, keras.Model]:
    folder = str(tmp_path_factory.mktemp("exported") / "1")
    return folder, random_base(clinic, folder)


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


@pytest.fixture(scope="module")
def both_tensors(clinic: Clinic) -> tuple[Any, Any]:
    """What the clinic's model reads of its rows, and what one of `turned` does."""
    transformed = {k: tf.constant(v) for k, v in clinic.transformed.items()}
    x = tensors(clinic.config, clinic.resources, transformed)
    # 0 and 1 are missing and unknown; the two cities have changed places.
    there = transformed["city"]
    transformed["city"] = tf.where(there > 1, 5 - there, there)
    return x, tensors(*turned(clinic), transformed)


@pytest.mark.parametrize(
    "fusion",
    [
        None,
        c.ConcatFusion(dim=8, hidden_dims=(), dropout=0.0),
        c.GatedFusion(dim=6, dropout=0.0),
        c.FilmFusion(dim=6, dropout=0.0),
        c.LowRankFusion(dim=6, rank=2, dropout=0.0),
        c.AttentionFusion(dim=6, layers=1, heads=2, dropout=0.0),
    ],
    ids=["as exported", "linear", "gated", "film", "low_rank", "attention"],
)
def test_names_in_another_order_give_the_same_answers(
    clinic: Clinic,
    exported: tuple[str, keras.Model],
    both_tensors: tuple[Any, Any],
    tmp_path: Path,
    fusion: Any,
) -> None:
    folder, old = exported
    changes = {} if fusion is None else {"fusion": fusion}
    if fusion is not None:
        folder, like = str(tmp_path / "1"), folder
        old = random_base(clinic, folder, like, **changes)
    config, resources = turned(clinic, **changes)
    model = build_model(config, resources)
    done = restore(model, config, resources, folder)
    assert done.fresh == ()
    x, mine = both_tensors
    wanted, got = old(x, training=False), model(mine, training=False)
    np.testing.assert_allclose(got["disease"][:, ::-1], wanted["disease"], atol=2e-5)
    np.testing.assert_allclose(got["score"], wanted["score"], atol=2e-5)


def test_a_category_that_the_base_lacks_starts_as_its_unknown(
    clinic: Clinic, exported: tuple[str, keras.Model]
) -> None:
    base, old = exported
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
