"""Metrics over classes against scikit-learn, also where classes are on no row."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from trainer.config import ClassificationHead, OrdinalHead
from trainer.heads.classification import Classification
from trainer.heads.ordinal import Ordinal

CLASSES = ("a", "b", "c", "d")
EACH = np.eye(4)


def one(labels: Sequence[int], chosen: Sequence[int]) -> tuple[Any, Any]:
    head = Classification(ClassificationHead("y", CLASSES))
    scores = {"y_scores": 0.1 + 0.6 * EACH[list(chosen)]}
    return head.metrics(list(labels), scores), head.class_metrics(list(labels), scores)


def grades(labels: Sequence[int], chosen: Sequence[int]) -> tuple[Any, Any]:
    head = Ordinal(OrdinalHead("y", CLASSES))
    answers = {
        "y": np.array([CLASSES[i] for i in chosen], object),
        "y_scores": 0.1 + 0.6 * EACH[list(chosen)],
    }
    return head.metrics(labels, answers), head.class_metrics(labels, answers)


@pytest.mark.parametrize("found", [one, grades])
def test_perfect_predictions_have_perfect_metrics_whatever_classes_are_there(
    found: Any,
) -> None:
    for labels in ([0, 1, 1], [2], [0, 1, 2, 3]):
        got, _ = found(labels, labels)
        for name in ("accuracy", "balanced_accuracy", "macro_recall", "macro_f1"):
            assert got[name] == 1.0, (labels, name)
        assert got.get("auc", 1.0) == 1.0


def test_perfect_predictions_of_several_classes_too() -> None:
    head = Classification(ClassificationHead("y", CLASSES, multi_label=True))
    labels = np.array([[1, 1, 0, 1], [1, 0, 0, 1], [1, 1, 0, 0]])
    got = head.metrics(labels, {"y_scores": 0.1 + 0.8 * labels})
    # a is on every row and c on none.
    for name in ("accuracy", "balanced_accuracy", "macro_recall", "macro_f1", "auc"):
        assert got[name] == 1.0, name
    nothing = head.metrics(np.zeros((3, 4)), {"y_scores": np.full((3, 4), 0.1)})
    assert set(nothing) == {"accuracy", "log_loss"}


@pytest.mark.parametrize("found", [one, grades])
@pytest.mark.parametrize("seed", range(6))
def test_one_class_of_several_is_judged_as_by_scikit_learn(
    found: Any, seed: int
) -> None:
    random = np.random.default_rng(seed)
    # Classes that are on no row, or never answered, are among the draws.
    labels = random.choice([0, 1, 3], 12)
    chosen = np.where(random.random(12) < 0.5, labels, random.choice([0, 1, 2], 12))
    got, single = found(labels.tolist(), chosen.tolist())
    there = sorted(set(labels.tolist()))
    wanted = metrics.recall_score(labels, chosen, average="macro", labels=there)
    assert got["macro_recall"] == pytest.approx(wanted)
    either = sorted({*labels.tolist(), *chosen.tolist()})
    wanted = metrics.f1_score(labels, chosen, average="macro", labels=either)
    assert got["macro_f1"] == pytest.approx(wanted)
    wanted = np.mean([(chosen[labels == c] == c).mean() for c in there])
    assert got["balanced_accuracy"] == pytest.approx(wanted)
    reference = metrics.precision_recall_fscore_support(
        labels, chosen, labels=range(4), zero_division=0.0
    )
    for i, name in enumerate(CLASSES):
        precision, recall, f1, support = (float(each[i]) for each in reference)
        mine = single[name]
        assert mine["examples"] == support
        assert mine.get("precision", 0.0) == pytest.approx(precision)
        assert mine.get("recall", 0.0) == pytest.approx(recall)
        assert mine.get("f1", 0.0) == pytest.approx(f1)
        assert ("recall" in mine) is (i in there)
        assert ("f1" in mine) is ("precision" in mine) is (i in either)


@pytest.mark.parametrize("seed", range(4))
def test_several_classes_are_judged_as_by_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.random((15, 4)) < [0.5, 0.2, 0.0, 0.8]
    scores = np.where(labels, 0.7, 0.3) + random.uniform(-0.4, 0.3, (15, 4))
    scores[:, 2] = 0.1
    head = Classification(ClassificationHead("y", CLASSES, multi_label=True))
    got = head.metrics(labels.astype(float), {"y_scores": scores})
    single = head.class_metrics(labels.astype(float), {"y_scores": scores})
    chosen = scores > 0.5
    there = np.flatnonzero(labels.any(0))
    assert not labels[:, 2].any()
    for name, function in (
        ("macro_recall", metrics.recall_score),
        ("macro_f1", metrics.f1_score),
    ):
        wanted = function(labels[:, there], chosen[:, there], average="macro")
        assert got[name] == pytest.approx(wanted), name
    told = [c for c in there if not labels[:, c].all()]
    each = [metrics.balanced_accuracy_score(labels[:, c], chosen[:, c]) for c in told]
    assert got["balanced_accuracy"] == pytest.approx(np.mean(each))
    each = [metrics.roc_auc_score(labels[:, c], scores[:, c]) for c in told]
    assert got["auc"] == pytest.approx(np.mean(each))
    assert single["c"] == {"examples": 0}
    wanted = metrics.precision_score(labels[:, 0], chosen[:, 0], zero_division=0.0)
    assert single["a"]["precision"] == pytest.approx(wanted)


def test_metrics_of_single_classes_can_be_named() -> None:
    head = Classification(ClassificationHead("y", ("a", "b")))
    assert list(head.class_directions) == [
        "precision_of_a", "recall_of_a", "f1_of_a",
        "precision_of_b", "recall_of_b", "f1_of_b",
    ]  # fmt: skip
    named = head.named_metrics([0, 0, 1], {"y_scores": np.eye(2)[[0, 1, 1]]})
    assert named["recall_of_a"] == 0.5
    assert named["precision_of_b"] == 0.5
    assert named["f1_of_b"] == pytest.approx(2 / 3)
    assert named["accuracy"] == pytest.approx(2 / 3)
    assert set(named) <= set(head.named_directions)
