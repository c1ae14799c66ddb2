"""What serving costs beside the model alone, measured in one run.

    python benchmarks/serving.py [--clients N] [--seconds S] [--json FILE]

Two models: `fused`, the project's own of image, text and audio with random weights, and
`tiny`, y = x / 2 + 2. For each: the in-process limit (the same signature called directly
in its best batch size and number of threads, in a process that does only that), the
server under a closed loop of N clients, one client against the direct call, open loops
of Poisson arrivals, and clients that check every answer while the load runs. Limit and
server take turns for `--rounds` rounds; ratios are medians over rounds. `plain` is
benchmarks/plain_server.py, for the scale. See docs/performance.md for how to read it.

Exits with 1 where a bar is missed, 2 where an answer was wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import serving_report  # noqa: E402
from benchmarks.server_process import ServerProcess, free_port  # noqa: E402
from benchmarks.serving_limit import Limit  # noqa: E402
from benchmarks.serving_load import has_h2load  # noqa: E402
from benchmarks.serving_measure import (  # noqa: E402
    Measured,
    Target,
    candidates,
    checked,
    median,
    open_loops,
    ratios,
    rounds,
    sweep,
)
from benchmarks.serving_models import ROOT, BenchmarkModel, models  # noqa: E402
from benchmarks.serving_requests import RowAnswers, messages, tf  # noqa: E402

CORES = os.cpu_count() or 1


def server_flags(
    model: BenchmarkModel, intra_op: int, inter_op: int, folder: Path
) -> list[str]:
    """How the server is started: batches up to 32, a runner for each core."""
    batching = folder / "batching.txt"
    batching.write_text(
        f"max_batch_size {{ value: 32 }}\nnum_batch_threads {{ value: {CORES} }}\n"
        "max_enqueued_batches { value: 1000 }\n"
    )
    monitoring = folder / "monitoring.txt"
    monitoring.write_text("prometheus_config { enable: true }\n")
    return [
        f"--model_name={model.name}",
        f"--model_base_path={model.base_path}",
        f"--rest_api_port={free_port()}",
        "--enable_batching=true",
        f"--batching_parameters_file={batching}",
        f"--monitoring_config_file={monitoring}",
        f"--tensorflow_intra_op_parallelism={intra_op}",
        f"--tensorflow_inter_op_parallelism={inter_op}",
    ]


def measure(
    model: BenchmarkModel, arguments: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    """Everything about one model."""
    seconds, clients = arguments.seconds, arguments.clients
    requests = messages(model.name, model.signature, model.rows_path)
    threads = arguments.intra_op, arguments.inter_op
    flags = server_flags(model, *threads, folder) + arguments.flags
    with contextlib.ExitStack() as running:
        limit = running.enter_context(
            Limit(model.version_path, model.signature, model.rows_path, *threads)
        )
        answers = RowAnswers(limit.expected())
        swept = sweep(limit, sorted({1, CORES}), max(0.3, seconds / 8))
        server, target, usage = _started(running, requests, *flags)
        plain = None
        if arguments.plain:
            path = str(model.version_path)
            module = "benchmarks.plain_server"
            _, plain, plain_usage = _started(running, requests, path, module=module)
        found = rounds(
            limit, candidates(swept), target, plain,
            clients, arguments.rounds, seconds, _say,
        )  # fmt: skip
        rate = median(found.loaded, _throughput)
        return {
            **_summary(found),
            "limit": {
                **_medians(found.limit),
                "candidates": candidates(swept),
                "sweep": [
                    {"batch": batch, "threads": threads, **vars(phase)}
                    for batch, threads, phase in swept
                ],
            },
            "direct": _medians(found.direct),
            "one_client": _medians(found.alone),
            "open_loop": open_loops(target, rate, seconds),
            "checked": checked(target, answers, clients, int(rate * seconds / 2)),
            "server": {
                **_medians(found.loaded),
                **usage,
                "loaded_mb": server.resident_mb(),
                "threads": server.threads(),
                "requests_by_status": _by_status(server.metrics()),
                "flags": flags,
            },
            "plain": {**_medians(found.plain), **plain_usage} if plain else None,
            "rounds": {
                key: [vars(one) for one in phases]
                for key, phases in vars(found).items()
            },
        }


def _started(
    running: contextlib.ExitStack,
    requests: list[bytes],
    *words: str,
    module: str = "serving.server",
) -> tuple[ServerProcess, Target, dict[str, float]]:
    """A server, its first answer waited for, and what that took."""
    began = time.perf_counter()
    server = running.enter_context(ServerProcess(*words, module=module))
    target = Target(server, requests)
    seconds = time.perf_counter() - began
    return server, target, {"start_seconds": seconds, "idle_mb": server.resident_mb()}


def _throughput(phase: Any) -> float:
    return float(phase.examples_per_s)


def _cpu(phase: Any) -> float:
    return float(phase.cpu_ms)


def _medians(phases: Sequence[Any]) -> dict[str, float]:
    rows = [vars(phase) for phase in phases]
    return {
        key: statistics.median(row[key] for row in rows)
        for key, value in rows[0].items()
        if not isinstance(value, str)
    }


def _summary(found: Measured) -> dict[str, Any]:
    throughput = ratios(found.loaded, found.limit, _throughput)
    cpu = ratios(found.loaded, found.limit, _cpu)
    summary = {
        "throughput_over_limit": statistics.median(throughput),
        "cpu_over_limit": statistics.median(cpu),
        "p50_ms": median(found.loaded, lambda one: one.p50_ms),
        "p99_ms": median(found.loaded, lambda one: one.p99_ms),
        "throughput_over_limit_range": [min(throughput), max(throughput)],
        "cpu_over_limit_range": [min(cpu), max(cpu)],
    }
    if found.plain:
        over_plain = statistics.median(ratios(found.loaded, found.plain, _cpu))
        summary["cpu_over_plain"] = over_plain
    return summary


def _by_status(samples: dict[str, float]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in samples.items():
        if name.startswith(":tensorflow:serving:request_count{"):
            status = name.partition('status="')[2].partition('"')[0]
            found[status] = found.get(status, 0) + value
    return found


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    cpu = Path("/proc/cpuinfo").read_text()
    name = next((x for x in cpu.splitlines() if x.startswith("model name")), "")
    return {
        "cpu": name.partition(":")[2].strip(),
        "cores": CORES,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "load_average_before": os.getloadavg()[0],
        "load_generator": "h2load" if has_h2load() else "python (h2load is missing)",
    }


def main(words: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each phase")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--models", nargs="+", default=["fused", "tiny"])
    parser.add_argument("--intra-op", type=int, default=1, help="0: TF's default")
    parser.add_argument("--inter-op", type=int, default=1, help="0: TF's default")
    parser.add_argument("--no-plain", dest="plain", action="store_false")
    parser.add_argument("flags", nargs="*", help="more flags for the server, after --")
    arguments = parser.parse_args(words)
    report: dict[str, Any] = {}
    about = machine()
    if not has_h2load():
        _say("h2load is missing (Debian: nghttp2-client): Python clients load instead,")
        _say("which take their share of the cores: throughput is too low.")
    built = models(ROOT / "build" / "serving_benchmark")
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.models:
            _say(f"== {name}")
            report[name] = measure(built[name], arguments, Path(folder))
    about["load_average_after"] = os.getloadavg()[0]
    settings = {k: v for k, v in vars(arguments).items() if k != "json"}
    report.update(machine=about, settings=settings)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    return serving_report.show(report, arguments.models)


if __name__ == "__main__":
    sys.exit(main())
