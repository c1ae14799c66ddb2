"""The `polymodal` command: a thin front of the functions it calls.

Heavy imports wait until a command needs them: `polymodal --help` is for people.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click
from rich.console import Console


def _explained(function: Callable[..., Any]) -> Callable[..., Any]:
    """Errors that are the user's to mend end with their message and status 2."""

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        from trainer.config import UserError

        try:
            return function(*args, **kwargs)
        except (UserError, FileExistsError) as error:
            Console(stderr=True).print(
                f"error: {error}", style="red", markup=False, soft_wrap=True
            )
            sys.exit(2)

    return wrapper


# TensorFlow's start-up notes (no GPU, CUDA factories) would drown our own lines, and so
# would Google's libraries, which say on each import that Python 3.10 grows old.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
warnings.filterwarnings("ignore", "You are using a non-supported Python version")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="polymodal")
def main() -> None:
    """Multimodal models on TensorFlow: from one YAML file to a served SavedModel."""


@main.command("demo-data")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--examples", default=1200, show_default=True, help="Rows to write.")
@click.option("--seed", default=0, show_default=True, help="Same seed, same bytes.")
@_explained
def demo_data(directory: Path, examples: int, seed: int) -> None:
    """Write the embedded data set: digits drawn, spoken, mentioned and measured."""
    from pipeline.demo import write_data

    path = write_data(directory, examples, seed, Console())
    Console().print(f"wrote {examples} examples to {path}", highlight=False)


@main.command()
@click.option("--output", default="build/demo", show_default=True)
@click.option("--examples", default=1200, show_default=True, help="Rows of demo data.")
@click.option("--seed", default=0, show_default=True)
@_explained
def demo(output: str, examples: int, seed: int) -> None:
    """Run the whole main job on the embedded data: train, judge, push, serve, ask."""
    from pipeline.demo import demo as run_demo

    run_demo(output, examples, seed, Console())


@main.command()
@click.argument("manifest")
@click.option("-o", "--output", required=True, help="YAML file to write.")
@click.option("--force", is_flag=True, help="Overwrite the file.")
@_explained
def init(manifest: str, output: str, force: bool) -> None:
    """Infer inputs, label and head from a manifest; write a config to review."""
    from pipeline.init_config import write

    write(manifest, output, force)
    Console().print(
        f"wrote {output}: review it, then `polymodal check {output} --data {manifest}`",
        soft_wrap=True,
    )


@main.command()
@click.argument("config")
@click.option("--data", "manifest", help="Manifest to check too.")
@_explained
def check(config: str, manifest: str | None) -> None:
    """Validate a config and a manifest; lists every problem, exit status 0 or 2."""
    from pipeline.check import run_check

    sys.exit(run_check(config, manifest))


@main.command()
@click.argument("config")
@click.option("--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE")
@_explained
def render(config: str, overrides: tuple[str, ...]) -> None:
    """Print the config with every default filled in."""
    from trainer.config import load, to_yaml

    click.echo(to_yaml(load(config, overrides)), nl=False)


@main.command()
@click.argument("config")
@click.option("--data", "manifest", required=True, help="Manifest to learn from.")
@click.option("--output", required=True, help="Directory of results and cache.")
@click.option("--runner", type=click.Choice(["local"]), default="local")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY.PATH=VALUE",
    help="Override a key of the config; lists by name or index.",
)
@_explained
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
@_explained
def evaluate(
    model: str, manifest: str, split: str | None, json_file: str | None
) -> None:
    """Judge a model on labelled rows that it has never seen."""
    from pipeline.apply import evaluate as judge
    from pipeline.show import show

    console = Console()
    report = judge(model, manifest, split, console)
    show(report, console)
    console.print(f"{report['examples']} examples, {report['quarantined']} quarantined")
    if json_file:
        Path(json_file).write_text(json.dumps(report, indent=2), encoding="utf-8")


