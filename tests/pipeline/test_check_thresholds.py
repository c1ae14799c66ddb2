"""`polymodal check` tells wrong thresholds before anything is trained."""

from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.checked import asked, rows, written
from tests.pipeline.samples import write_csv


@pytest.mark.parametrize(
    ("threshold", "problem"),
    [
        ({"metric": "acuracy", "minimum": 0.5}, "is judged by accuracy"),
        ({"metric": "accuracy", "minimum": 80}, "accuracy is in [0, 1] (80 % is 0.8, not"
         " 80). Received: minimum 80"),
        ({"metric": "accuracy", "minimum": -0.1}, "in [0, 1]. Received: minimum -0.1"),
        ({"metric": "log_loss", "maximum": -1}, "log_loss is 0 or above. Received:"
         " maximum -1"),
        ({"metric": "accuracy", "max_worsening": -0.01}, "max_worsening is how much worse"
         " a model may be, 0 or above. Received: -0.01"),
        ({"metric": "accuracy", "minimum": 0.9, "maximum": 0.5}, "minimum 0.9 is above"
         " maximum 0.5"),
    ],
)  # fmt: skip
def test_thresholds_are_checked_with_and_without_a_manifest(
    tmp_path: Path, threshold: dict[str, Any], problem: str
) -> None:
    good = {"metric": "log_loss", "maximum": 0.6}
    config = written(tmp_path, evaluation={"thresholds": [threshold, good]})
    manifest = write_csv(tmp_path / "m.csv", rows())
    for arguments in ((config,), (config, "--data", manifest)):
        status, output = asked(*arguments)
        assert status == 2
        told = " ".join(output.split())
        assert problem in told
        assert "1 problem to correct" in told


def test_what_early_stopping_looks_at_is_checked(tmp_path: Path) -> None:
    good = {"metric": "recall_of_a", "minimum": 0.5}
    for monitor, wanted in (("balanced_acc", 2), ("balanced_accuracy", 0)):
        config = written(
            tmp_path,
            training={"monitor": monitor},
            evaluation={"thresholds": [good, {"metric": "auc", "minimum": 0.5}]},
        )
        status, output = asked(config)
        assert status == wanted
        told = " ".join(output.split())
        problem = "Did you mean 'balanced_accuracy'? Received: 'balanced_acc'"
        assert (problem in told) is (wanted == 2)
        assert ("1 problem to correct" in told) is (wanted == 2)


def test_every_wrong_threshold_is_told_and_a_turned_one_is_a_warning(
    tmp_path: Path,
) -> None:
    thresholds = [
        {"metric": "one", "minimum": 0.5},
        {"metric": "two", "minimum": 0.5},
        {"metric": "log_loss", "minimum": 0.6},
        {"metric": "accuracy", "maximum": 0.6},
    ]
    config = written(tmp_path, evaluation={"thresholds": thresholds})
    told = " ".join(asked(config)[1].split())
    assert "2 problems to correct" in told
    assert "log_loss is better the lower it is" in told
    assert "accuracy is better the higher it is" in told
