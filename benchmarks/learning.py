"""What pre-training, unlabelled rows and matching buy: docs/results.md's tables.

    python -m benchmarks.learning SHOW [SHOW ...] --data ../shared/data --output build/learning

SHOW: few_labels, retrieval, all_labels, chinese. Every variant goes through the whole
pipeline, one after the other, and is judged on `val`. What is done stands in
OUTPUT/SHOW/results.json and is not done again; so a run can be stopped and taken up.
`--dev` judges on rows cut off `train` in place of `val`: to choose settings by. `--only`
takes the variants whose name holds a text. `--table` writes the tables of what there is.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from rich.console import Console  # noqa: E402

from benchmarks.learning_shows import SHOWS, Show  # noqa: E402
from trainer.config import Config, to_json  # noqa: E402

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results.md"
Done = dict[str, dict[str, Any]]


def fingerprint(config: Config, manifest: str) -> str:
    """Names a measurement: the same config on the same rows."""
    digest = hashlib.sha256(to_json(config).encode())
    digest.update(Path(manifest).read_bytes())
    return digest.hexdigest()[:16]


def load_done(path: Path) -> Done:
    """What was measured: `VARIANT seed N` -> fingerprint, metrics and seconds."""
    if not path.exists():
        return {}
    done: Done = json.loads(path.read_text(encoding="utf-8"))
    return done


def measure(
    show: Show, manifest: str, folder: Path, seeds: Sequence[int], only: str,
    console: Console,
) -> None:  # fmt: skip
    """Runs what is not done yet, and keeps it as soon as it is."""
    from pipeline.run import run

    path = folder / "results.json"
    for seed in seeds:
        for name, config in show.variants(seed).items():
            key, print_ = f"{name}, seed {seed}", fingerprint(config, manifest)
            done = load_done(path)
            if only not in name or done.get(key, {}).get("fingerprint") == print_:
                continue
            console.rule(f"{show.title}: {key}")
            started = time.monotonic()
            # One folder a seed: its variants share ingestion, and stages that are equal.
            summary = run(config, manifest, str(folder / f"seed{seed}"), console)
            done[key] = {
                "fingerprint": print_,
                "metrics": summary["metrics"],
                "metrics_by_inputs": summary["metrics_by_inputs"],
                "seconds": round(time.monotonic() - started, 1),
            }
            part = path.with_suffix(".part")
            part.write_text(json.dumps(done, indent=1), encoding="utf-8")
            part.replace(path)


def figure(found: Mapping[str, Any], where: str) -> float | None:
    """A metric of all inputs, or `inputs:metric` of some."""
    inputs, _, metric = where.rpartition(":")
    metrics = found["metrics_by_inputs"].get(inputs, {}) if inputs else found["metrics"]
    value = metrics.get(metric)
    return None if value is None else float(value)


def mean_and_deviation(values: Sequence[float]) -> str:
    """`0.885 ± 0.003`: the mean and the sample standard deviation; "" of nothing."""
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"


def table(show: Show, done: Done, seeds: Sequence[int]) -> list[str]:
    """Markdown lines: a row a variant, its seeds, mean ± sd, and the gain by seed."""
    names = list(show.variants(seeds[0]))
    main, where = next(iter(show.metrics.items()))
    found = {
        name: {s: done[key] for s in seeds if (key := f"{name}, seed {s}") in done}
        for name in names
    }
    head = ["variant", *show.metrics, f"{main} of each seed", "gain", "minutes"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for name, by_seed in found.items():
        if not by_seed:
            continue
        cells = [name]
        for at in show.metrics.values():
            values = [figure(one, at) for one in by_seed.values()]
            cells.append(mean_and_deviation([v for v in values if v is not None]))
        own = {seed: figure(one, where) or 0.0 for seed, one in by_seed.items()}
        cells.append(" ".join(f"{value:.3f}" for value in own.values()))
        gains = [
            value - (figure(found[names[0]][seed], where) or 0.0)
            for seed, value in own.items()
            if seed in found[names[0]] and name != names[0]
        ]
        cells.append(mean_and_deviation(gains))
        minutes = statistics.mean(one["seconds"] for one in by_seed.values()) / 60
        lines.append(f"| {' | '.join(cells)} | {minutes:.1f} |")
    return lines


def section(name: str, show: Show, done: Done, seeds: Sequence[int]) -> str:
    """The show's part of the page, between its marks."""
    command = f"python -m benchmarks.learning {name} --data ../shared/data --output build/learning"
    lines = [
        f"<!-- {name} -->", f"## {show.title}", "", show.says, "",
        f"`{command}`; seeds {', '.join(map(str, seeds))}, mean ± standard deviation.",
        f"`gain`: {next(iter(show.metrics))} less the first line's, seed by seed.", "",
        *table(show, done, seeds), f"<!-- end of {name} -->",
    ]  # fmt: skip
    return "\n".join(lines)


def put(text: str, name: str, part: str) -> str:
    """The page with the part in the place of the one of that name, or at its end."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    if begin in text and end in text:
        before, _, rest = text.partition(begin)
        return before + part + rest.partition(end)[2]
    return f"{text.rstrip()}\n\n{part}\n"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shows", nargs="+", choices=sorted(SHOWS), metavar="SHOW")
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", default="", help="variants whose name holds this")
    parser.add_argument("--dev", action="store_true", help="judge on rows of train")
    parser.add_argument("--table", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    console = Console()
    for name in arguments.shows:
        show = SHOWS[name]
        folder = arguments.output / (f"{name}_dev" if arguments.dev else name)
        folder.mkdir(parents=True, exist_ok=True)
        if not arguments.table:
            manifest = show.manifest(
                arguments.data,
                arguments.output / "data",
                arguments.seeds,
                arguments.dev,
            )
            measure(show, manifest, folder, arguments.seeds, arguments.only, console)
        done = load_done(folder / "results.json")
        console.print("\n".join(table(show, done, arguments.seeds)), soft_wrap=True)
        if not arguments.dev:
            page = (
                RESULTS.read_text(encoding="utf-8")
                if RESULTS.exists()
                else "# Results\n"
            )
            part = section(name, show, done, arguments.seeds)
            RESULTS.write_text(put(page, name, part), encoding="utf-8")


if __name__ == "__main__":
    main()
