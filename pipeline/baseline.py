"""The baseline of the drift monitor: what a model sees and says when all is well.

The files hold shares of bins, never a row: they travel with the model.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.monitor_bins import Bins
from pipeline.monitor_embeddings import Axes
from pipeline.monitor_rows import Column
from trainer.config import Config, UserError, from_json, to_json

FOLDER = os.path.join("assets.extra", "polymodal_baseline")
"""Where it lies inside a pushed model."""

STATISTICS = "FeatureStats.pb"
_READING = "baseline.json"
_FORMAT = 1


class BaselineError(UserError, ValueError):
    """A baseline that cannot be used; says which and what to do."""


@dataclass(frozen=True)
class Baseline:
    """What logged rows are compared with.

    Attributes:
        config: the model's, with the thresholds.
        version: of the model that answered; 0 where it has none.
        model: hash of the model's graph and weights: embeddings of another one are
            not comparable.
        rows: how many it was counted on.
        bins: column -> its bins.
        axes: embedding output -> its axes.
        statistics: TFDV's DatasetFeatureStatisticsList over the bins.
    """

    config: Config
    version: int
    model: str
    rows: int
    bins: Mapping[Column, Bins]
    axes: Mapping[str, Axes]
    statistics: Any


def keep_baseline(config: Config, model: str, examples: str) -> str:
    """Writes the baseline of a pushed model into it, or finds it there.

    Where only the config's thresholds are new, only they are written.

    Args:
        config: the model's config.
        model: directory of the pushed version.
        examples: uri of the tf.Examples of the run that made the model.

    Returns:
        Path of its TFDV statistics.
    """
    folder = Path(model, FOLDER)
    path = str(folder / STATISTICS)
    try:
        found = load_baseline(path)
    except BaselineError:
        from pipeline.baseline_measure import measure_model

        write_baseline(measure_model(config, model, examples), folder)
        return path
    if found.config != config:
        _write_reading(dataclasses.replace(found, config=config), folder)
    return path


def load_baseline(path: str) -> Baseline:
    """Reads a baseline.

    Args:
        path: its statistics, the folder that holds them, or a model's directory: a
            version, or the folder above, of which the newest version is taken.

    Raises:
        BaselineError: none is there, or one of another format.
    """
    import tensorflow_data_validation as tfdv

    folder = baseline_folder(path)
    try:
        reading = json.loads((folder / _READING).read_text(encoding="utf-8"))
        if reading["format"] != _FORMAT:
            raise BaselineError(
                f"{folder}: a baseline of format {reading['format']}; this version of"
                f" polymodal reads {_FORMAT}. `polymodal run` writes it anew."
            )
        return Baseline(
            config=from_json(json.dumps(reading["config"])),
            version=reading["version"],
            model=reading["model"],
            rows=reading["rows"],
            bins={Column(*c): Bins.from_json(b) for c, b in reading["bins"]},
            axes={k: Axes.from_json(a) for k, a in reading["axes"].items()},
            statistics=tfdv.load_stats_binary(str(folder / STATISTICS)),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, BaselineError):
            raise
        raise BaselineError(
            f"{folder}: not a whole baseline ({type(error).__name__}: {error});"
            " `polymodal run` writes it anew."
        ) from error


def baseline_folder(path: str) -> Path:
    """The folder of a baseline, see `load_baseline`; BaselineError where there is none."""
    from pipeline.apply import ModelError, newest_version

    given = Path(path)
    if given.name == STATISTICS and given.is_file():
        return given.parent
    if (given / STATISTICS).is_file():
        return given
    try:
        inside = Path(newest_version(path), FOLDER)
    except ModelError:
        inside = given
    if not (inside / STATISTICS).is_file():
        raise BaselineError(
            f"{path}: no baseline here; expected a {STATISTICS}, or a model that"
            " `polymodal run` pushed. `baseline` in its summary.json says where it is."
        )
    return inside


def model_hash(model: str) -> str:
    """Tells models apart; reads the graph, and of the weights the table of checksums."""
    digest = hashlib.sha256()
    for name in ("saved_model.pb", "variables/variables.index"):
        path = Path(model, name)
        if path.exists():
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def write_baseline(baseline: Baseline, folder: Path) -> None:
    """Writes a whole baseline, or nothing: it appears at once."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    (part / STATISTICS).write_bytes(baseline.statistics.SerializeToString())
    _write_reading(baseline, part)
    shutil.rmtree(folder, ignore_errors=True)
    part.replace(folder)


def _write_reading(baseline: Baseline, folder: Path) -> None:
    """Writes how rows are read into the statistics, and from when on they alarm."""
    text = json.dumps(
        {
            "format": _FORMAT,
            "version": baseline.version,
            "model": baseline.model,
            "rows": baseline.rows,
            "config": json.loads(to_json(baseline.config)),
            "bins": [[list(c), b.to_json()] for c, b in baseline.bins.items()],
            "axes": {key: one.to_json() for key, one in baseline.axes.items()},
        },
        ensure_ascii=False,
    )
    part = folder / f"{_READING}.part"
    part.write_text(text, encoding="utf-8")
    part.replace(folder / _READING)
