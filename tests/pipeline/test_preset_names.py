"""A preset that does not exist is found by `check`, and by `run` before it reads rows."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.check import check_config
from pipeline.run import run
from tests.pipeline.samples import config, write_csv
from trainer.config import ConfigError

TEXT = {"name": "text", "modality": "text"}
PICTURE = {"name": "image", "modality": "image"}
FRAMES = {"name": "scan", "modality": "images"}


def problems(one: dict[str, Any], preset: str) -> list[str]:
    encoder = {"kind": "preset", "preset": preset}
    return check_config(config(inputs=[one | {"encoder": encoder}])).problems


@pytest.mark.parametrize(
    ("one", "wrong", "right"),
    [
        (TEXT, "bert_tiny_en_uncasd", "bert_tiny_en_uncased"),
        (PICTURE, "resnet50_imagnet", "resnet50_imagenet"),
        (FRAMES, "resnet50_imagnet", "resnet50_imagenet"),
    ],
)
def test_an_unknown_preset_names_the_nearest(
    one: dict[str, Any], wrong: str, right: str
) -> None:
    (problem,) = problems(one, wrong)
    assert problem.startswith(
        f"inputs[{one['name']}].encoder.preset: {wrong!r} is neither"
    )
    assert f"Did you mean {right!r}?" in problem
    assert problems(one, right) == []
    # Whether it can be fetched shows when it is.
    assert problems(one, "hf://somebody/something") == []


def test_a_preset_that_cannot_be_served_is_none() -> None:
    (problem,) = problems(TEXT, "gpt2_base_en")
    assert "is neither a WordPiece preset of KerasHub nor a folder here" in problem


def test_a_folder_must_hold_what_save_to_preset_writes(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (problem,) = problems(TEXT, str(tmp_path))
    assert f"the folder {str(tmp_path)!r} holds no tokenizer.json" in problem
    (problem,) = problems(PICTURE, str(tmp_path))
    assert "holds no model.weights.h5" in problem
    (tmp_path / "model.weights.h5").write_text("")
    assert problems(PICTURE, str(tmp_path)) == []


def test_a_run_looks_before_it_reads_rows(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "m.csv", [{"id": "1"}])
    encoder = {"kind": "preset", "preset": "bert_of_nobody"}
    with pytest.raises(ConfigError, match="'bert_of_nobody' is neither"):
        run(config(inputs=[TEXT | {"encoder": encoder}]), path, str(tmp_path / "out"))
