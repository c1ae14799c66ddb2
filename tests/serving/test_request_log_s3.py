"""Request logs on s3://: stored whole, read back, and counted where they are lost."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving import files
from serving.record_files import LogFiles
from serving.request_log import RequestLogs, logging_config
from tests import object_stores
from tests.object_stores import Store
from tests.serving.conftest import wait_until
from tests.serving.prediction_protos import predict_request
from tests.serving.test_request_log import predict_response


@pytest.fixture(scope="module")
def running() -> Iterator[Store]:
    with object_stores.running("moto") as store:
        yield store


@pytest.fixture
def store(running: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with object_stores.used(running, monkeypatch):
        yield running


def written(prefix: str, count: int, **options: Any) -> RequestLogs:
    logs = RequestLogs(files=LogFiles(**options))
    logs.configure({"m": logging_config(prefix, 1.0)})
    for _ in range(count):
        logs.write("m", "predict", predict_request(note=["x"]), predict_response())
    return logs


def read(store: Store, folder: Path) -> list[Any]:
    local = folder / "log"
    found = []
    for key in store.keys("logs/m-"):
        local.write_bytes(store.get(key))
        found += tf.data.TFRecordDataset(str(local)).as_numpy_iterator()
    return [prediction_log_pb2.PredictionLog.FromString(one) for one in found]


def test_logs_are_stored_whole(store: Store, tmp_path: Path) -> None:
    written("s3://bucket/logs/m", 3).close()
    (key,) = store.keys("logs/m-")
    assert key.endswith(".tfrecord")  # and none that is partial
    found = read(store, tmp_path)
    assert [log.predict_log.request.inputs["note"].string_val[0] for log in found] == [
        b"x"
    ] * 3
    assert files.starting("s3://bucket/logs") == [f"s3://bucket/{key}"]
    assert files.starting("s3://bucket/logs/m-") == [f"s3://bucket/{key}"]
    assert files.starting("s3://bucket/logs/n") == []


@pytest.mark.parametrize("options", [{}, {"max_bytes": 1}])
def test_records_of_a_file_that_cannot_be_stored_are_counted(
    store: Store, caplog: pytest.LogCaptureFixture, options: dict[str, int]
) -> None:
    logs = written("s3://no-such-bucket/m", 3, **options)
    if options:
        wait_until(lambda: logs.dropped == 3)
    logs.close()
    assert logs.dropped == 3
    assert "3 records were dropped" in caplog.text or options
