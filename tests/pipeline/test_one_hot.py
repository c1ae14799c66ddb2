"""A label that stands in several columns, as 1 in exactly one of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.manifest import ManifestError
from tests.pipeline.first_configs import inferred, left_out, note
from trainer.features import features

KINDS = ("MEL", "NV", "BCC")


def lesions(write: Callable[[bool], Any] = int, **more: str) -> list[dict[str, Any]]:
    """Rows as the ISIC challenges have them: a column for each class."""
    return [
        {"note": note(i), **{k: write(i * 7 % 3 == n) for n, k in enumerate(KINDS)}}
        | dict.fromkeys(more.values(), KINDS[i * 7 % 3])
        for i in range(60)
    ]


@pytest.mark.parametrize("write", [int, float, lambda one: f"{float(one):.1f}"])
def test_no_class_of_several_columns_is_guessed_to_be_the_label(
    tmp_path: Path, write: Callable[[bool], Any]
) -> None:
    with pytest.raises(ManifestError) as caught:
        inferred(tmp_path, lesions(write))
    assert "columns 'MEL', 'NV', 'BCC' hold one label together" in str(caught.value)
    assert "idxmax(axis=1)" in str(caught.value)


def test_the_other_columns_are_no_inputs_of_the_one_that_is_named(
    tmp_path: Path,
) -> None:
    config, text = inferred(tmp_path, lesions(), label="NV")
    assert [one.name for one in config.inputs] == ["note"]
    reason = "'NV' in other words: in each row exactly one of 'MEL', 'NV', 'BCC' is 1"
    assert left_out(text) == {"MEL": reason, "BCC": reason}


def test_nor_are_they_of_a_column_that_names_their_classes(tmp_path: Path) -> None:
    config, text = inferred(tmp_path, lesions(name="label"))
    assert [one.name for one in config.inputs] == ["note"]
    reason = "the label 'label' in other words: 1 for one of its classes"
    assert left_out(text) == dict.fromkeys(KINDS, reason)


def test_categories_in_several_columns_stay_inputs(tmp_path: Path) -> None:
    rows = [
        {**row, "label": "ab"[i * 5 % 7 % 2]} for i, row in enumerate(lesions())
    ]  # fmt: skip
    config, _ = inferred(tmp_path, rows)
    assert {f.key: f.kind for f in features(config)} == {
        "note": "text", "mel": "categorical", "nv": "categorical", "bcc": "categorical",
    }  # fmt: skip


def test_columns_of_which_several_may_be_1_are_left_alone(tmp_path: Path) -> None:
    rows = [{**row, "NV": i % 2} for i, row in enumerate(lesions())]
    assert inferred(tmp_path, rows)[0].heads[0].name in ("mel", "nv", "bcc")
