"""The client behind a name that stands for several servers."""

import shutil
from pathlib import Path

import pytest

from serving.client import Client, ClientError
from serving.server import ModelServer


def versions_of(client: Client, calls: int) -> list[int]:
    """Which version answered, call by call: each server here has its own."""
    return [int(client.predict([{}])[0]["model_version"]) for _ in range(calls)]


def test_requests_go_round_and_a_lost_server_is_left_out(
    clinic_path: Path, tmp_path: Path
) -> None:
    for version in ("1", "2"):
        shutil.copytree(clinic_path, tmp_path / version / version)
    one, two = (ModelServer(str(tmp_path / v), "clinic") for v in ("1", "2"))
    with one:
        with two:
            ports = ",".join(f"127.0.0.1:{server.port}" for server in (one, two))
            client = Client(f"ipv4:{ports}/clinic")
            found = versions_of(client, 8)
            # The first calls may find one of the connections not yet made.
            assert set(found) == {1, 2}
            assert found.count(1) >= 3
            assert found.count(2) >= 3
        # No error: what found no server was asked again of the other.
        assert versions_of(client, 8) == [1] * 8
    with pytest.raises(ClientError):
        versions_of(client, 1)
    client.close()
