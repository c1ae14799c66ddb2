"""`polymodal evaluate` and `polymodal predict`: a finished model on new rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from pipeline.outputs import appearing, writable_file
from pipeline.predicted_rows import predicted_rows
from pipeline.rows import Quarantined, Row, iter_rows
from trainer.config import CONFIG_ASSET, Config, UserError, load


class ModelError(UserError, ValueError):
    """A model that cannot be used as asked."""


def newest_version(directory: str) -> str:
    """A SavedModel directory, or the highest version below it."""
    path = Path(directory)
    if (path / "saved_model.pb").exists():
        return str(path)
    versions = [
        p
        for p in (path.iterdir() if path.is_dir() else [])
        if p.name.isdigit() and (p / "saved_model.pb").exists()
    ]
    if not versions:
        raise ModelError(
            f"{directory}: no SavedModel here (no saved_model.pb, and no numbered"
            " version directory that holds one)."
        )
    return str(max(versions, key=lambda p: int(p.name)))


def model_config(directory: str) -> Config:
    """The config that travels inside an exported model."""
    path = Path(directory, CONFIG_ASSET)
    if not path.exists():
        raise ModelError(
            f"{directory}: has no {CONFIG_ASSET}, so it was not exported by polymodal."
        )
    return load(path)


def evaluate(
    model: str, manifest: str, split: str | None, console: Console
) -> dict[str, Any]:
    """Judges a model on labelled rows.

    Args:
        model: a SavedModel directory, or the directory above its versions.
        manifest: path or URL; needs the label columns.
        split: only the rows of this split; None = all rows.

    Returns:
        `examples`, `quarantined`, `metrics`, `metrics_by_inputs`, `metrics_by_slices`,
        `per_class`, `against_constant`, `value`, `calibration`: see
        `pipeline.judging.judge`.

    Raises:
        ModelError: no such model, or no row to judge on.
    """
    from pipeline.judging import exported_calibration, judge
    from serving.client import LocalModel

    directory = newest_version(model)
    config = model_config(directory)
    rows: list[Row] = []
    bad: list[Quarantined] = []
    for row in _progress(_judged_rows(config, manifest, split), console):
        if isinstance(row, Quarantined):
            bad.append(row)
        else:
            rows.append(row)
    for one in bad[:5]:
        console.print(f"  quarantined: {one}", markup=False, highlight=False)
    if not rows:
        raise ModelError(
            f"{manifest}: no row to judge on"
            + (f" in split {split!r}" if split else "")
            + f" ({len(bad)} quarantined)."
        )
    calibration = exported_calibration(directory)
    report = judge(config, LocalModel(directory), rows, calibration)
    return {
        "examples": report["examples"],
        "quarantined": len(bad),
        "metrics": report["metrics"],
        "metrics_by_inputs": report["metrics_by_inputs"],
        "metrics_by_slices": report["metrics_by_slices"],
        "against_constant": report["against_constant"],
        "per_class": report["per_class"],
        "value": report["value"],
        "calibration": report["calibration"],
    }


def _judged_rows(
    config: Config, manifest: str, split: str | None
) -> Iterator[Row | Quarantined]:
    from pipeline.scan import scan

    scanned = scan(config, manifest)
    if split is not None and split not in scanned.splits:
        known = ", ".join(scanned.splits) or "none"
        raise ModelError(f"{manifest}: no row is in split {split!r}. Splits: {known}")
    yield from iter_rows(config, manifest, split, scanned=scanned)


def _progress(
    rows: Iterator[Row | Quarantined], console: Console
) -> Iterator[Row | Quarantined]:
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("reading", total=None)
        for row in rows:
            progress.advance(task)
            yield row


def read_token(path: str) -> str:
    """The bearer token that a file holds.

    Raises:
        ModelError: no text that can stand in the header of a request.
    """
    try:
        token = Path(path).read_bytes().strip().decode("ascii")
    except UnicodeDecodeError:
        token = ""
    if not token or len(token.split()) > 1:
        raise ModelError(
            f"{path}: expected one bearer token in ASCII, and nothing else."
        )
    return token


def predict(
    manifest: str,
    output: str,
    console: Console,
    *,
    model: str | None = None,
    target: str | None = None,
    config: Config | None = None,
    split: str | None = None,
    batch_size: int = 32,
    ca_cert: str | None = None,
    token: str | None = None,
) -> dict[str, int]:
    """Writes one JSON line per row of a manifest: its id and the model's answers.

    A row that cannot be read gets a line with `error` instead of answers, so that
    lines and rows stay equally many. Columns of inputs may be lacking: these inputs are
    missing in every row, which is told.

    Args:
        model: a SavedModel directory; or
        target: `grpc://HOST:PORT/NAME`.
        config: maps columns to inputs; None = the model's own, and for a target a
            manifest whose columns are called as the model's inputs.
        split: only the rows of this split, as `evaluate` takes them; None = all rows.
        ca_cert: PEM file that a target's TLS is checked by; None = no TLS.
        token: the bearer token that a target asks for.

    Returns:
        `rows` and `errors`.
    """
    from serving.client import Client, LocalModel, tls_credentials

    if (model is None) == (target is None):
        raise ModelError("give either --model or --target.")
    if split is not None and target is not None and config is None:
        raise ModelError(
            "--split: give --config too; a server does not say how rows are split."
        )
    writable_file(output)
    asked: Any
    if model is not None:
        directory = newest_version(model)
        config = config or model_config(directory)
        asked = LocalModel(directory, max_batch_size=batch_size)
    else:
        assert target is not None
        try:
            credentials = tls_credentials(ca_cert) if ca_cert else None
            asked = Client(
                target, max_batch_size=batch_size, credentials=credentials, token=token
            )
        except ValueError as error:
            raise ModelError(str(error)) from None
        asked.contract()  # before any row is read: is there a server, with this model?
        config = config or _config_of(asked)
    counts = {"rows": 0, "errors": 0}
    rows, notes = predicted_rows(config, manifest, split)
    for note in notes:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    with asked, appearing(output) as file:
        batch: list[Row | Quarantined] = []
        for row in _progress(rows, console):
            batch.append(row)
            if len(batch) == batch_size:
                _write(asked, batch, file, counts)
                batch = []
        _write(asked, batch, file, counts)
    return counts


def _config_of(client: Any) -> Config:
    """A config that maps each column to the input of the same name."""
    from trainer.config import (
        AudioInput,
        ClassificationHead,
        ImageInput,
        ImagesInput,
        TabularInput,
        TextInput,
        as_served,
    )

    contract = client.contract()
    kinds = dict(contract.inputs)
    inputs: list[Any] = []
    made = {"image": ImageInput, "audio": AudioInput, "text": TextInput}
    for name, kind in kinds.items():
        if kind in made:
            inputs.append(made[kind](name=name))
        elif kind == "images":
            # The frames that the model takes, chosen once of all that there are.
            inputs.append(ImagesInput(name=name, max_frames=contract.frames[name]))
    numeric = tuple(name for name, kind in kinds.items() if kind == "numeric")
    if numeric:
        inputs.append(TabularInput(name="polymodal_numbers", numeric=numeric))
    head = ClassificationHead(name="polymodal_unused", classes=("a", "b"))
    return as_served("remote", inputs, head)


def _write(
    model: Any, batch: list[Row | Quarantined], file: Any, counts: dict[str, int]
) -> None:
    good = [row for row in batch if isinstance(row, Row)]
    answers = iter(model.predict([row.values for row in good]))
    for row in batch:
        counts["rows"] += 1
        line: dict[str, Any] = {"id": row.id}
        if isinstance(row, Row):
            line.update(next(answers))
        else:
            counts["errors"] += 1
            line["error"] = {"reason": row.reason, "message": row.message}
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
