"""s3:// against two stores that answer differently, and servers that answer wrongly."""

import http.server
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from serving import archives, files, media, s3_files, version_files
from serving.media import MediaError
from tests import object_stores
from tests.object_stores import STORES, Store

ROOT = Path(__file__).parents[2]
# Beyond 512 KiB tensorflow-io's client read wrong bytes from SeaweedFS.
SIZES = (1, 300_000, 600_000, 3_000_000)


def content(size: int) -> bytes:
    return np.random.default_rng(size).bytes(size)


def use(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    s3_files._held.clear()


@pytest.fixture(scope="module", params=list(STORES))
def running(request: pytest.FixtureRequest) -> Iterator[Store]:
    with object_stores.running(request.param) as store:
        yield store


@pytest.fixture
def store(running: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    use(running.environment, monkeypatch)
    yield running
    archives.close_all()
    s3_files._held.clear()


def reason(path: str) -> str:
    with pytest.raises(MediaError) as caught:
        media.read_media(path)
    assert caught.value.name == path
    return caught.value.reason


@pytest.mark.parametrize("size", SIZES)
def test_bytes_are_right_at_any_size(store: Store, size: int) -> None:
    path = store.put(f"sizes/{size}.bin", content(size))
    assert media.read_media(path) == content(size)
    assert media.read_media(f"sizes/{size}.bin", base="s3://bucket") == content(size)
    with files.open_binary(path) as file:
        assert file.seek(-1, os.SEEK_END) == size - 1
        assert file.read() == content(size)[-1:]
        middle = max(0, size // 2 - 10)
        file.seek(middle)
        assert file.read(700_000) == content(size)[middle:][:700_000]
        file.seek(0)
        assert file.read() == content(size)


def test_what_is_not_there(store: Store) -> None:
    assert reason("s3://bucket/absent.png") == "missing_file"
    assert reason("s3://no-such-bucket/x.png") == "missing_file"
    assert reason("s3://bucket") == "missing_file"
    assert reason("s3://bucket/a.zip!m") == "missing_file"
    assert reason("s3:///x") == "missing_file"
    assert reason("s3://B_d name/x") in ("missing_file", "unreadable_file")
    assert reason("s3://bucket/\0") in ("missing_file", "unreadable_file")


def test_sizes_are_limited(store: Store) -> None:
    path = store.put("big.bin", content(600_000))
    assert media.read_media(path, max_bytes=600_000) == content(600_000)
    with pytest.raises(MediaError) as caught:
        media.read_media(path, max_bytes=599_999)
    assert caught.value.reason == "too_many_bytes"
    store.put("empty.bin", b"")
    assert reason("s3://bucket/empty.bin") == "empty_file"


def test_members_of_an_archive(store: Store, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("pad", content(3_000_000))
        archive.writestr("图/m", b"a member")
    path = store.put("set/a.zip", (tmp_path / "a.zip").read_bytes())
    assert media.read_media(f"{path}!图/m") == b"a member"
    assert media.read_media("a.zip!pad", base="s3://bucket/set") == content(3_000_000)


def test_folders_and_stamps(store: Store) -> None:
    for name in ("1/saved_model.pb", "1/variables/v.data", "0022/x", "top", "odd/x"):
        store.put(f"models/half/{name}", name.encode())
    found = version_files.find_versions("s3://bucket/models/half")
    assert found == {
        1: "s3://bucket/models/half/1",
        22: "s3://bucket/models/half/0022",
    }
    before = version_files.fingerprint(found[1])
    assert version_files.fingerprint(found[1]) == before
    store.put("models/half/1/variables/v.data", b"other weights")
    assert version_files.fingerprint(found[1]) != before
    stamp = files.stamp("s3://bucket/models/half/top")
    store.put("models/half/top", b"pot")
    assert files.stamp("s3://bucket/models/half/top") != stamp
    assert files.exists("s3://bucket/models/half/top")
    assert not files.exists("s3://bucket/models/half")


def test_a_model_is_served_from_a_store(store: Store, half_base: Path) -> None:
    from serving.servable import Servable
    from serving.server import ModelServer

    base = store.put_folder("served", half_base)
    found = version_files.find_versions(base)
    servable = Servable("half", 7, found[7])
    answer = servable.run("serving_default", {"x": np.array([2, 4], np.float32)})
    np.testing.assert_allclose(answer["y"], [3, 4])
    copy = servable._folder
    assert os.path.isdir(copy)
    del servable
    assert not os.path.isdir(copy)
    with ModelServer(base, "half") as server:
        assert server.port


@pytest.mark.parametrize("name", list(STORES))
def test_a_process_that_read_a_store_ends_cleanly(name: str) -> None:
    code = (
        "import sys; from serving import media;"
        "print(len(media.read_media('s3://bucket/x.bin'))); sys.exit(3)"
    )
    with object_stores.running(name) as store:
        store.put("x.bin", content(600_000))
        found = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            cwd=ROOT,
            capture_output=True,
            text=True,
            env={**os.environ, **store.environment},
        )
    assert found.stdout == "600000\n"
    assert found.returncode == 3, found.stderr[-2000:]


class _Liar(http.server.BaseHTTPRequestHandler):
    """Answers every range by the whole object, or a whole object by less of it."""

    body = bytes(1000)
    short = False
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(self.body[:400] if self.short else self.body)

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.send_header("ETag", '"x"')
        self.send_header("Last-Modified", "Sat, 28 Nov 2026 10:00:00 GMT")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def liar(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Liar]]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Liar) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = {"S3_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}"}
        use({**object_stores.CREDENTIALS, **endpoint}, monkeypatch)
        yield _Liar
        server.shutdown()
    s3_files._held.clear()


def test_a_body_shorter_than_said_is_no_file(
    liar: type[_Liar], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert media.read_media("s3://bucket/x") == bytes(1000)
    monkeypatch.setattr(liar, "short", True)
    assert reason("s3://bucket/x") == "unreadable_file"


def test_a_range_that_is_not_heeded_is_no_range(liar: type[_Liar]) -> None:
    with files.open_binary("s3://bucket/x") as file:
        file.seek(100)
        with pytest.raises(OSError, match="was asked for, the server answers None"):
            file.read(10)


def test_an_endpoint_that_is_no_url_is_a_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use({**object_stores.CREDENTIALS, "S3_ENDPOINT": "http://a b:x"}, monkeypatch)
    with pytest.raises(OSError, match=r"s3://bucket/x: Invalid endpoint: http://a b:x"):
        version_files.find_versions("s3://bucket/x")
    s3_files._held.clear()


def test_no_answer_and_no_credentials_are_reasons(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use({**object_stores.CREDENTIALS, "S3_ENDPOINT": "http://127.0.0.1:1"}, monkeypatch)
    assert reason("s3://bucket/x") == "unreadable_file"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    s3_files._held.clear()
    with pytest.raises(MediaError, match="credentials"):
        media.read_media("s3://bucket/x")
    s3_files._held.clear()
