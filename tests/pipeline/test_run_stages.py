"""A run with stages, an input of noise and a comparison, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.pipeline.conftest import polymodal
from tests.pipeline.samples import write_jsonl

CONFIG: dict[str, Any] = {
    "name": "noise",
    "inputs": [
        {"name": "facts", "modality": "tabular", "numeric": ["age", "weight"],
         "hidden_dims": [16]},
        {"name": "noise", "modality": "tabular", "numeric": ["one", "two"],
         "hidden_dims": [16]},
    ],
    "heads": [
        {"name": "label", "kind": "classification", "classes": ["a", "b"],
         "abstain_below": {"risk": 0.1}},
    ],
    "embedding_dim": 16,
    "fusion": {"kind": "concat", "dim": 16, "hidden_dims": [16]},
    "data": {"id": "id", "split": {"selection_fraction": 0.2}},
    "training": {"batch_size": 64, "learning_rate": 0.01},
    "stages": [
        {"name": "first", "training": {"epochs": 3}},
        {"name": "second", "from": "first", "training": {"epochs": 1}},
    ],
    "evaluation": {
        "thresholds": [{"metric": "accuracy", "minimum": 0.5}],
        "compare": ["scratch", "pretrained", "linear_probe", "full"],
    },
}  # fmt: skip


def rows(count: int = 1000) -> list[dict[str, Any]]:
    random = np.random.default_rng(0)
    made = []
    for i in range(count):
        label = "ab"[i % 2]
        shift = 1.0 if label == "a" else -1.0
        age, weight, one, two = random.normal(size=4).round(3)
        made.append(
            {"id": i, "label": label, "age": age + shift, "weight": weight + shift,
             "one": one, "two": two}
        )  # fmt: skip
    return made


@pytest.mark.e2e
def test_a_noise_input_and_the_gain_of_stages_are_told(tmp_path: Path) -> None:
    manifest = write_jsonl(tmp_path / "m.jsonl", rows())
    config = tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    output = tmp_path / "run"
    words = ("run", str(config), "--data", manifest, "--output", str(output))
    printed = " ".join(polymodal(*words).split())
    summary = json.loads((output / "summary.json").read_text(encoding="utf-8"))

    # The data: nothing of its row matches the noise.
    assert "WARNING noise: a probe cannot match it with facts or head label" in printed
    (warning,) = [one for one in summary["integrity"] if one["level"] == "warn"]
    assert warning["kind"] == "pairs"

    # The model: fusion gains nothing by it.
    assert "BEAT THE BEST SINGLE INPUT of head 'label'" in printed
    (value,) = summary["value"]
    assert value["best_single"] == "facts"
    assert "not distinguishable from noise" in value["warning"]
    assert abs(value["shapley"]["noise"]["value"]) < 0.05
    assert value["shapley"]["facts"]["value"] > 0.3

    # Scores: the temperature and the threshold come out of the SavedModel.
    (calibration,) = summary["calibration"]
    assert calibration["selection_rows"] > 100
    both = calibration["by_inputs"]["facts+noise"]
    assert both["after"]["log_loss"] < both["before"]["log_loss"] + 0.05
    found = calibration["abstain"]["by_inputs"]["facts+noise"]
    assert found["risk"] < 0.2
    answers = tmp_path / "answers.jsonl"
    polymodal(
        "predict", "--model", summary["model"], "--data", manifest,
        "--output", str(answers),
    )  # fmt: skip
    abstained = [
        json.loads(line)["label_abstained"] for line in answers.read_text().splitlines()
    ]
    assert np.mean(abstained) == pytest.approx(1 - found["coverage"], abs=0.1)

    # The stages: `full` is the stage as it is, and is not trained twice.
    comparison = summary["comparison"]
    assert list(comparison["variants"]) == CONFIG["evaluation"]["compare"]
    assert comparison["reference"] == "scratch"
    accuracy = summary["metrics"]["accuracy"]
    assert comparison["variants"]["full"]["metric"]["value"] == accuracy
    assert "Trainer.compare.full" not in summary["seconds"]
    assert set(summary["seconds"]) >= {
        "Trainer.first", "Trainer.compare.scratch", "Trainer.compare.linear_probe",
        "Trainer",
    }  # fmt: skip
    assert all(
        "distinguishable from noise" in one["says"] or name == "scratch"
        for name, one in comparison["variants"].items()
    )
    page = Path(summary["report"]).read_text(encoding="utf-8")
    for said in ("cannot match it with", "BEAT THE BEST SINGLE", "linear_probe is"):
        assert said in page

    # Again: all comes from the cache, the same is reported.
    polymodal(*words)
    again = json.loads((output / "summary.json").read_text(encoding="utf-8"))
    assert "Trainer.compare.scratch" in again["cached"]
    for key in ("value", "calibration", "comparison", "integrity"):
        assert again[key] == summary[key]
