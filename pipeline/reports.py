"""Judges what a run made, once; what was judged is kept, as neither part changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.code_version import code_version
from pipeline.comparison import PREFIX, compare, variants
from pipeline.evaluation import main_metric
from pipeline.judging import exported_calibration, judge
from pipeline.report_page import page
from pipeline.runs import Run
from pipeline.stored import rows_of_examples
from pipeline.tensorboard import write_report
from trainer.config import Config


def judged(config: Config, run: Run, output: Path, console: Console) -> dict[str, Any]:
    """The pushed model's report on the eval split, and its curves in TensorBoard."""
    from serving.client import LocalModel

    def make() -> dict[str, Any]:
        console.print("[bold]judging every set of inputs[/]")
        rows = rows_of_examples(config, run.examples, config.data.split.eval)
        calibration = exported_calibration(run.model)
        report = judge(config, LocalModel(run.model), rows, calibration)
        write_report(str(output / "logs" / f"judged-{_key(*parts)}"), report)
        return report

    metrics = [main_metric(config, head) for head in config.heads]
    slices = [" ".join(columns) for columns in config.evaluation.slices]
    parts = (run.model, run.examples, *metrics, *slices)
    return _kept(output / "reports" / f"judged-{_key(*parts)}.json", make)


def compared(
    config: Config, run: Run, output: Path, console: Console
) -> dict[str, Any] | None:
    """The comparison that the config asks for, on the eval split."""
    from serving.client import LocalModel

    ways = _models(config, run)
    if not ways:
        return None

    def make() -> dict[str, Any]:
        console.print(f"[bold]comparing {', '.join(ways)}[/]")
        rows = list(rows_of_examples(config, run.examples, config.data.split.eval))
        models = {name: LocalModel(path) for name, path in ways.items()}
        return compare(config, models, rows)

    metric = main_metric(config, config.heads[0])
    key = _key(run.examples, metric, *(f"{way} {path}" for way, path in ways.items()))
    return _kept(output / "reports" / f"compared-{key}.json", make)


def _models(config: Config, run: Run) -> dict[str, str]:
    """Way of training -> its SavedModel, in the config's order; what is pushed last."""
    last = config.resolved_stages()[-1]
    trained = variants(config)
    out: dict[str, str] = {}
    for name in config.evaluation.compare:
        if name == "pretrained":
            out[name] = run.stages[last.base or ""]
        elif trained[name] == last:
            out[name] = run.model
        else:
            out[name] = run.stages[PREFIX + name]
    if out and run.model not in out.values():
        out["as configured"] = run.model
    return out


def write_page(
    output: Path, summary: Mapping[str, Any], report: Mapping[str, Any]
) -> str:
    """Writes `report.html`; returns its path."""
    path = output / "report.html"
    part = output / "report.html.part"
    part.write_text(page(summary, report), encoding="utf-8")
    part.replace(path)
    return str(path)


def _key(*parts: str) -> str:
    text = "\n".join([*parts, code_version(__name__)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _kept(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    if not path.exists():
        made = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(made, indent=1, ensure_ascii=False), "utf-8")
        part.replace(path)
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded
