"""What the keys that heads share do, for the kinds that `test_model.py` does not show."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import samples
from trainer.config import (
    HeadConfig,
    OrdinalHead,
    RankingHead,
    RetrievalHead,
    SupervisedObjective,
    VqaHead,
    replace,
)
from trainer.heads import heads
from trainer.modalities import Resources
from trainer.model import build_model, build_network
from trainer.objectives.supervised import Supervised

RESOURCES = Resources(
    vocabularies={"note": (*samples.SPECIAL, "no", "fever")},
    categories={"city": 2},
    answers={"y": ("yes", "no")},
)
CASES: dict[str, HeadConfig] = {
    "ordinal": OrdinalHead("y", ("a", "b", "c")),
    "corn": OrdinalHead("y", ("a", "b", "c"), method="corn"),
    "ranking": RankingHead("y", group="query"),
    "vqa": VqaHead("y", question="note", annotators=2),
}
LABELS = {
    "ordinal": tf.constant([0, 2, 1, -1]),
    "corn": tf.constant([0, 2, 1, -1]),
    "ranking": tf.constant([0.0, 2.0, 1.0, 0.0]),
    "vqa": tf.constant([[0, 0], [1, -2], [0, 1], [-2, -2]]),
    "retrieval": tf.zeros(4),
}
Y = {"weight:y": tf.constant([1.0, 1, 1, 0]), "group:y": tf.constant([1, 1, 1, 1])}
X: dict[str, Any] = {
    "note_token_ids": tf.constant([[2, 5, 6, 3, 0, 0, 0, 0]] * 2 + [[2, 6, 3] + [0] * 5] * 2),
    "note_padding_mask": tf.constant([[1] * 4 + [0] * 4] * 4),
    "note_present": tf.constant([True, False, True, True]),
    "facts_numeric": tf.constant(np.arange(16).reshape(4, 4) / 8, tf.float32),
    "facts_categorical": tf.constant([[0], [1], [2], [3]]),
    "facts_present": tf.constant([True, True, False, True]),
}  # fmt: skip


def config(head: HeadConfig) -> Any:
    return samples.clinic_config(inputs=(samples.NOTE, samples.FACTS), heads=(head,))


def outputs(head: HeadConfig) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What a model with random weights gives, and the weights by path."""
    model = build_model(config(head), RESOURCES)
    rng = np.random.default_rng(0)
    shapes = {v.path: v.shape for v in model.trainable_variables}
    weights = {path: rng.uniform(0.1, 0.6, shapes[path]) for path in sorted(shapes)}
    for variable in model.trainable_variables:
        variable.assign(weights[variable.path])
    return model(X), weights


@pytest.mark.parametrize("case", list(CASES))
def test_auxiliary_heads_see_one_input_alone(case: str) -> None:
    found, _ = outputs(replace(CASES[case], auxiliary_weight=0.5))
    assert set(found) >= {"y:from:note", "y:from:facts"}
    plain, _ = outputs(replace(CASES[case], auxiliary_weight=0.0))
    assert not [key for key in plain if ":from:" in key]
    for name in ("note", "facts"):
        alone = found[f"y:from:{name}"]
        assert alone.shape == found["y"].shape
        # Rows 2 and 3 have the same text, whatever their table.
        same = np.allclose(alone[2], alone[3])
        assert same == (name == "note")


@pytest.mark.parametrize("case", list(CASES))
def test_late_fusion_adds_what_present_inputs_say(case: str) -> None:
    one = replace(CASES[case], auxiliary_weight=0.5)
    early, _ = outputs(replace(one, late_fusion=False))
    late, _ = outputs(replace(one, late_fusion=True))
    wanted = np.asarray(early["y"], np.float64)
    for name in ("note", "facts"):
        there = np.asarray(X[f"{name}_present"], float)[:, None]
        wanted = wanted + there * np.asarray(early[f"y:from:{name}"])
    np.testing.assert_allclose(late["y"], wanted, rtol=1e-4)


@pytest.mark.parametrize("case", [*CASES, "retrieval"])
def test_weight_scales_the_loss(case: str) -> None:
    pair = RetrievalHead("y", ("note", "facts"), dim=3)
    losses = []
    for weight in (1.0, 2.5, 0.0):
        one = replace(CASES.get(case, pair), weight=weight)
        found, _ = outputs(one)
        y = {**Y, "y": LABELS[case]}
        supervised = Supervised(SupervisedObjective(), config(one), RESOURCES)
        losses.append(float(supervised.loss(X, y, found, training=True)))
    assert losses[0] > 0
    assert losses[1] == pytest.approx(2.5 * losses[0], rel=1e-5)
    assert losses[2] == 0


def test_retrieval_pair_and_dim() -> None:
    for pair, dim in ((("note", "facts"), 3), (("facts", "note"), 5)):
        head = RetrievalHead(name="y", pair=pair, dim=dim)
        found, weights = outputs(head)
        assert found["y"].shape == (4, 2 * dim + 1)
        assert weights["heads.y.logits/first/kernel"].shape == (8, dim)
        (one,) = heads(config(head))
        answers = one.answers(found["y"], RESOURCES)
        assert list(answers) == [f"y_embedding_{name}" for name in pair]
        norms = [np.linalg.norm(value, axis=-1) for value in answers.values()]
        for name, norm in zip(pair, norms, strict=True):
            there = np.asarray(X[f"{name}_present"], float)
            np.testing.assert_allclose(norm, there, atol=1e-5)


@pytest.mark.parametrize("case", list(CASES))
def test_heads_run_again_on_what_the_trunk_gave(case: str) -> None:
    one = replace(CASES[case], auxiliary_weight=0.5, late_fusion=True)
    network = build_network(config(one), RESOURCES)
    whole = network.model(X)
    again = network.logits(network.trunk(X))
    assert set(again) == {"y", "y:from:note", "y:from:facts"}
    for key, value in again.items():
        np.testing.assert_allclose(value, whole[key], atol=1e-6)
