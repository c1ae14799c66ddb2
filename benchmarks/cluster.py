"""Several servers behind client-side load balancing: scaling, a crash, a rolling update.

    python benchmarks/cluster.py [--servers N] [--clients C] [--seconds S] [--json FILE]

No proxy: one gRPC channel to `ipv4:127.0.0.1:P1,127.0.0.1:P2,...` with the policy
`round_robin` and retries by service config, as a client of a headless Kubernetes
service has it. First the throughput of 1..N servers; then, under load, one server is
killed (SIGKILL) and started again, and every server is rolled to a new version of the
model one after the other (SIGTERM, new process). No call may fail after the retries.
Exits with 1 where one does.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np  # noqa: E402

from benchmarks.cluster_servers import Clients, Cluster, Phase, channel  # noqa: E402
from benchmarks.server_process import ServerProcess  # noqa: E402
from benchmarks.serving_load import PREDICT  # noqa: E402
from benchmarks.serving_models import ROOT, models  # noqa: E402
from benchmarks.serving_requests import messages  # noqa: E402
from benchmarks.soak import save_half  # noqa: E402
from benchmarks.soak_traffic import offset  # noqa: E402


def disturb(count: int, clients: int, calls: int) -> dict[str, Any]:
    """A crash and a rolling update under load; phase -> what clients saw of it.

    Args:
        count: servers.
        clients: threads that ask.
        calls: how many answers are waited for between the steps.
    """
    with tempfile.TemporaryDirectory() as folder:
        for version in (1, 2):
            base = Path(folder, str(version))
            base.mkdir()
            save_half(base / str(version), offset(version))
        cluster = Cluster(Path(folder), count)
        phases: dict[str, Phase] = {}
        try:
            with Clients(cluster.addresses, clients) as load:
                load.wait_for(calls)
                phases["quiet"] = load.seen()
                cluster.kill(0)
                load.wait_for(calls)
                phases["one killed"] = load.seen()
                cluster.restart(0, 1)
                load.wait_for(calls)
                phases["back again"] = load.seen()
                for number in range(count):
                    cluster.restart(number, 2)
                    load.wait_for(calls // count)
                phases["rolled to version 2"] = load.seen()
                load.wait_for(calls)
                phases["quiet afterwards"] = load.seen()
        finally:
            cluster.close()
    return {name: asdict(phase) for name, phase in phases.items()}


def scaling(most: int, clients: int, seconds: float) -> list[dict[str, float]]:
    """Throughput of 1..`most` servers of the fused model under one balanced load."""
    model = models(ROOT / "build" / "serving_benchmark")["fused"]
    rows = messages(model.name, model.signature, model.rows_path)
    found = []
    for count in range(1, most + 1):
        servers = [
            ServerProcess(
                f"--model_name={model.name}",
                f"--model_base_path={model.base_path}",
                "--enable_batching",
                "--enable_grpc_healthcheck_service",
                "--tensorflow_intra_op_parallelism=1",
                "--tensorflow_inter_op_parallelism=1",
            )
            for _ in range(count)
        ]
        try:
            found.append(_throughput(servers, rows, clients, seconds))
        finally:
            for server in servers:
                server.close()
    return found


def _throughput(
    servers: list[ServerProcess], rows: list[bytes], clients: int, seconds: float
) -> dict[str, float]:
    took: list[float] = []
    stop = threading.Event()

    def work(call: Any, number: int) -> None:
        row = number
        while not stop.is_set():
            row = (row + 1) % len(rows)
            began = time.perf_counter()
            call(rows[row], timeout=60)
            took.append(time.perf_counter() - began)

    with channel([server.address for server in servers]) as opened:
        call = opened.unary_unary(PREDICT)
        for row in rows[: 2 * len(servers)]:
            call(row)
        threads = [
            threading.Thread(target=work, args=(call, number))
            for number in range(clients)
        ]
        for thread in threads:
            thread.start()
        time.sleep(min(1.0, seconds / 4))
        first, cpu = len(took), [server.cpu_seconds() for server in servers]
        began, client_cpu = time.perf_counter(), time.process_time()
        time.sleep(seconds)
        wall, last = time.perf_counter() - began, len(took)
        client_cpu = time.process_time() - client_cpu
        used = [
            server.cpu_seconds() - before
            for server, before in zip(servers, cpu, strict=True)
        ]
        stop.set()
        for thread in threads:
            thread.join()
    window = np.array(took[first:last])
    return {
        "servers": len(servers),
        "examples_per_s": (last - first) / wall,
        "p50_ms": float(np.percentile(window, 50)) * 1000,
        "p99_ms": float(np.percentile(window, 99)) * 1000,
        "server_cores": sum(used) / wall,
        "busiest_over_idlest": max(used) / max(min(used), 0.01),
        "client_cores": client_cpu / wall,
        "resident_mb": sum(server.resident_mb() for server in servers),
    }


def main(words: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--servers", type=int, default=3)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args(words)
    cores = os.cpu_count()
    print(f"{cores} cores, shared by servers and clients: no curve rises beyond them")
    curve = scaling(arguments.servers, arguments.clients, arguments.seconds)
    for one in curve:
        print(
            f"{one['servers']:.0f} servers: {one['examples_per_s']:.0f} examples/s, p50 "
            f"{one['p50_ms']:.0f}, p99 {one['p99_ms']:.0f} ms; servers use "
            f"{one['server_cores']:.2f} cores (busiest/idlest "
            f"{one['busiest_over_idlest']:.2f}), clients {one['client_cores']:.2f}; "
            f"{one['resident_mb']:.0f} MiB"
        )
    phases = disturb(arguments.servers, 8, 2000)
    for name, phase in phases.items():
        print(
            f"{name}: {phase['calls']} answers by version {phase['by_version']}, "
            f"{len(phase['failed'])} failed, {len(phase['wrong'])} wrong, slowest "
            f"{phase['slowest_ms']:.0f} ms"
        )
        for problem in (phase["failed"] + phase["wrong"])[:3]:
            print(f"  {problem}")
    bad = sum(len(one["failed"]) + len(one["wrong"]) for one in phases.values())
    print("no call failed after its retries" if not bad else f"{bad} calls FAILED")
    if arguments.json:
        report = {"cores": cores, "scaling": curve, "disturbed": phases}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
