"""Metrics by inputs as tables that fit into a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_MAX_COLUMNS = 4
"""Metrics side by side: with the inputs' names before them, 80 characters hold no more."""


def metrics_tables(by_inputs: Mapping[str, Mapping[str, Any]]) -> Iterator[Any]:
    """One rich table for each head, or several where a head has many metrics.

    Args:
        by_inputs: names of inputs -> `examples` and metrics, as `evaluation.judge`
            gives them. Inputs that a head cannot be judged on are left out.
    """
    from rich.table import Table

    heads: dict[str, list[str]] = {}
    for name in dict.fromkeys(n for one in by_inputs.values() for n in one):
        if name != "examples":
            heads.setdefault(name.rpartition("/")[0], []).append(name)
    for head, names in heads.items():
        for start in range(0, len(names), _MAX_COLUMNS):
            shown = names[start : start + _MAX_COLUMNS]
            title = "metrics by inputs (eval split)"
            table = Table(title=f"{head}: {title}" if head else title)
            table.add_column("inputs", overflow="fold")
            table.add_column("examples", justify="right")
            for name in shown:
                table.add_column(
                    name.rpartition("/")[2], justify="right", overflow="fold"
                )
            for subset, metrics in by_inputs.items():
                if any(name in metrics for name in shown):
                    values = [_shown(metrics.get(name)) for name in shown]
                    table.add_row(subset, str(metrics["examples"]), *values)
            yield table


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
