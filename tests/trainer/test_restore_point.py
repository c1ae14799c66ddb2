"""What a kill may leave of a backup, and where training goes on from."""

from __future__ import annotations

from pathlib import Path

from trainer.train import _finished_epochs


def backup(work: Path, **files: str) -> Path:
    folder = work / "backup"
    folder.mkdir()
    for name, content in files.items():
        suffix = ".bkp" if name.endswith("_bkp") else ""
        stem = name.removesuffix("_bkp")
        full = "latest.weights.h5" if stem == "weights" else "training_metadata.json"
        (folder / (full + suffix)).write_text(content)
    return folder


def test_a_whole_backup_counts(tmp_path: Path) -> None:
    backup(tmp_path, weights="new", metadata='{"epoch": 3, "batch": 0}')
    assert _finished_epochs(str(tmp_path)) == 3


def test_metadata_cut_off_by_a_kill_gives_way_to_those_before(tmp_path: Path) -> None:
    folder = backup(
        tmp_path,
        weights="new",
        metadata='{"epoch',
        weights_bkp="old",
        metadata_bkp='{"epoch": 2, "batch": 0}',
    )
    assert _finished_epochs(str(tmp_path)) == 2
    assert (folder / "latest.weights.h5").read_text() == "old"
    assert '"epoch": 2' in (folder / "training_metadata.json").read_text()


def test_nothing_usable_starts_anew(tmp_path: Path) -> None:
    folder = backup(tmp_path, weights="new", metadata="")
    assert _finished_epochs(str(tmp_path)) == 0
    assert not folder.exists()
