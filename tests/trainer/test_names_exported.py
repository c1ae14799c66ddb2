"""Names like those of our own, from the rows to the answers of an exported model."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tests.trainer.conftest import run_transform
from tests.trainer.test_names import FUSIONS, mapping
from trainer import config as c
from trainer.export import SIGNATURES, export, to_example
from trainer.gate import check
from trainer.model import build_model
from trainer.preprocessing import stored_spec
from trainer.resources import load_resources

WORST = mapping(
    # The head `birth` beside the number `birth_weight`; `embedding` and `shown` are
    # heads; `fusion` is an input; `patient` + `note` beside `patient_note`.
    ["fusion", "patient_note", "patient", "birth_weight", "note", "gate",
     "birth", "embedding", "shown", "logits", "inputs"],
    FUSIONS[0],
)  # fmt: skip


def worst_rows() -> list[dict[str, Any]]:
    from tests.trainer.samples import encoded, picture

    return [
        {
            "fusion": encoded(picture(4, 4, seed=i)),
            "patient_note": b"no fever" if i % 2 else b"fever",
            "birth_weight": 3.0 + i,
            "note": b"ward" if i % 2 else b"home",
            "gate": b"north",
            "birth": b"x" if i % 2 else b"y",
            "embedding": float(i),
            "shown": b"lmh"[i % 3 : i % 3 + 1],
            "logits": float(i % 3),
            "group:logits": b"q1" if i < 4 else b"q2",
        }
        for i in range(8)
    ]


def test_names_like_ours_go_through_transform_training_and_export(
    tmp_path: Path,
) -> None:
    config, rows = c.from_mapping(WORST), worst_rows()
    output = run_transform(config, rows, tmp_path)
    layer = output.transform_features_layer()
    examples = [to_example(row) for row in rows]
    stored = tf.io.parse_example(examples, stored_spec(config))
    transformed = {key: np.asarray(value) for key, value in layer(stored).items()}
    # The column is the column, standardized: 0 to 7 has the variance (64 - 1) / 12.
    np.testing.assert_allclose(
        transformed["birth_weight"], (np.arange(8) - 3.5) / np.sqrt(63 / 12), rtol=1e-5
    )
    assert transformed["weight:birth"].tolist() == [1.0] * 8
    assert transformed["birth"].tolist() == [1, 0] * 4
    resources = load_resources(config, output)
    model = build_model(config, resources)
    folder = str(tmp_path / "1")
    export(config, model, resources, layer, folder)
    check(folder, config, model, resources, layer, examples)
    signatures = tf.saved_model.load(folder).signatures
    assert set(signatures) == set(SIGNATURES)
    answers = signatures["serving_default"](tf.constant(examples))
    assert set(answers) == {
        "birth", "birth_scores", "birth_classes", "birth_abstained", "embedding",
        "shown", "shown_scores", "shown_classes", "logits", "inputs_embedding_fusion",
        "inputs_embedding_patient_note", "inputs_match", "fusion_present",
        "patient_note_present", "patient_present", "note_unknown", "gate_unknown",
    }  # fmt: skip
    judged = signatures["transform_features"](tf.constant(examples))
    # `birth_weight` is a column: the weight of the head is not called so here.
    assert set(judged) == {
        "birth", "weight:birth", "embedding", "embedding_weight", "shown",
        "shown_weight", "logits", "logits_weight", "group:logits", "inputs",
        "inputs_weight", "fusion_present", "patient_note_present", "patient_present",
    }  # fmt: skip
    assert judged["weight:birth"].numpy().tolist() == [1.0] * 8
