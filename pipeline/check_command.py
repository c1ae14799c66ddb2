"""The `check` command: what it prints, writes and returns."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from pipeline.check import Report, check, check_config
from pipeline.check_heads import head_facts
from pipeline.manifest import Manifest, ManifestError
from pipeline.outputs import appearing, writable_file
from trainer.config import Config, ConfigError, load

STANDARD_OUTPUT = "-"


def run_check(
    config_path: str,
    manifest: str | None = None,
    overrides: Sequence[str] = (),
    json_file: str | None = None,
) -> int:
    """Prints a report; 0 = good to train, 2 = problems.

    Args:
      config_path: The YAML file.
      manifest: Path or URL; None looks at the config alone.
      overrides: `key.path=value` over the file's keys, as `run` takes them.
      json_file: Also write the report here; `-` = on the standard output, instead of
        the text.
    """
    from rich.console import Console

    from pipeline.check_table import render

    if json_file is not None and json_file != STANDARD_OUTPUT:
        writable_file(json_file)
    config: Config | None = None
    try:
        config = load(config_path, overrides)
    except ConfigError as error:
        report = Report(problems=_problems(error, manifest))
    else:
        report = (
            check_config(config)
            if manifest is None
            else check(config, manifest, progress=True)
        )
    # What goes to a file of somebody else's must not be mixed with text for people.
    if json_file == STANDARD_OUTPUT:
        sys.stdout.write(as_json(report, config, config_path, manifest) + "\n")
        return report.exit_code
    render(report, Console())
    if config is not None and manifest is None and not report.problems:
        Console().print(
            f"{config_path}: good. Inputs: {', '.join(i.name for i in config.inputs)}."
            f" Heads: {', '.join(h.name for h in config.heads)}. No manifest was looked"
            " at: give it as --data.",
            markup=False,
            highlight=False,
        )
    if json_file is not None:
        text = as_json(report, config, config_path, manifest) + "\n"
        with appearing(json_file) as file:
            file.write(text)
    return report.exit_code


def _problems(error: ConfigError, manifest: str | None) -> list[str]:
    found = [f"{error.source}: {problem}" for problem in error.problems]
    if manifest is not None:
        # The manifest can be wrong as well: better told now than on the next try.
        try:
            Manifest(manifest)
        except ManifestError as other:
            found.append(str(other))
    return found


def as_json(
    report: Report, config: Config | None, config_path: str, manifest: str | None
) -> str:
    """The report as data: the same facts that are printed, none of them cut."""
    counts = report.counts
    found: dict[str, Any] = {
        "config": config_path,
        "manifest": manifest,
        "verdict": report.verdict,
        "good": not report.problems,
        "problems": report.problems,
        "warnings": [_said(report, text) for text in report.warnings],
        "notes": [_said(report, text) for text in report.notes],
        "rows": {
            "read": counts.read,
            "usable": counts.written,
            "quarantined": counts.quarantined,
            "splits": counts.splits,
            "reasons": dict(counts.main_reasons()),
        },
        "inputs": {
            key: {
                "kind": facts.feature.kind,
                "column": facts.feature.column,
                "present": report.present[key],
                "missing": counts.written - report.present[key],
                "values": facts.lines(),
            }
            for key, facts in report.facts.items()
        },
        "heads": head_facts(report, config) if config is not None else {},
    }
    return json.dumps(found, ensure_ascii=False, indent=2)


def _said(report: Report, text: str) -> dict[str, str | None]:
    return {"kind": report.kinds.get(text), "text": text}
