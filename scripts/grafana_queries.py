"""PromQL of the dashboard's panels.

`MODEL` stands for the chosen models, `RATE` for the step of the graph.
"""

from __future__ import annotations


def rate_sum(by: str, metric: str, labels: str = "") -> str:
    """Events a second, of all servers together."""
    chosen = ", ".join(filter(None, ("MODEL", labels)))
    return f"sum by ({by}) (rate({metric}{{{chosen}}}[RATE]))"


def share(by: str, metric: str, labels: str) -> str:
    """Of all events those with the labels: 0, not nothing, where there were none."""
    whole = rate_sum(by, metric)
    return f"({rate_sum(by, metric, labels)} or {whole} * 0) / {whole}"


def mean(by: str, histogram: str) -> str:
    """What a histogram observed on average."""
    return f"{rate_sum(by, f'{histogram}_sum')} / {rate_sum(by, f'{histogram}_count')}"


def quantiles(by: str, histogram: str, *quantiles: float) -> dict[str, str]:
    """Name of the line -> query, for each quantile."""
    labels = " ".join(f"{{{{{label}}}}}" for label in by.split(", "))
    buckets = rate_sum(f"{by}, le", f"{histogram}_bucket")
    return {
        f"{labels} p{one * 100:g}": f"histogram_quantile({one}, {buckets})"
        for one in quantiles
    }
