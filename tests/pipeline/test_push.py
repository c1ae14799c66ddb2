"""What is called pushed is what a server takes."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from pipeline.apply import newest_version
from pipeline.run import run
from tests.pipeline.samples import write_jsonl
from trainer.config import from_mapping


def rows(count: int = 200) -> list[dict[str, Any]]:
    random = np.random.default_rng(0)
    shift = {"a": 1.0, "b": -1.0}
    return [
        {"id": i, "label": "ab"[i % 2], "age": shift["ab"[i % 2]] + random.normal()}
        for i in range(count)
    ]


def weights(model: str) -> str:
    """A hash of a SavedModel's variables."""
    (data,) = Path(model, "variables").glob("variables.data-*")
    return hashlib.sha256(data.read_bytes()).hexdigest()


@pytest.mark.e2e
def test_a_model_is_pushed_again_after_another_or_once_it_is_gone(
    tmp_path: Path,
) -> None:
    """Runs A, B, A: the last one's summary names what is served, and it is A."""
    manifest = str(write_jsonl(tmp_path / "m.jsonl", rows()))
    output = tmp_path / "out"

    def pushed(width: int) -> dict[str, Any]:
        config = from_mapping(
            {
                "name": "small",
                "inputs": [
                    {"name": "facts", "modality": "tabular", "numeric": ["age"],
                     "hidden_dims": [width]}
                ],
                "heads": [
                    {"name": "label", "kind": "classification", "classes": ["a", "b"]}
                ],
                "data": {"id": "id"},
                "training": {"epochs": 2, "learning_rate": 0.01},
                "evaluation": {"thresholds": [{"metric": "accuracy", "minimum": 0.1}]},
            }
        )  # fmt: skip
        summary = run(config, manifest, str(output), Console(quiet=True))
        assert summary["blessed"], summary["failures"]
        assert summary["model"] == newest_version(str(output / "serving/small"))
        return summary

    first, other = pushed(8), pushed(12)
    # Another width reads and analyzes nothing again.
    assert set(other["cached"]) >= {"ManifestExampleGen", "Transform"}
    assert "Trainer" not in other["cached"]
    assert weights(first["model"]) != weights(other["model"])
    again = pushed(8)
    assert "Trainer" in again["cached"]
    assert "Pusher" not in again["cached"]
    assert len({one["model"] for one in (first, other, again)}) == 3
    assert weights(again["model"]) == weights(first["model"])
    assert Path(again["baseline"]).is_file()
    # Once it is served there is nothing to push.
    unchanged = pushed(8)
    assert unchanged["model"] == again["model"]
    assert "Pusher" in unchanged["cached"]
    shutil.rmtree(again["model"])
    restored = pushed(8)
    assert weights(restored["model"]) == weights(first["model"])
