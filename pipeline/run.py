"""`polymodal run`: the pipeline from a manifest to a pushed model, and its summary."""

from __future__ import annotations

import dataclasses
import json
import os
import time
import uuid
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.check import check_config
from pipeline.check_heads import abstention_problems
from pipeline.integrity.findings import checked, ingested
from pipeline.outputs import appearing, held, writable_folder
from pipeline.scan import scan
from pipeline.show import show_findings
from trainer.config import Config, ConfigError, to_yaml


def run(
    config: Config, manifest: str, output: str, console: Console | None = None
) -> dict[str, Any]:
    """Runs the pipeline and writes `output/summary.json`.

    Args:
        config: the model's config.
        manifest: path or URL of the manifest.
        output: directory for everything; made if absent, and what lies there of
            earlier runs is the cache.

    Returns:
        The summary: `blessed`, `model` (directory of the pushed version or None),
        `baseline` (what `polymodal monitor` compares with, or None),
        `integrity` (what was found in the data before anything was trained),
        `examples` (read, written, quarantined), `metrics`, `metrics_by_inputs`,
        `metrics_by_slices`, `per_class`, `against_constant`, `value` and `calibration`
        (see `pipeline.judging.judge`), `comparison` (see
        `pipeline.comparison.compare`, or None), `report` (the page with all of it),
        `seconds` (component -> seconds).

    Raises:
        ManifestError, QuarantineError: see `pipeline.ingest`.
        IntegrityError: what `data.integrity` calls an error was found.
        ConfigError: a threshold that names no metric of its head; a part of an answer
            that no stage teaches.
        OutputError: `output` cannot be written to, or a run is under way there.
    """
    folder = writable_folder(output)
    with held(folder):
        return _run(config, manifest, folder, console or Console())


def _run(
    config: Config, manifest: str, output: str, console: Console
) -> dict[str, Any]:
    started = time.monotonic()
    if "://" not in manifest:
        manifest = os.path.abspath(manifest)
    Path(output, "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    if wrong := check_config(config).problems:
        raise ConfigError("config", wrong)
    console.print(f"scanning {manifest}", highlight=False)
    scanned = scan(config, manifest)
    if problems := list(abstention_problems(config, scanned.splits)):
        raise ConfigError("config", problems)
    console.print("[bold]data integrity[/]", highlight=False)
    findings = checked(config, manifest, scanned, Path(output, "reports"))
    show_findings(findings, console)
    console.print("starting TFX", highlight=False)
    # The ops of saved transform graphs, which any component may load.
    import tensorflow_text  # noqa: F401

    from pipeline.baseline import keep_baseline
    from pipeline.failures import failures
    from pipeline.local_runner import run_pipeline
    from pipeline.pipeline import create_pipeline
    from pipeline.reports import compared, judged, write_page
    from pipeline.runs import latest_run

    pipeline = create_pipeline(config, scanned, manifest, output)
    seconds = run_pipeline(pipeline, console)
    metadata = os.path.join(output, "tfx", "metadata.sqlite")
    result = latest_run(metadata, config.name)
    if result.pushed is not None and not result.newest:
        console.print(
            "[bold]Pusher[/] again: another model was pushed since, or this one removed"
        )
        # All but Pusher comes out of the cache, and has been told of already.
        again = create_pipeline(config, scanned, manifest, output, uuid.uuid4().hex)
        repeated = run_pipeline(again, Console(quiet=True))
        seconds["Pusher"] = repeated["Pusher"]
        cached = {**result.cached, "Pusher": False}
        result = dataclasses.replace(latest_run(metadata, config.name), cached=cached)
    findings += ingested(config, scanned, result.examples)
    counts = result.counts()
    report = judged(config, result, Path(output), console)
    against = report["against_constant"]
    comparison = compared(config, result, Path(output), console)
    baseline = None
    if result.pushed:
        console.print("[bold]baseline of the drift monitor[/]")
        baseline = keep_baseline(config, result.pushed, result.examples)
    summary = {
        "name": config.name,
        "blessed": result.blessed,
        "model": result.pushed,
        "baseline": baseline,
        "integrity": [dataclasses.asdict(one) for one in findings],
        "examples": {k: counts[k] for k in ("read", "written", "quarantined")},
        "metrics": report["metrics"],
        "metrics_by_inputs": report["metrics_by_inputs"],
        "metrics_by_slices": report["metrics_by_slices"],
        "against_constant": against,
        "per_class": report["per_class"],
        "value": report["value"],
        "calibration": report["calibration"],
        "comparison": comparison,
        "report": os.path.join(output, "report.html"),
        "seconds": {**seconds, "total": round(time.monotonic() - started, 1)},
        "failures": [] if result.blessed else failures(result.evaluation, against),
        "quarantine": os.path.join(result.examples, "quarantine"),
        "cached": sorted(k for k, v in result.cached.items() if v),
        "exported": result.model,
        "evaluation": result.evaluation,
    }
    write_page(Path(output), summary, report)
    with appearing(Path(output, "summary.json")) as file:
        json.dump(summary, file, indent=2, ensure_ascii=False)
    return summary
