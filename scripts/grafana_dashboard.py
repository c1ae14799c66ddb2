"""Writes serving/deploy/grafana/polymodal.json, the dashboard of the model server.

python scripts/grafana_dashboard.py           write it
python scripts/grafana_dashboard.py --check   exit status 1 where it is stale

Grafana 9 and later read it: Dashboards > New > Import. What its panels ask for is the
page of serving/prometheus.py, and the gauges of `polymodal monitor` for drift.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.grafana_panels import REQUESTS, ROWS, Panel  # noqa: E402

TARGET = ROOT / "serving/deploy/grafana/polymodal.json"
_MODEL = 'model_name=~"$model_name"'
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH = 24
_HEIGHT = 8


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana's JSON model."""
    return {
        "uid": "polymodal-serving",
        "title": "Polymodal model server",
        "description": "Traffic, latency, batching, inputs, answers, versions and drift"
        " of a Polymodal model server; the panels of TF Serving's own metrics also read"
        " the stock tensorflow_model_server.",
        "tags": ["polymodal", "tensorflow-serving"],
        "schemaVersion": 38,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": _variables()},
        "panels": list(_panels()),
    }


def _variables() -> list[dict[str, Any]]:
    query = f"label_values({REQUESTS}, model_name)"
    return [
        {
            "name": "datasource",
            "label": "Prometheus",
            "type": "datasource",
            "query": "prometheus",
        },
        {
            "name": "model_name",
            "label": "Model",
            "type": "query",
            "datasource": _DATASOURCE,
            "definition": query,
            "query": {"query": query, "refId": "model_name"},
            "refresh": 2,  # when the time range changes
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        },
    ]


def _panels() -> Iterator[dict[str, Any]]:
    number, y = 1, 0
    for title, panels in ROWS.items():
        position = {"x": 0, "y": y, "w": _WIDTH, "h": 1}
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "gridPos": position,
            "panels": [],
        }
        number, y = number + 1, y + 1
        for line in _lines(panels):
            width = _WIDTH // len(line)
            for place, panel in enumerate(line):
                position = {"x": place * width, "y": y, "w": width, "h": _HEIGHT}
                yield _panel(number, panel, position)
                number += 1
            y += _HEIGHT


def _lines(panels: Sequence[Panel]) -> Iterator[Sequence[Panel]]:
    """Two to a line, or three in the first where one would be left alone."""
    first = 3 if len(panels) % 2 else 2
    yield panels[:first]
    for start in range(first, len(panels), 2):
        yield panels[start : start + 2]


def _panel(number: int, panel: Panel, position: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.line is not None:
        steps.append({"color": "red", "value": panel.line})
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "min": None if panel.unit == "short" and panel.most is None else 0,
        "max": panel.most,
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    options: dict[str, Any] = {"legend": {"displayMode": "list", "placement": "bottom"}}
    if panel.kind == "timeseries":
        style = "off" if panel.line is None else "dashed"
        defaults["custom"] = {"fillOpacity": 8, "thresholdsStyle": {"mode": style}}
    else:
        options = {"textMode": "value_and_name", "reduceOptions": {"calcs": ["last"]}}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.meaning,
        "datasource": _DATASOURCE,
        "gridPos": position,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": _DATASOURCE,
                "expr": query.replace("MODEL", _MODEL).replace(
                    "RATE", "$__rate_interval"
                ),
                "legendFormat": name,
            }
            for place, (name, query) in enumerate(panel.queries.items())
        ],
    }


def main(words: Sequence[str]) -> int:
    """Writes the dashboard, or checks that it is current."""
    text = json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"
    if "--check" in words:
        if TARGET.read_text(encoding="utf-8") != text:
            print(f"{TARGET.name} is stale: python scripts/grafana_dashboard.py")
            return 1
        return 0
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
