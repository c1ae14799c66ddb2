"""What a running server's page says of real requests, and Prometheus reads of it."""

import json
import shutil
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.server_process import METRICS_PATH, ServerProcess, free_port
from serving.client import Client, ClientError
from serving.options import BatchingOptions
from serving.prometheus import PrometheusMetrics
from serving.rest import RestOptions
from serving.server import ModelServer
from tests.serving.conftest import wait_until
from tests.serving.promtool import need
from tests.serving.test_client import png
from tests.serving.test_dashboard import PANELS, filled_in
from tests.serving.test_metrics import value

CONFIG = """\
name: clinic
heads:
- {name: finding, kind: classification, classes: [light, dark]}
- {name: tags, kind: classification, classes: [long, ward], multi_label: true}
"""
NAME = 'model_name="clinic"'
ROWS: list[dict[str, Any]] = [
    {"xray": png(204), "note": "a long note"},
    {"xray": png(140), "age": 7},
    {},
]


@pytest.fixture(scope="module")
def base(clinic_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base path with the clinic as version 3, its config in it."""
    base = tmp_path_factory.mktemp("clinic-base")
    shutil.copytree(clinic_path, base / "3")
    (base / "3" / "assets.extra").mkdir()
    path = base / "3" / "assets.extra" / "polymodal_config.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return base


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read().decode())


def post(port: int | None, path: str, body: Any) -> int:
    data = json.dumps(body).encode()
    try:
        with urllib.request.urlopen(f"http://localhost:{port}{path}", data) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def over_rest(port: int | None) -> int:
    raw = {"xray": [""], "voice": [""], "note": [""], "ward": ["B"], "age": [1.0]}
    request = {"signature_name": "serving_raw", "inputs": raw}
    return post(port, "/v1/models/clinic:predict", request)


def test_requests_and_answers_are_on_the_page(base: Path) -> None:
    metrics = PrometheusMetrics()
    with ModelServer(
        str(base),
        "clinic",
        rest_api_port=0,
        batching=BatchingOptions(max_batch_size=8, allowed_batch_sizes=(4, 8)),
        metrics=metrics,
        rest=RestOptions(metrics_page=metrics.page),
    ) as server:
        with Client(f"localhost:{server.port}/clinic") as client:
            client.predict(ROWS)
            with pytest.raises(ClientError, match="INVALID_ARGUMENT"):
                # A picture that is cut short; this model has no mercy on it.
                client.predict([{"xray": png(204)[:-30]}])
        assert over_rest(server.rest_port) == 200
        assert post(server.rest_port, "/v1/models/other:predict", {}) == 404

        def counted() -> bool:
            """The answers, which are counted after they were sent."""
            labels = {"model_name": "clinic", "input": "age", "presence": "absent"}
            present = {**labels, "presence": "present"}
            name = "polymodal_inputs_total"
            return [value(metrics, name, **x) for x in (labels, present)] == [2, 2]

        wait_until(counted)
        with urllib.request.urlopen(
            f"http://localhost:{server.rest_port}{METRICS_PATH}"
        ) as answer:
            assert answer.headers.get_content_type() == "text/plain"
            page = answer.read().decode().splitlines()
    serving, head = ":tensorflow:serving:", f'{NAME},head="finding"'
    wanted = [
        f'{serving}request_count{{{NAME},status="OK"}} 2',
        f'{serving}request_count{{{NAME},status="INVALID_ARGUMENT"}} 1',
        f'{serving}request_latency_count{{{NAME},API="Predict",entrypoint="GRPC"}} 1',
        f'{serving}request_latency_count{{{NAME},API="Predict",entrypoint="REST"}} 1',
        # Three rows and one row, each made up to four.
        f'{serving}batching_session:padding_size_sum{{execution_batch_size="4"}} 4',
        f"polymodal_batch_size_sum{{{NAME}}} 4",
        f'polymodal_requests_total{{{NAME},api="GetModelMetadata",entrypoint="GRPC",status="OK"}} 1',
        'polymodal_requests_total{model_name="",api="Predict",entrypoint="REST",status="NOT_FOUND"} 1',
        "polymodal_requests_in_flight 0",
        f'polymodal_inputs_total{{{NAME},input="xray",presence="present"}} 2',
        f'polymodal_inputs_total{{{NAME},input="xray",presence="absent"}} 2',
        f'polymodal_predictions_total{{{head},class="light"}} 2',
        f'polymodal_predictions_total{{{head},class="dark"}} 2',
        f'polymodal_predictions_total{{{NAME},head="tags",class="long"}} 1',
        f'polymodal_predictions_total{{{NAME},head="tags",class="ward"}} 1',
        f'polymodal_abstentions_total{{{head},abstained="true"}} 1',
        f'polymodal_prediction_value_count{{{NAME},head="seconds"}} 4',
        f'polymodal_version_state{{{NAME},version="3",state="AVAILABLE"}} 1',
        f"polymodal_model_unavailable{{{NAME}}} 0",
    ]
    assert [line for line in wanted if line not in page] == []
    loaded = f'{base}/3",status="success"}} 1'
    start = ":tensorflow:cc:saved_model:load_attempt_count"
    (load,) = [line for line in page if line.startswith(start)]
    assert load.endswith(loaded)
    assert not [line for line in page if "a long note" in line]


@pytest.mark.e2e
def test_a_real_prometheus_has_an_answer_to_every_panel(
    base: Path, tmp_path: Path
) -> None:
    """Two workers, a version that fails to load, and what Prometheus makes of them."""
    need("prometheus")
    models = tmp_path / "models"
    shutil.copytree(base / "3", models / "3")
    monitoring = tmp_path / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }", encoding="utf-8")
    batching = tmp_path / "batching.config"
    batching.write_text(
        "max_batch_size { value: 8 } allowed_batch_sizes: 4 allowed_batch_sizes: 8",
        encoding="utf-8",
    )
    rest_port = free_port()
    with (
        ServerProcess(
            f"--port={free_port()}",
            f"--rest_api_port={rest_port}",
            "--model_name=clinic",
            f"--model_base_path={models}",
            f"--monitoring_config_file={monitoring}",
            "--enable_batching",
            f"--batching_parameters_file={batching}",
            "--worker_processes=2",
        ) as server,
        Prometheus(tmp_path, f"localhost:{rest_port}") as prometheus,
    ):
        stop = threading.Event()
        traffic = threading.Thread(target=ask, args=(server.port, rest_port, stop))
        traffic.start()
        try:
            # Each worker loads for itself; the page of either counts both.
            available = 'polymodal_version_state{version="3", state="AVAILABLE"} == 2'
            prometheus.wait_for(available)
            (models / "4").mkdir()
            (models / "4" / "saved_model.pb").write_bytes(b"cut short")
            prometheus.wait_for('ALERTS{alertname="PolymodalLoadFailed"}')
            prometheus.wait_for("count_over_time(polymodal_top_score_count[1m]) > 6")
        finally:
            stop.set()
            traffic.join()
        empty = [
            f"{panel['title']}: {target['expr']}"
            for panel in PANELS
            for target in panel["targets"]
            if "drift" not in target["expr"]
            and not prometheus.query(quick(target["expr"]))
        ]
        (both,) = prometheus.query(available)
        alerts = prometheus.query("ALERTS")
    assert empty == []
    assert both["value"][1] == "2"  # the old version goes on serving
    (alert,) = alerts
    assert alert["metric"]["alertname"] == "PolymodalLoadFailed"
    assert alert["metric"]["alertstate"] == "firing"
    assert alert["metric"]["model_path"].endswith("/models/4")


def ask(port: int, rest_port: int, stop: threading.Event) -> None:
    """Requests of either kind until told to stop."""
    with Client(f"localhost:{port}/clinic") as client:
        while not stop.wait(0.05):
            client.predict(ROWS)
            over_rest(rest_port)


def quick(expression: str) -> str:
    """Over seconds, where the dashboard looks at minutes."""
    return filled_in(expression).replace("[5m]", "[4s]")


class Prometheus:
    """A Prometheus that scrapes a target and runs the rules every half second."""

    def __init__(self, folder: Path, target: str) -> None:
        rules = Path(__file__).parents[2] / "serving/deploy/prometheus/rules.yml"
        config = {
            "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
            "rule_files": [str(rules)],
            "scrape_configs": [
                {
                    "job_name": "polymodal",
                    "metrics_path": METRICS_PATH,
                    "static_configs": [{"targets": [target]}],
                }
            ],
        }
        path = folder / "prometheus.yml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        self._url = f"http://127.0.0.1:{free_port()}"
        self._log = (folder / "prometheus.log").open("w")
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={path}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={self._url.removeprefix('http://')}",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> "Prometheus":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._log.close()

    def query(self, expression: str) -> list[Any]:
        words = urllib.parse.urlencode({"query": expression})
        answer = json.loads(get(f"{self._url}/api/v1/query?{words}"))
        assert answer["status"] == "success", answer
        found: list[Any] = answer["data"]["result"]
        return found

    def wait_for(self, expression: str) -> None:
        """Until a query has an answer."""

        def answered() -> bool:
            try:
                return bool(self.query(expression))
            except urllib.error.URLError:  # it is starting
                return False

        wait_until(answered, 60)
