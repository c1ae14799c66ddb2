"""Two servers of S3's protocol that are started for tests: moto and SeaweedFS.

They differ in what tells a right reader from a lucky one: moto answers a HEAD with a
Range by the range's length, SeaweedFS by the whole length. Both end with the tests.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from benchmarks.server_process import free_ports
from serving import s3_files

_START_SECONDS = 120.0
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testtest",
    "AWS_SECRET_ACCESS_KEY": "testtesttest",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def _moto(folder: str) -> tuple[list[str], int]:
    (port,) = free_ports(1)
    program = os.path.join(os.path.dirname(sys.executable), "moto_server")
    return [sys.executable, program, "-H", "127.0.0.1", "-p", str(port)], port


def _seaweedfs(folder: str) -> tuple[list[str], int]:
    names = (
        "s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port",
        "volume.port.grpc", "filer.port", "filer.port.grpc",
    )  # fmt: skip
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    program = os.path.join(os.path.dirname(sys.executable), "weed")
    flags = [f"-{name}={port}" for name, port in ports.items()]
    command = [
        program, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        "-s3", "-volume.max=8", "-s3.port.iceberg=0", "-s3.port.lance=0",
        "-master.volumeSizeLimitMB=64", "-master.telemetry=false", *flags,
    ]  # fmt: skip
    return command, ports["s3.port"]


STORES = {"moto": _moto, "seaweedfs": _seaweedfs}


class Store:
    """A running server with one bucket, `bucket`."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.environment = {
            **CREDENTIALS,
            "S3_ENDPOINT": f"127.0.0.1:{port}",
            "S3_USE_HTTPS": "0",
        }
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            region_name="us-east-1",
            config=Config(
                s3={"addressing_style": "path"},
                connect_timeout=2,
                read_timeout=20,
                retries={"total_max_attempts": 1},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def put(self, key: str, data: bytes) -> str:
        """Stores an object; returns its URL."""
        self.client.put_object(Bucket="bucket", Key=key, Body=data)
        return f"s3://bucket/{key}"

    def put_folder(self, key: str, folder: Path) -> str:
        """Stores all files below a folder; returns its URL."""
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                self.put(f"{key}/{file.relative_to(folder)}", file.read_bytes())
        return f"s3://bucket/{key}"

    def get(self, key: str) -> bytes:
        """An object's bytes."""
        answer = self.client.get_object(Bucket="bucket", Key=key)
        return bytes(answer["Body"].read())

    def keys(self, prefix: str) -> list[str]:
        """Keys of the objects that begin so."""
        answer = self.client.list_objects_v2(Bucket="bucket", Prefix=prefix)
        return [one["Key"] for one in answer.get("Contents", ())]


@contextlib.contextmanager
def running(name: str) -> Iterator[Store]:
    """Starts a store, makes the bucket, and ends the store."""
    with tempfile.TemporaryDirectory(prefix="polymodal-store-") as folder:
        command, port = STORES[name](folder)
        log = Path(folder, "server.log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=folder, stdout=output, stderr=subprocess.STDOUT
            )
        try:
            store = Store(name, port)
            _wait(store, process, log)
            yield store
        finally:
            process.kill()
            process.wait()
            store.client.close()


@contextlib.contextmanager
def used(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What reads s3:// in this process meets the store, and remembers it no longer."""
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    s3_files._held.clear()
    yield
    s3_files._held.clear()


def _wait(store: Store, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            if "bucket" not in [
                b["Name"] for b in store.client.list_buckets()["Buckets"]
            ]:
                store.client.create_bucket(Bucket="bucket")
            # A store that can make buckets may not be able to store yet.
            store.put("ready", b"1")
            assert store.get("ready") == b"1"
            return
        except Exception as error:
            if process.poll() is not None or time.monotonic() > end:
                text = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{store.name} does not start: {text}") from error
            time.sleep(0.2)
