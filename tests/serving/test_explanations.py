"""A question of the playground is one request, and no mark hides what people ask."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.client import Client
from serving.explanations import are_subsets, is_marked
from serving.playground import asked
from serving.prometheus import PrometheusMetrics
from serving.request_log import RequestLogs, logging_config
from serving.server import ModelServer
from tests.serving.conftest import wait_until
from tests.serving.test_client import png

ROW: dict[str, Any] = {"xray": png(204), "note": "a long note", "age": 7}
CONFIG = """\
name: clinic
heads:
- {name: finding, kind: classification, classes: [light, dark]}
"""


class Served:
    """A server that counts and logs all requests."""

    def __init__(self, base: Path, logs: Path) -> None:
        self.metrics, self.folder = PrometheusMetrics(), logs
        self.log = RequestLogs()
        self.server = ModelServer(
            str(base), "clinic", metrics=self.metrics, request_logs=self.log
        )

    def counted(self, name: str, labels: str = "") -> float:
        found = [
            float(line.rsplit(" ", 1)[1])
            for line in self.metrics.page().decode().splitlines()
            if line.startswith(name) and labels in line
        ]
        return sum(found)

    def requests(self, api: str) -> float:
        return self.counted("polymodal_requests_total{", f'api="{api}"')

    def logged(self) -> list[Any]:
        self.log.close()
        files = [str(one) for one in self.folder.iterdir()]
        records = tf.data.TFRecordDataset(files).as_numpy_iterator()
        return [prediction_log_pb2.PredictionLog.FromString(one) for one in records]


@pytest.fixture
def served(clinic_path: Path, tmp_path: Path) -> Iterator[Served]:
    base = tmp_path / "models"
    shutil.copytree(clinic_path, base / "3")
    (base / "3/assets.extra").mkdir()
    (base / "3/assets.extra/polymodal_config.yaml").write_text(CONFIG)
    (tmp_path / "logs").mkdir()
    one = Served(base, tmp_path / "logs")
    with one.server:
        # What the server's own config says of logs was applied when it started.
        one.log.configure({"clinic": logging_config(str(one.folder / "c"), 1.0)})
        yield one


def test_a_question_counts_once(served: Served) -> None:
    """Three parts, eight subsets, and two heads whose parts are told."""
    with Client(f"localhost:{served.server.port}/clinic") as client:
        answer, parts, _ = asked(client, ROW)
    assert set(parts) >= {"finding"}
    want = answer["finding_scores"][answer["finding"]]
    with Client(f"localhost:{served.server.port}/clinic") as client:
        (nothing,) = client.predict([{}])
    base = nothing["finding_scores"][answer["finding"]]
    assert sum(parts["finding"].values()) == pytest.approx(want - base, abs=1e-6)
    counted = 'model_name="clinic",status="OK"'
    wait_until(lambda: served.requests("Predict") == 2)
    assert served.requests("Explain") == 1  # all eight rows in one batch
    assert served.counted(":tensorflow:serving:request_count", counted) == 2
    total = ":tensorflow:serving:request_example_count_total"
    assert served.counted(total) == 2
    wait_until(lambda: served.counted("polymodal_inputs_total", 'input="xray"') == 2)
    assert len(served.logged()) == 2


def test_a_mark_hides_no_traffic(served: Served) -> None:
    """Rows that are no subsets of one are ordinary requests, whatever they say."""
    many = [ROW, ROW | {"age": 8}, {"note": "another"}]
    with Client(f"localhost:{served.server.port}/clinic") as client:
        marked = client.explaining()
        marked.predict(many)
        marked.predict([ROW])
        marked.predict([ROW, ROW])
        marked.predict([{}])
    wait_until(lambda: served.requests("Predict") == 3)
    assert served.requests("Explain") == 1
    assert served.counted(":tensorflow:serving:request_example_count_total") == 6
    rows = [
        log.predict_log.request.inputs["age"].tensor_shape.dim[0].size
        for log in served.logged()
    ]
    assert sorted(rows) == [1, 2, 3]


def strings(*values: bytes) -> Any:
    return np.array(values, object)


def floats(*values: float) -> Any:
    return np.array(values, np.float32)


NAN = float("nan")


@pytest.mark.parametrize(
    ("inputs", "subsets"),
    [
        ({"a": strings(b"", b"x", b"", b"x"), "n": floats(NAN, NAN, 3, 3)}, True),
        ({"a": strings(b"x", b""), "n": floats(0, 0)}, True),
        ({"a": strings(b"")}, True),
        ({"a": strings(b"x\0", b"")}, True),
        ({"a": strings(b"x\0", b"x", b"")}, False),
        ({"a": strings(b"x")}, False),
        ({"a": strings(b"x", b"x")}, False),
        ({"a": strings(b"x", b"y")}, False),
        ({"a": strings(b"x", b""), "n": floats(3, 4)}, False),
        ({"a": strings(b"x", b""), "n": floats(3)}, False),
        ({"inputs": strings(b"example", b"other example")}, False),
        ({"pixels": np.zeros((2, 4, 4, 3), np.float32)}, False),
        ({}, False),
    ],
)
def test_subsets_of_one_row(inputs: dict[str, Any], subsets: bool) -> None:
    assert are_subsets(inputs) is subsets


def test_the_mark_is_metadata_of_one_client_only() -> None:
    assert is_marked([("a", "b"), ("polymodal-purpose", "explanation")])
    assert not is_marked([("polymodal-purpose", "test")])
    assert not is_marked(None)
    with Client("localhost:9/m", token="t") as client:
        assert is_marked(client.explaining()._metadata)
        assert ("authorization", "Bearer t") in client.explaining()._metadata
        assert not is_marked(client._metadata)
