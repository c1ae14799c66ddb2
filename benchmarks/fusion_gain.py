"""What fusion gains: a config's model against each of its inputs trained alone.

    python benchmarks/fusion_gain.py CONFIG --data MANIFEST --output DIR [--seeds 0 1 2]

Every model goes through the whole pipeline and is judged on the config's eval split.
Prints and writes (DIR/fusion_gain.json) the metric of each seed, mean and standard
deviation: the fused model on all inputs and on each one alone, and the models that were
trained on one input.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# In place of this folder, where serving.py hides the package of that name.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from pipeline.run import run  # noqa: E402
from trainer.config import Config, load  # noqa: E402


def variants(config: Config) -> dict[str, Config]:
    """The fused model, and one model for each input on its own."""
    out = {"fused": config}
    for one in config.inputs:
        training = dataclasses.replace(config.training, modality_dropout=0.0)
        out[one.name] = dataclasses.replace(
            config, name=f"{config.name}_{one.name}", inputs=(one,), training=training
        )
    return out


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config")
    parser.add_argument("--data", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--metric", default="accuracy")
    arguments = parser.parse_args()
    console = Console()
    config = load(arguments.config)
    found: dict[str, list[float]] = {}
    seconds: dict[str, list[float]] = {}
    for seed in arguments.seeds:
        for name, variant in variants(config).items():
            console.rule(f"{name}, seed {seed}")
            variant = dataclasses.replace(variant, seed=seed)
            directory = str(Path(arguments.output, name))
            summary = run(variant, arguments.data, directory, console)
            seconds.setdefault(name, []).append(summary["seconds"]["Trainer"])
            for subset, metrics in summary["metrics_by_inputs"].items():
                shown = "all inputs" if len(subset.split("+")) > 1 else subset
                kind = "fused model" if name == "fused" else "trained alone"
                key = f"{kind}: {shown}"
                found.setdefault(key, []).append(metrics[arguments.metric])
    table = Table(title=f"{config.name}: {arguments.metric} on the eval split")
    for column in ("model: inputs shown", "seeds", "mean", "sd"):
        table.add_column(column)
    report = {}
    for key, values in found.items():
        mean = statistics.mean(values)
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        report[key] = {"values": values, "mean": mean, "sd": spread}
        each = " ".join(f"{value:.4f}" for value in values)
        table.add_row(key, each, f"{mean:.4f}", f"{spread:.4f}")
    console.print(table)
    for name, spent in seconds.items():
        console.print(f"{name}: Trainer {' '.join(f'{s:.0f} s' for s in spent)}")
    path = Path(arguments.output, "fusion_gain.json")
    path.write_text(json.dumps(report, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
