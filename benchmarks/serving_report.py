"""The figures of benchmarks/serving.py as tables, held against their bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

# Of 32 clients on two cores, the load generator on the same machine.
MIN_THROUGHPUT = 0.85
# One client may take this many times the direct call, and a millisecond.
ONE_CLIENT = 1.15
# The best of the peers that the project was measured against on `tiny`, and plain
# grpcio among them, milliseconds of CPU a call on another machine.
PEER_TINY_MS = 0.81
PEER_PLAIN_TINY_MS = 1.36


def bars(report: dict[str, Any]) -> list[tuple[str, float, str, float]]:
    """(what, its value, `<=` or `>=`, the bar) for every bar of the models measured."""
    found: list[tuple[str, float, str, float]] = []
    if fused := report.get("fused"):
        direct, alone = fused["direct"]["p50_ms"], fused["one_client"]["p50_ms"]
        found += [
            (
                "fused: throughput over limit",
                fused["throughput_over_limit"],
                ">=",
                MIN_THROUGHPUT,
            ),
            (
                "fused: CPU per example over limit",
                fused["cpu_over_limit"],
                "<=",
                1 / MIN_THROUGHPUT,
            ),
            ("fused: one client, p50 ms", alone, "<=", ONE_CLIENT * direct + 1),
        ]
    if tiny := report.get("tiny"):
        cpu = tiny["server"]["cpu_ms"]
        found.append(("tiny: CPU ms a call", cpu, "<=", PEER_TINY_MS))
        if "cpu_over_plain" in tiny:
            found.append(
                (
                    "tiny: CPU a call over plain grpcio's",
                    tiny["cpu_over_plain"],
                    "<=",
                    PEER_TINY_MS / PEER_PLAIN_TINY_MS,
                )
            )
    return found


def _holds(value: float, relation: str, bar: float) -> bool:
    return value >= bar if relation == ">=" else value <= bar


def _model(console: Console, name: str, one: dict[str, Any]) -> None:
    table = Table(title=f"{name}: medians over rounds")
    for column in ("", "examples/s", "CPU ms an example", "p50 ms", "p99 ms"):
        table.add_column(column, justify="left" if column == "" else "right")

    def row(what: str, figures: dict[str, float]) -> None:
        table.add_row(
            what,
            f"{figures['examples_per_s']:,.0f}",
            f"{figures['cpu_ms']:.3f}",
            f"{figures['p50_ms']:.2f}",
            f"{figures['p99_ms']:.2f}",
        )

    limit = one["limit"]
    best = " or ".join(f"{batch}x{threads}" for batch, threads in limit["candidates"])
    row(f"limit: batch x threads {best}", limit)
    row("server, all clients", one["server"])
    if one["plain"]:
        row("plain grpcio, all clients", one["plain"])
    row("direct call, batch 1", one["direct"])
    row("server, one client", one["one_client"])
    console.print(table)
    low, high = one["throughput_over_limit_range"]
    low_cpu, high_cpu = one["cpu_over_limit_range"]
    console.print(
        f"throughput over limit {one['throughput_over_limit']:.3f} "
        f"(rounds {low:.3f} to {high:.3f}); CPU over limit {one['cpu_over_limit']:.3f} "
        f"({low_cpu:.3f} to {high_cpu:.3f}), limit over CPU "
        f"{1 / one['cpu_over_limit']:.3f}"
    )
    for opened in one["open_loop"]:
        if opened["overloaded"]:
            console.print(
                f"open loop at {opened['of_closed_loop']:.1f} of the closed loop: more "
                "than it could take; some calls were refused at once"
            )
            continue
        console.print(
            f"open loop at {opened['of_closed_loop']:.1f} of the closed loop, "
            f"{opened['calls_per_s']:.0f}/s: p50 {opened['p50_ms']:.1f}, p90 "
            f"{opened['p90_ms']:.1f}, p99 {opened['p99_ms']:.1f}, p99.9 "
            f"{opened['p99.9_ms']:.1f} ms"
        )
    server, check = one["server"], one["checked"]
    console.print(
        f"start to first answer {server['start_seconds']:.1f} s; resident "
        f"{server['idle_mb']:.0f} MiB before, {server['loaded_mb']:.0f} MiB after the "
        f"load; {server['threads']} threads; load generator "
        f"{server['client_cpu_ms']:.3f} ms CPU a call; answers by status "
        f"{server['requests_by_status'] or '(no metrics page)'}; checked under load "
        f"{check['checked']}, wrong {check['wrong']}, failed {check['failed'] or 0}"
    )


def show(report: dict[str, Any], names: Sequence[str]) -> int:
    """Prints all of it; 0 where every bar holds, 1 where not, 2 for wrong answers."""
    console = Console(width=100)
    for name in names:
        _model(console, name, report[name])
    table = Table(title="bars")
    for column in ("", "measured", "bar", ""):
        table.add_column(column)
    status = 0
    for what, value, relation, bar in bars(report):
        holds = _holds(value, relation, bar)
        status = status or int(not holds)
        table.add_row(
            what,
            f"{value:.3f}",
            f"{relation} {bar:.3f}",
            "[green]pass[/green]" if holds else "[red]miss[/red]",
        )
    console.print(table)
    for name in names:
        check = report[name]["checked"]
        if check["wrong"] or check["failed"] or not check["checked"]:
            console.print(f"{name}: [red]wrong or failed answers under load[/red]")
            status = 2
    return status
