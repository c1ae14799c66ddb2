"""An exported model of four inputs and two heads, as TF Serving would open it."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import samples
from tests.trainer.conftest import Clinic
from trainer.calibration import Fitted, from_json
from trainer.config import load
from trainer.export import SIGNATURES, export, sample_row, to_example
from trainer.features import features
from trainer.gate import GateError, check, undecided_rows
from trainer.model import build_model
from trainer.preprocessing import input_spec, preprocess

ANSWERS = {
    "disease", "disease_scores", "disease_classes", "disease_abstained", "score",
    "photo_present", "voice_present", "note_present", "facts_present", "city_unknown",
}  # fmt: skip
COMPLETE = [i not in (1, 2, 3, 5) for i in range(12)]  # these lack an input each
FITTED = {"disease": Fitted({}, {"": 1.0, "facts+note+photo+voice": 1.5})}


def trained_model(clinic: Clinic, seed: int = 0) -> keras.Model:
    """A model with random weights, also where Keras starts from zeros and ones."""
    model = build_model(clinic.config, clinic.resources)
    rng = np.random.default_rng(seed)
    model.set_weights([rng.uniform(0.1, 0.6, w.shape) for w in model.get_weights()])
    return model


def write(clinic: Clinic, model: keras.Model, folder: Path) -> str:
    given = (clinic.config, model, clinic.resources, clinic.layer)
    export(*given, str(folder), FITTED)
    return str(folder)


@pytest.fixture(scope="module")
def model(clinic: Clinic) -> keras.Model:
    return trained_model(clinic)


@pytest.fixture(scope="module")
def exported(
    clinic: Clinic, model: keras.Model, tmp_path_factory: pytest.TempPathFactory
) -> str:
    return write(clinic, model, tmp_path_factory.mktemp("export") / "1")


class Served:
    """The SavedModel in a TF1 session, which restores by names as TF Serving does."""

    def __init__(self, directory: str) -> None:
        self.graph = tf.Graph()
        with self.graph.as_default():
            self.session = tf.compat.v1.Session()
            loaded = tf.compat.v1.saved_model.load(self.session, ["serve"], directory)
        self.signatures = loaded.signature_def

    def __call__(self, name: str, **feed: Any) -> dict[str, np.ndarray]:
        signature = self.signatures[name]
        fetches = {k: v.name for k, v in signature.outputs.items()}
        feeds = {signature.inputs[k].name: v for k, v in feed.items()}
        answers: dict[str, np.ndarray] = self.session.run(fetches, feeds)
        return answers


@pytest.fixture(scope="module")
def served(exported: str) -> Served:
    return Served(exported)


def raw(clinic: Clinic, rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """The rows as columns for `serving_raw`; "" or NaN where absent."""
    out = {}
    for f in features(clinic.config):
        empty, kind = (np.nan, np.float32) if f.kind == "numeric" else (b"", object)
        out[f.key] = np.array([row.get(f.key, empty) for row in rows], kind)
    return out


def examples(rows: list[dict[str, Any]]) -> np.ndarray:
    return np.array([to_example(row) for row in rows], object)


def test_the_signatures_are_the_five(served: Served) -> None:
    found = {name for name in served.signatures if not name.startswith("__")}
    assert found == set(SIGNATURES)
    for name in ("serving_default", "serving_raw", "serving_tensors"):
        assert set(served.signatures[name].outputs) == ANSWERS
    assert set(served.signatures["serving_default"].inputs) == {"examples"}


def test_a_category_that_training_never_saw_is_said(
    clinic: Clinic, served: Served
) -> None:
    # Paris is the rarest of three cities, and two are kept.
    kept = [name.encode() for name in clinic.resources.category_names["city"]]
    assert b"Berlin" in kept
    assert len(kept) == 2
    dropped = ({b"Paris", b"Rome"} - set(kept)).pop()
    cities = [b"Berlin", kept[1], dropped, b"Oslo", b"berlin", b" Berlin ", b"", None]
    rows = [{**clinic.rows[0], "city": city} for city in cities]
    del rows[-1]["city"]
    for got in (
        served("serving_default", examples=examples(rows)),
        served("serving_raw", **raw(clinic, rows)),
    ):
        unknown = [False, False, True, True, True, False, False, False]
        assert got["city_unknown"].tolist() == unknown
    without = {k: v for k, v in clinic.rows[0].items() if k != "city"}
    assert served("serving_default", examples=examples([without]))[
        "city_unknown"
    ].tolist() == [False]


def test_answers_are_the_keras_models(
    clinic: Clinic, model: keras.Model, served: Served
) -> None:
    parsed = tf.io.parse_example(clinic.examples, input_spec(clinic.config))
    prepare = tf.function(
        lambda x: preprocess(clinic.config, clinic.layer(x), clinic.resources)
    )
    tensors = prepare(parsed)
    outputs = {k: np.asarray(v, np.float64) for k, v in model(tensors).items()}
    # Rows that have every input have a temperature of their own.
    logits = outputs["disease"] / np.where(COMPLETE, 1.5, 1.0)[:, None]
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    scores = powers / powers.sum(-1, keepdims=True)
    known = np.array([i for i in range(12) if i != 7], float)
    number = outputs["score"][:, 0] * known.std() + known.mean()
    fed = {k: v.numpy() for k, v in tensors.items()}
    for got in (
        served("serving_default", examples=examples(clinic.rows)),
        served("serving_raw", **raw(clinic, clinic.rows)),
        served("serving_tensors", **fed),
    ):
        np.testing.assert_allclose(got["disease_scores"], scores, atol=1e-5)
        np.testing.assert_allclose(got["score"], number, rtol=1e-4)
        chosen = [samples.DISEASE.classes[i].encode() for i in scores.argmax(-1)]
        assert got["disease"].tolist() == chosen
        assert got["disease_abstained"].tolist() == (scores.max(-1) < 0.82).tolist()
        assert set(got["disease_abstained"].tolist()) == {True, False}
        assert got["disease_classes"].tolist() == [[b"flu", b"cold", b"none"]] * 12
        for name, at in (("photo", 1), ("voice", 2), ("note", 3), ("facts", 5)):
            assert got[f"{name}_present"].tolist() == [i != at for i in range(12)]
    embedded = served("embed", **raw(clinic, clinic.rows))
    np.testing.assert_allclose(embedded["embedding"], outputs["fused:"], atol=1e-4)
    assert embedded["photo_embedding"].shape == (12, 8)


def test_the_three_ways_in_give_the_very_same_answers(
    clinic: Clinic, served: Served
) -> None:
    default = served("serving_default", examples=examples(clinic.rows))
    columns = served("serving_raw", **raw(clinic, clinic.rows))
    for key in ANSWERS:
        np.testing.assert_array_equal(default[key], columns[key])


def test_transform_features_gives_labels_and_presence(
    clinic: Clinic, served: Served
) -> None:
    got = served("transform_features", examples=examples(clinic.rows))
    # Row 6 has no label: TFMA weighs it 0, and would stumble over -1.
    assert got["disease"].tolist() == [i % 3 if i != 6 else 0 for i in range(12)]
    assert got["disease_weight"].tolist() == [float(i != 6) for i in range(12)]
    assert got["score_weight"].tolist() == [float(i != 7) for i in range(12)]
    assert got["photo_present"].tolist() == [int(i != 1) for i in range(12)]


@pytest.mark.parametrize("key", ["photo", "voice"])
def test_a_corrupt_file_is_absent_and_changes_no_other_row(
    clinic: Clinic, served: Served, key: str
) -> None:
    rows = [dict(row) for row in clinic.rows[6:10]]
    before = served("serving_raw", **raw(clinic, rows))
    rows[1][key] = rows[1][key][:50] + b"broken"
    after = served("serving_raw", **raw(clinic, rows))
    assert after[f"{key}_present"].tolist() == [True, False, True, True]
    others = [0, 2, 3]
    for name in ANSWERS:
        np.testing.assert_array_equal(after[name][others], before[name][others])
    assert np.abs(after["score"] - before["score"])[1] > 1e-4
    # As if it had not been sent at all.
    del rows[1][key]
    without = served("serving_raw", **raw(clinic, rows))
    np.testing.assert_allclose(after["score"], without["score"], rtol=1e-6)


@pytest.mark.parametrize("name", ["serving_default", "serving_raw", "embed"])
def test_an_empty_batch_gets_an_empty_answer(
    clinic: Clinic, served: Served, name: str
) -> None:
    feed = raw(clinic, [])
    if name == "serving_default":
        feed = {"examples": np.array([], object)}
    for value in served(name, **feed).values():
        assert value.shape[0] == 0


def test_a_row_with_nothing_at_all_gets_a_finite_answer(
    clinic: Clinic, served: Served
) -> None:
    got = served("serving_raw", **raw(clinic, [{}]))
    assert np.isfinite(got["disease_scores"]).all()
    assert not any(got[f"{n}_present"].any() for n in ("photo", "voice", "facts"))


def op_names(directory: str) -> set[str]:
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((Path(directory) / "saved_model.pb").read_bytes())
    (meta,) = saved.meta_graphs
    names = {node.op for node in meta.graph_def.node}
    library = meta.graph_def.library.function
    names |= {node.op for function in library for node in function.node_def}
    return names - {function.signature.name for function in library}


PLAIN_OPS = """
import tensorflow as tf
from tensorflow.python.framework import op_def_registry
print(" ".join(n for n in __import__("sys").stdin.read().split()
               if op_def_registry.get(n) is None))
