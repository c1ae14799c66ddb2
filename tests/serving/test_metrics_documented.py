"""What promtool and docs/monitoring.md say of the page."""

import re
from pathlib import Path

import yaml

from serving.prometheus import PrometheusMetrics
from tests.serving.promtool import promtool
from tests.serving.test_metrics import EVENTS

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "monitoring.md").read_text(
    "utf-8"
)
ROW = re.compile(r"^\| `([:\w]+)` \| (\w+) \| (.+?) \| (.+) \|$", re.M)


def test_the_tables_list_what_is_on_the_page() -> None:
    page = PrometheusMetrics().page().decode()
    types = dict(re.findall(r"^# TYPE (\S+) (\w+)$", page, re.M))
    meanings = dict(re.findall(r"^# HELP (\S+) (.+)$", page, re.M))
    assert len(types) > 25
    rows = [row for row in ROW.findall(TEXT) if "drift" not in row[0]]
    assert [row[0] for row in rows] == list(types)  # in the page's order
    for name, kind, _, meaning in rows:
        assert (kind, meaning) == (types[name], meanings[name])


def test_the_tables_name_the_labels() -> None:
    metrics = PrometheusMetrics()
    for api in ("Predict", "Classify"):
        metrics.request("clinic", api, "GRPC", "OK", 0.1)
    metrics.run("clinic", 1, "Predict", 0.1)
    metrics.examples("clinic", 1)
    metrics.queued("clinic", 0.1, 1)
    metrics.batch("clinic", 1, 1, 1)
    metrics.queue_full("clinic")
    metrics.load("clinic", 1, "OK", 0.1, "/nowhere")
    metrics.load("clinic", 1, "INTERNAL", 0.1, "/nowhere")
    metrics.warm_up("OK", 0.1, "/nowhere")
    metrics.configured(["clinic"])
    metrics.state("clinic", 1, "AVAILABLE")
    lines = metrics.page().decode().splitlines()
    checked = 0
    for name, kind, labels, _ in ROW.findall(TEXT):
        sample = f"{name}_count" if kind == "histogram" else name
        series = [x for x in lines if re.match(rf"{sample}[{{ ]", x)]
        for one in series:
            assert re.findall(r'(\w+)="', one) == re.findall(r"`(\w+)`", labels)
            checked += 1
    assert checked > 20


def test_the_scrape_config_is_one() -> None:
    (text,) = re.findall(r"```yaml\n(.+?)```", TEXT, re.S)
    config = yaml.safe_load(text)
    (job,) = config["scrape_configs"]
    assert job["metrics_path"] == "/monitoring/prometheus/metrics"


def filled() -> PrometheusMetrics:
    metrics = PrometheusMetrics()
    metrics.request("clinic", "Predict", "GRPC", "OK", 0.003)
    metrics.state("clinic", 3, "AVAILABLE")
    for event, _ in EVENTS:
        event(metrics)
    return metrics


def test_promtool_reads_the_page_and_finds_no_fault_with_our_names() -> None:
    code, said = promtool("check", "metrics", input=filled().page().decode())
    assert code in (0, 3), said  # 1: it cannot be parsed; 3: names that it dislikes
    complaints = [line for line in said.splitlines() if line.strip()]
    assert complaints, "TF Serving's names hold colons: promtool dislikes them"
    theirs = (":tensorflow:serving:", ":tensorflow:cc:saved_model:")
    assert [line for line in complaints if not line.startswith(theirs)] == []
