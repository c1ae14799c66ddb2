"""The `polymodal` command: a thin front of the functions it calls.

Heavy imports wait until a command needs them: `polymodal --help` is for people.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click
from rich.console import Console

from pipeline import cli_serving
from pipeline.explained import ExplainedGroup
from serving import library_notes

# TensorFlow's start-up notes (no GPU, CUDA factories) would drown our own lines.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
library_notes.silence()


_overriding = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY.PATH=VALUE",
    help="Override a key of the config; lists by name or index.",
)


@click.group(
    cls=ExplainedGroup, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="polymodal")
def main() -> None:
    """Multimodal models on TensorFlow: from one YAML file to a served SavedModel."""


@main.command("demo-data")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--examples", default=1200, show_default=True, help="Rows to write.")
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Same seed, same bytes.",
)
def demo_data(directory: Path, examples: int, seed: int) -> None:
    """Write the embedded data set: digits drawn, spoken, mentioned and measured."""
    from pipeline.demo import write_data

    path = write_data(directory, examples, seed, Console())
    Console().print(f"wrote {examples} examples to {path}", highlight=False)


@main.command()
@click.option("--output", default="build/demo", show_default=True)
@click.option("--examples", default=1200, show_default=True, help="Rows of demo data.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def demo(output: str, examples: int, seed: int) -> None:
    """Run the whole main job on the embedded data: train, judge, push, serve, ask."""
    from pipeline.demo import demo as run_demo

    run_demo(output, examples, seed, Console())


@main.command()
@click.argument("manifest")
@click.option("-o", "--output", required=True, help="YAML file to write.")
@click.option("--label", metavar="COLUMN", help="What to predict; else it is guessed.")
@click.option("--id", metavar="COLUMN", help="Filled and different in each row.")
@click.option(
    "--group", metavar="COLUMN", help="Patient, speaker: its rows never part."
)
@click.option("--force", is_flag=True, help="Overwrite the file.")
def init(
    manifest: str,
    output: str,
    label: str | None,
    id: str | None,
    group: str | None,
    force: bool,
) -> None:
    """Infer inputs, label and head from a manifest; write a config to review."""
    from pipeline.init_config import write

    write(manifest, output, force, label=label, id=id, group=group)
    Console().print(
        f"wrote {output}: review it, then `polymodal check {output} --data {manifest}`",
        soft_wrap=True,
    )


@main.command()
@click.argument("config")
@click.option("--data", "manifest", help="Manifest to check too.")
@_overriding
@click.option(
    "--json", "json_file", help="Also write the report to this file; - = print it only."
)
def check(
    config: str,
    manifest: str | None,
    overrides: tuple[str, ...],
    json_file: str | None,
) -> None:
    """Validate a config and a manifest; lists every problem, exit status 0 or 2."""
    from pipeline.check_command import run_check

    sys.exit(run_check(config, manifest, overrides, json_file))


@main.command()
@click.argument("config")
@_overriding
def render(config: str, overrides: tuple[str, ...]) -> None:
    """Print the config with every default filled in."""
    from trainer.config import load, to_yaml

    click.echo(to_yaml(load(config, overrides)), nl=False)


@main.command()
@click.argument("config")
@click.option("--data", "manifest", required=True, help="Manifest to learn from.")
@click.option("--output", required=True, help="Directory of results and cache.")
@click.option("--runner", type=click.Choice(["local"]), default="local")
@_overriding
def run(
    config: str, manifest: str, output: str, runner: str, overrides: tuple[str, ...]
) -> None:
    """Run the pipeline: manifest to pushed model, with DIR/summary.json.

    A model that is not blessed is not pushed; that is a result, not an error: see
    `blessed` in the summary.
    """
    from pipeline.run import run as run_pipeline
    from pipeline.show import show
    from trainer.config import load

    del runner  # the only one so far; the choice itself refuses others
    console = Console()
    summary = run_pipeline(load(config, overrides), manifest, output, console)
    show(summary, console)


@main.command()
@click.option("--model", required=True, help="SavedModel directory.")
@click.option("--data", "manifest", required=True, help="Labelled manifest.")
@click.option("--split", help="Only the rows of this split.")
@click.option("--json", "json_file", help="Also write the report to this file.")
def evaluate(
    model: str, manifest: str, split: str | None, json_file: str | None
) -> None:
    """Judge a model on labelled rows that it has never seen."""
    from pipeline.apply import evaluate as judge
    from pipeline.outputs import appearing, writable_file
    from pipeline.show import show

    if json_file:
        writable_file(json_file)
    console = Console()
    report = judge(model, manifest, split, console)
    show(report, console)
    console.print(f"{report['examples']} examples, {report['quarantined']} quarantined")
    if json_file:
        with appearing(json_file) as file:
            json.dump(report, file, indent=2)


@main.command()
@click.option("--model", help="SavedModel directory.")
@click.option("--target", help="grpc://HOST:PORT/NAME")
@click.option("--data", "manifest", required=True, help="Manifest of rows.")
@click.option("--output", required=True, help="JSON lines file to write.")
@click.option("--split", help="Only the rows of this split.")
@click.option("--config", "config_file", help="Maps columns to the inputs of a target.")
@click.option("--ca-cert", help="PEM file that the target's TLS is checked by.")
@click.option("--token-file", help="File that holds the target's bearer token.")
def predict(
    model: str | None,
    target: str | None,
    manifest: str,
    output: str,
    split: str | None,
    config_file: str | None,
    ca_cert: str | None,
    token_file: str | None,
) -> None:
    """Predict every row, with a model in this process or through a server."""
    from pipeline.apply import predict as run_predict
    from pipeline.apply import read_token
    from trainer.config import load

    config = load(config_file) if config_file else None
    console = Console()
    counts = run_predict(
        manifest,
        output,
        console,
        model=model,
        target=target,
        config=config,
        split=split,
        ca_cert=ca_cert,
        token=read_token(token_file) if token_file else None,
    )
    console.print(f"{counts['rows']} rows, {counts['errors']} unreadable, to {output}")


@main.command()
@click.option(
    "--port",
    "ports",
    multiple=True,
    type=click.IntRange(1, 65535),
    default=(8500, 8501),
)
@click.option("--path", default=".", show_default=True, help="Where runs will write.")
def doctor(ports: tuple[int, ...], path: str) -> None:
    """Check versions, devices, ports and disk; says what to do."""
    from pipeline.doctor import main as run_doctor

    sys.exit(run_doctor(ports, path))


for command in cli_serving.COMMANDS:
    main.add_command(command)


if __name__ == "__main__":
    main()
