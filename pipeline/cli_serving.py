"""The commands around a pushed model: monitor, serve, deploy, playground."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console


@click.command()
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
@click.option(
    "--metrics_port",
    type=click.IntRange(0, 65535),
    help="Gauges over HTTP; needs --interval. 0 = a free port.",
)
@click.option(
    "--metrics_host",
    default="127.0.0.1",
    show_default=True,
    help="Address of the gauges; 0.0.0.0 lets other machines ask.",
)
@click.option("--interval", type=click.FloatRange(1), help="Seconds between two runs.")
def monitor(
    logs: str, baseline: str, model: str | None, config: str | None, since: str | None,
    **outputs: Any,
) -> None:  # fmt: skip
    """Compare logged requests with what the model saw when it was judged.

    Exit status 0: no drift; 3: drift; 4: it could not be told, with too few rows for
    any check; 2: nothing to compare (no logs, no baseline, no row that its version
    answered), or an option that is wrong.
    """
    from pipeline.monitor import Monitor, watch
    from trainer.config import load

    given = load(config) if config else None
    watched = Monitor(logs, baseline, model, given, since)
    sys.exit(watch(watched, Console(), **outputs))


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
def serve(flags: tuple[str, ...]) -> None:
    """Start the model server; takes the flags of `python -m serving.server`."""
    from serving.server import main as serve_main

    sys.exit(serve_main(list(flags)))


@click.command()
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


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
def playground(flags: tuple[str, ...]) -> None:
    """Open a web page over a served model; takes the flags of serving.playground."""
    from serving.playground import main as playground_main

    sys.exit(playground_main(list(flags)))


COMMANDS = (monitor, serve, deploy, playground)