"""


def test_all_ops_are_tensorflows_or_tf_texts(exported: str) -> None:
    names = op_names(exported)
    assert {"DecodeWav", "ParseExampleV2", "IgnoreErrorsDataset"} <= names
    done = subprocess.run(
        [sys.executable, "-c", PLAIN_OPS],
        input=" ".join(sorted(names)), capture_output=True, text=True, check=True,
    )  # fmt: skip
    # The stock TF Serving binary links TF Text's ops, and no others.
    assert set(done.stdout.split()) <= {
        "CaseFoldUTF8",
        "FastWordpieceTokenizeWithOffsets",
        "RegexSplitWithOffsets",
    }
    assert not [name for name in names if name.startswith("IO>")]


def test_the_config_and_the_vocabularies_travel_along(
    exported: str, clinic: Clinic
) -> None:
    folder = Path(exported)
    assert load(folder / "assets.extra" / "polymodal_config.yaml") == clinic.config
    text = (folder / "assets" / "note_vocabulary.txt").read_text("utf-8")
    assert tuple(text.splitlines()) == clinic.resources.vocabularies["note"]
    assert (folder / "assets" / "city").read_text().split() == ["Berlin", "Rome"]


def test_the_warm_up_requests_run_and_hold_nobodys_data(
    exported: str, clinic: Clinic, served: Served
) -> None:
    from tensorflow_serving.apis import prediction_log_pb2

    path = Path(exported) / "assets.extra" / "tf_serving_warmup_requests"
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record.numpy())
        for record in tf.data.TFRecordDataset(str(path))
    ]
    requests = [log.predict_log.request for log in logs]
    assert {r.model_spec.name for r in requests} == {"clinic"}
    seen = {}
    for request in requests:
        feed = {k: tf.make_ndarray(v) for k, v in request.inputs.items()}
        name = request.model_spec.signature_name
        answers = served(name, **feed)
        assert all(answers[f"{n}_present"].all() for n in ("photo", "voice", "note"))
        seen[name, len(answers["score"])] = True
    assert set(seen) == {
        (name, count) for name in ("serving_default", "serving_raw") for count in (1, 8)
    }
    data = path.read_bytes()
    assert not any(row["note"] in data for row in clinic.rows if "note" in row)
    assert b"Berlin" not in data
    assert sample_row(clinic.config)["note"] == b"a"


def gate(clinic: Clinic, model: keras.Model, directory: str) -> None:
    chosen = clinic.examples[:6]
    given = (clinic.config, model, clinic.resources, clinic.layer)
    check(directory, *given, chosen, FITTED)


def test_the_gate_lets_a_good_export_pass(
    clinic: Clinic, model: keras.Model, exported: str
) -> None:
    gate(clinic, model, exported)


def test_the_calibration_lies_beside_the_model(exported: str) -> None:
    path = Path(exported, "assets.extra", "polymodal_calibration.json")
    assert from_json(path.read_text(encoding="utf-8")) == FITTED


def test_the_gate_stops_another_calibration(
    clinic: Clinic, model: keras.Model, exported: str
) -> None:
    given = (clinic.config, model, clinic.resources, clinic.layer)
    with pytest.raises(GateError, match="'disease_scores' differs"):
        check(exported, *given, clinic.examples[:6], {})


def test_the_gate_stops_another_models_variables(clinic: Clinic, exported: str) -> None:
    with pytest.raises(GateError, match="differs from the trained model's answer"):
        gate(clinic, trained_model(clinic, seed=1), exported)


def test_a_score_at_the_threshold_of_abstention_may_be_answered_either_way() -> None:
    # abstain_below is 0.82, the tolerance 1e-4.
    tops = np.array([0.81, 0.81995, 0.82, 0.82005, 0.83])
    scores = np.stack([tops, (1 - tops) / 2, (1 - tops) / 2], axis=1)
    config = samples.clinic_config()
    tensors = {f"{one.name}_present": tf.ones(5, tf.bool) for one in config.inputs}
    got = undecided_rows(config, {"disease_scores": scores}, tensors, {})
    assert {key: rows.tolist() for key, rows in got.items()} == {
        "disease_abstained": [False, True, True, True, False]
    }


@pytest.mark.slow
def test_the_gate_forgives_rounding_at_the_threshold_of_abstention(
    clinic: Clinic, model: keras.Model, served: Served, tmp_path: Path
) -> None:
    feed = examples(clinic.rows[:6])
    scores = served("serving_default", examples=feed)["disease_scores"].max(-1)
    threshold = float(np.sort(scores)[2])

    def at(difference: float) -> Clinic:
        head = replace(samples.DISEASE, abstain_below=threshold + difference)
        config = samples.clinic_config(heads=(head, samples.SCORE))
        return replace(clinic, config=config)

    directory = write(at(-2e-6), model, tmp_path / "1")
    gate(at(2e-6), model, directory)
    with pytest.raises(GateError, match="'disease_abstained' differs"):
        gate(at(2e-3), model, directory)


def test_the_gate_stops_a_missing_signature(
    clinic: Clinic, model: keras.Model, exported: str, tmp_path: Path
) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    shutil.copytree(exported, tmp_path / "1")
    path = tmp_path / "1" / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    del saved.meta_graphs[0].signature_def["serving_default"]
    path.write_bytes(saved.SerializeToString())
    with pytest.raises(GateError, match="signature 'serving_default' is missing"):
        gate(clinic, model, str(tmp_path / "1"))


def test_the_gate_stops_what_cannot_be_opened(
    clinic: Clinic, model: keras.Model, exported: str, tmp_path: Path
) -> None:
    shutil.copytree(exported, tmp_path / "1")
    for path in (tmp_path / "1" / "variables").iterdir():
        path.unlink()
    with pytest.raises(GateError, match="cannot open"):
        gate(clinic, model, str(tmp_path / "1"))
