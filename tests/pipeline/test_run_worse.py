"""A whole run whose model is worse than a constant answer: not blessed, and said why."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import pytest

from tests.pipeline.conftest import overriding, polymodal

CONFIG = """
name: worse
inputs:
  - {name: facts, modality: tabular, numeric: [x]}
heads:
  - {name: illness, kind: classification, classes: [well, sick]}
  - {name: ratio, kind: regression}
  - {name: grade, kind: ordinal, classes: [low, mid, high]}
data: {id: id, split: {column: split}}
embedding_dim: 8
training: {epochs: 6, batch_size: 32, learning_rate: 0.01}
"""


def write_manifest(path: Path) -> None:
    """What x means is the other way round in eval: another site's coding."""
    draw = random.Random(0)
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["id", "split", "x", "illness", "ratio", "grade"])
        for i in range(600):
            other = i % 3 == 2
            x = draw.gauss(0, 1)
            meant = -x if other else x
            # Nine of ten are well where the model is judged.
            illness = "sick" if meant > (1.3 if other else 0) else "well"
            grade = ["low", "mid", "high"][(meant > -0.4) + (meant > 0.4)]
            ratio = 0.5 + 0.06 * meant + draw.gauss(0, 0.01)
            split = "eval" if other else "train"
            out.writerow([f"r{i}", split, x, illness, ratio, grade])


@pytest.mark.e2e
@pytest.mark.slow
def test_a_model_that_is_worse_than_a_constant_is_not_pushed(tmp_path: Path) -> None:
    write_manifest(tmp_path / "data.csv")
    (tmp_path / "worse.yaml").write_text(CONFIG, encoding="utf-8")
    words = ["run", str(tmp_path / "worse.yaml"), "--data", str(tmp_path / "data.csv")]
    words += ["--output", str(tmp_path / "out")]
    printed = polymodal(*words)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text("utf-8"))
    assert (summary["blessed"], summary["model"]) == (False, None)
    told = {one["head"]: one for one in summary["against_constant"]}
    assert {name: one["verdict"] for name, one in told.items()} == dict.fromkeys(
        ("illness", "ratio", "grade"), "worse"
    )
    assert summary["failures"] == [
        f"{told[name]['says']}; wanted: not worse, or"
        " evaluation.allow_worse_than_constant: true"
        for name in ("illness", "ratio", "grade")
    ]
    for line in summary["failures"]:
        assert line in printed
        assert line.split(";")[0].split(" (")[0] in Path(summary["report"]).read_text()
    assert not (tmp_path / "out" / "serving").exists()
    # Allowed, it is pushed, and told all the same; nothing is trained again.
    allowed = overriding("evaluation.allow_worse_than_constant=true")
    printed = polymodal(*words, *allowed)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text("utf-8"))
    assert summary["blessed"] is True
    assert "Trainer" in summary["cached"]
    assert (Path(summary["model"]) / "saved_model.pb").is_file()
    for one in summary["against_constant"]:
        assert f"WARNING  {one['says'][:60]}" in printed
