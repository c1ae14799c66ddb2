"""Encoders refuse sizes that no layer can have, before anything is built."""

from __future__ import annotations

from typing import Any

import pytest

from trainer.config import ConfigError, from_mapping

CASES = [
    ("image", {"kind": "conv", "filters": [0]}, "filters: must be above 0"),
    ("image", {"kind": "conv", "pool": 0}, "pool: must be above 0"),
    ("image", {"kind": "mlp", "dropout": 1.5}, "dropout: must be in [0, 1)"),
    ("image", {"kind": "resnet", "blocks": [0, 1]}, "blocks: must be above 0"),
    ("audio", {"kind": "transformer", "stride": 0}, "stride: must be above 0"),
    ("audio", {"kind": "transformer", "heads": 0}, "heads: must be above 0"),
    ("audio", {"kind": "conv", "dropout": -0.1}, "dropout: must be in [0, 1)"),
    ("text", {"kind": "bert", "heads": 3}, "heads: must divide the hidden size (128)"),
    ("text", {"kind": "bag", "hidden_dim": 0}, "hidden_dim: must be above 0"),
]


@pytest.mark.parametrize(("modality", "encoder", "words"), CASES)
def test_impossible_sizes_are_refused(
    modality: str, encoder: dict[str, Any], words: str
) -> None:
    one = {"name": "x", "modality": modality, "encoder": encoder}
    head = {"name": "y", "kind": "classification", "classes": ["a", "b"]}
    with pytest.raises(ConfigError) as caught:
        from_mapping({"name": "m", "inputs": [one], "heads": [head]})
    (problem,) = caught.value.problems
    assert problem.startswith(f"inputs[x].encoder.{words}")