@main.command()
@click.option("--model", help="SavedModel directory.")
@click.option("--target", help="grpc://HOST:PORT/NAME")
@click.option("--data", "manifest", required=True, help="Manifest of rows.")
@click.option("--output", required=True, help="JSON lines file to write.")
@click.option("--config", "config_file", help="Maps columns to the inputs of a target.")
@click.option("--ca-cert", help="PEM file that the target's TLS is checked by.")
@click.option("--token-file", help="File that holds the target's bearer token.")
@_explained
def predict(
    model: str | None,
    target: str | None,
    manifest: str,
    output: str,
    config_file: str | None,
    ca_cert: str | None,
    token_file: str | None,
) -> None:
    """Predict every row, with a model in this process or through a server."""
    from pipeline.apply import predict as run_predict
    from trainer.config import load

    config = load(config_file) if config_file else None
    token = Path(token_file).read_text("utf-8").strip() if token_file else None
    console = Console()
    counts = run_predict(
        manifest,
        output,
        console,
        model=model,
        target=target,
        config=config,
        ca_cert=ca_cert,
        token=token,
    )
    console.print(f"{counts['rows']} rows, {counts['errors']} unreadable, to {output}")


@main.command()
@click.option("--logs", required=True, help="Folder or path prefix of request logs.")
@click.option(
    "--baseline", required=True, help="As in summary.json, or a pushed model."
)
@click.option(
    "--model", help="SavedModel that embeds the inputs, if it lies elsewhere."
)
@click.option("--config", help="YAML whose `monitoring:` and redactions count instead.")
@click.option("--since", help="Only what was logged since: 24h, 7d, 2026-11-30T08:00.")
@click.option("--output", help="JSON file of the report.")
@click.option("--textfile", help="Gauges, for the node exporter's textfile collector.")
@click.option("--metrics_port", type=int, help="Gauges over HTTP; needs --interval.")
@click.option("--interval", type=click.FloatRange(1), help="Seconds between two runs.")
@_explained
def monitor(
    logs: str, baseline: str, model: str | None, config: str | None, since: str | None,
    **outputs: Any,
) -> None:  # fmt: skip
    """Compare logged requests with what the model saw when it was judged.

    Exit status 0: no drift; 3: drift; 2: it could not be told.
    """
    from pipeline.monitor import Monitor, watch
    from trainer.config import load

    given = load(config) if config else None
    watched = Monitor(logs, baseline, model, given, since)
    sys.exit(watch(watched, Console(), **outputs))


@main.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
def serve(flags: tuple[str, ...]) -> None:
    """Start the model server; takes the flags of `python -m serving.server`."""
    from serving.server import main as serve_main

    sys.exit(serve_main(list(flags)))


@main.command()
@click.argument("config")
@click.option(
    "--models",
    required=True,
    metavar="PLACE",
    help="Folder of version folders, gs://, s3:// or pvc://CLAIM/PATH.",
)
@click.option("--output", default="deploy", show_default=True, help="Folder to write.")
@click.option(
    "--target",
    type=click.Choice(["compose", "kubernetes", "kserve", "all"]),
    default="all",
    show_default=True,
)
@click.option("--gpu", is_flag=True, help="The GPU variant of each file.")
@click.option(
    "--server",
    type=click.Choice(["tensorflow", "polymodal"]),
    default="tensorflow",
    show_default=True,
    help="The stock tensorflow/serving, or the server of this package.",
)
@click.option("--force", is_flag=True, help="Overwrite files that were edited.")
@click.option("--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE")
@_explained
def deploy(
    config: str,
    models: str,
    output: str,
    target: str,
    gpu: bool,
    server: Any,
    force: bool,
    overrides: tuple[str, ...],
) -> None:
    """Write compose, Kubernetes and KServe files that serve a pushed model.

    They follow the config's `serving:` section. What to type next is printed, and
    stands in NEXT_STEPS.md.
    """
    from pipeline.deploy.plan import Models, Plan
    from pipeline.deploy.write import TARGETS, write
    from trainer.config import load

    plan = Plan(load(config, overrides), Models(models), server, gpu)
    targets = TARGETS if target == "all" else (target,)
    written = write(plan, targets, Path(output), force)
    click.echo(f"wrote {len(written)} files to {output}\n")
    click.echo((Path(output) / "NEXT_STEPS.md").read_text(encoding="utf-8"), nl=False)


@main.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
def playground(flags: tuple[str, ...]) -> None:
    """Open a web page over a served model; takes the flags of serving.playground."""
    from serving.playground import main as playground_main

    sys.exit(playground_main(list(flags)))


@main.command()
@click.option("--port", "ports", multiple=True, type=int, default=(8500, 8501))
@click.option("--path", default=".", show_default=True, help="Where runs will write.")
def doctor(ports: tuple[int, ...], path: str) -> None:
    """Check versions, devices, ports and disk; says what to do."""
    from pipeline.doctor import main as run_doctor

    sys.exit(run_doctor(ports, path))


if __name__ == "__main__":
    main()
