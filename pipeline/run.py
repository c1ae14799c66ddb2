"""`polymodal run`: the pipeline from a manifest to a pushed model, and its summary."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from pipeline.evaluation import check_thresholds
from pipeline.integrity.findings import Finding, checked
from pipeline.metrics_table import metrics_tables
from pipeline.scan import scan
from trainer.config import Config, ConfigError, to_yaml
from trainer.config_problems import untaught_problems


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
        `seconds` (component -> seconds).

    Raises:
        ManifestError, QuarantineError: see `pipeline.ingest`.
        IntegrityError: what `data.integrity` calls an error was found.
        ConfigError: a threshold that names no metric of its head; a part of an answer
            that no stage teaches.
    """
    console = console or Console()
    started = time.monotonic()
    output = os.path.abspath(output)
    os.makedirs(output, exist_ok=True)
    if "://" not in manifest:
        manifest = os.path.abspath(manifest)
    Path(output, "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    check_thresholds(config)
    if untaught := list(untaught_problems(config)):
        raise ConfigError("config", untaught)
    console.print(f"scanning {manifest}", highlight=False)
    scanned = scan(config, manifest)
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
    from pipeline.runs import latest_run

    pipeline = create_pipeline(config, scanned, manifest, output)
    seconds = run_pipeline(pipeline, console)
    result = latest_run(os.path.join(output, "tfx", "metadata.sqlite"), config.name)
    counts = result.counts()
    report = _judged(config, result.model, result.examples, output, console)
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
        "seconds": {**seconds, "total": round(time.monotonic() - started, 1)},
        "failures": [] if result.blessed else failures(result.evaluation),
        "quarantine": os.path.join(result.examples, "quarantine"),
        "cached": sorted(k for k, v in result.cached.items() if v),
        "exported": result.model,
        "evaluation": result.evaluation,
    }
    part = Path(output, "summary.json.part")
    part.write_text(json.dumps(summary, indent=2, ensure_ascii=False), encoding="utf-8")
    part.replace(Path(output, "summary.json"))
    return summary


def _judged(
    config: Config, model: str, examples: str, output: str, console: Console
) -> dict[str, Any]:
    """Metrics by input subset on the eval split; kept, as neither part changes."""
    from pipeline.judging import judge
    from pipeline.stored import rows_of_examples
    from serving.client import LocalModel

    key = hashlib.sha256(f"{model}\n{examples}".encode()).hexdigest()[:16]
    path = Path(output, "reports", f"{key}.json")
    if not path.exists():
        console.print("[bold]metrics by inputs[/]")
        rows = rows_of_examples(config, examples, config.data.split.eval)
        report = judge(config, LocalModel(model), rows)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(report, indent=1), encoding="utf-8")
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def show_findings(findings: Sequence[Finding], console: Console) -> None:
    """What may spoil the result, loudly; notes stay in the summary."""
    serious = [one for one in findings if one.level != "note"]
    for one in serious:
        console.print(
            f"  [bold red]WARNING[/] {escape(one.text)} (data.integrity.{one.kind})",
            highlight=False,
        )
    notes = len(findings) - len(serious)
    console.print(f"  {len(serious)} warnings, {notes} notes", highlight=False)


def show(summary: dict[str, Any], console: Console) -> None:
    """The summary as tables."""
    for table in metrics_tables(summary["metrics_by_inputs"]):
        console.print(table)
    counts = summary.get("examples")
    if isinstance(counts, dict):
        console.print(
            f"rows: {counts['read']} read, {counts['written']} written,"
            f" {counts['quarantined']} quarantined"
        )
        if counts["quarantined"]:
            console.print(
                f"what was set aside and why: {summary['quarantine']}", soft_wrap=True
            )
    if "blessed" in summary:
        verdict = "[green]blessed[/]" if summary["blessed"] else "[red]not blessed[/]"
        console.print(
            f"{verdict}; pushed to {summary['model'] or 'nowhere'}", soft_wrap=True
        )
        for line in summary["failures"]:
            console.print(f"  {line}", soft_wrap=True)
