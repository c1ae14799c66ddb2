"""`polymodal demo`: the whole main job on the embedded data."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from rich.console import Console

from trainer.config import UserError

NAME = "demo"


class DemoError(UserError, RuntimeError):
    """The demo did not come to its end; the message says what to look at."""


def config_path() -> Path:
    """The demo's config, which travels with the package."""
    return Path(str(resources.files("pipeline") / "demo.yaml"))


def demo(output: str, examples: int, seed: int, console: Console) -> dict[str, Any]:
    """Writes the data, runs the pipeline, serves the model, asks it; returns the summary.

    Raises:
        DemoError: the model was not blessed, or the server did not start.
        OutputError: `output` cannot be written to, or a run is under way there.
    """
    from pipeline.outputs import held, writable_folder
    from pipeline.run import run
    from pipeline.show import show
    from trainer.config import load

    data = Path(output) / "data"
    manifest = data / "manifest.csv"
    # The same arguments give the same bytes: data that is there need not be made.
    stamp = data / "made_with.txt"
    made = f"examples={examples} seed={seed}\n"
    with held(writable_folder(output)):
        if not (manifest.exists() and stamp.exists() and stamp.read_text() == made):
            write_data(data, examples, seed, console)
            stamp.write_text(made)
    summary = run(load(config_path()), str(manifest), output, console)
    show(summary, console)
    pushed = summary["model"]
    if pushed is None:
        raise DemoError(
            "the demo's model was not blessed; see summary.json for its metrics."
        )
    with serving(str(Path(pushed).parent), NAME, console) as target:
        ask(target, str(data), console)
    console.print(f"[bold green]done[/]: {output}/summary.json", highlight=False)
    return summary


def write_data(directory: Path, examples: int, seed: int, console: Console) -> Path:
    """Writes the demo data under a progress bar; returns the manifest's path."""
    from rich.progress import Progress

    from pipeline.demo_data import write_demo_data

    with Progress(console=console) as progress:
        task = progress.add_task("demo data", total=examples)
        return write_demo_data(
            directory, examples, seed, lambda n: progress.update(task, completed=n)
        )


@contextmanager
def serving(base_path: str, name: str, console: Console) -> Iterator[str]:
    """A model server of its own process; yields its gRPC target."""
    command = [
        sys.executable, "-m", "serving.server", "--port=0", f"--model_name={name}",
        f"--model_base_path={base_path}",
    ]  # fmt: skip
    words = " ".join(["python", *command[1:]])
    console.print(f"$ {words}", highlight=False, soft_wrap=True)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield f"grpc://127.0.0.1:{_port(process)}/{name}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
    console.print(f"server stopped, exit status {process.returncode}", highlight=False)


def _port(process: subprocess.Popen[str]) -> int:
    """The port in the line that the server prints when it is ready."""
    assert process.stdout is not None
    for line in process.stdout:
        if "Running gRPC ModelServer at" in line:
            return int(line.split(":")[-1].split()[0].rstrip("."))
    raise DemoError(f"the server ended with status {process.wait()}; see above.")


def ask(target: str, base: str, console: Console) -> None:
    """Sends one request per subset of the inputs, of a row that has them all."""
    from rich.table import Table

    from pipeline.rows import Row, iter_rows
    from serving.client import Client
    from trainer.config import load
    from trainer.features import features, subset_name

    config = load(config_path())
    manifest = os.path.join(base, "manifest.csv")
    keys = {f.key for f in features(config)}
    row = next(
        row
        for row in iter_rows(config, manifest, config.data.split.eval)
        if isinstance(row, Row) and keys <= set(row.values)
    )
    label = config.heads[0].name
    known = row.labels[label]
    assert isinstance(known, tuple)
    table = Table(title=f"row {row.id}, {label} {known[0]}, over gRPC")
    for column in ("inputs sent", "answer", "score", "version"):
        table.add_column(column)
    names = [one.name for one in config.inputs]
    with Client(target) as client:
        for size in range(1, len(names) + 1):
            for subset in itertools.combinations(names, size):
                mine = {f.key for f in features(config) if f.input in subset}
                values = {k: v for k, v in row.values.items() if k in mine}
                (answer,) = client.predict([values])
                table.add_row(
                    subset_name(subset),
                    answer[label],
                    f"{answer[f'{label}_scores'][answer[label]]:.3f}",
                    str(answer["model_version"]),
                )
    console.print(table)
