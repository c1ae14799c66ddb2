"""http:// and https://: redirects, limits, ranges, and what goes wrong on the way."""

import contextlib
import http.server
import io
import threading
import time
import zipfile
from collections.abc import Iterator

import pytest

from serving import files, http_files, media
from serving.media import MediaError

CONTENT = b"some bytes " * 9
LARGE = bytes(range(256)) * 12_000  # three mebibytes: ranges, and beyond one buffer


def archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("pad", LARGE)
        file.writestr("m", b"a member")
    return out.getvalue()


FILES = {"/bucket/x.bin": CONTENT, "/large.bin": LARGE, "/a.zip": archive()}


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    ranges = True
    asked: list[str] = []
    failures: dict[str, int] = {}
    go = threading.Event()

    def do_GET(self) -> None:
        _Handler.asked.append(self.path)
        path, _, goal = self.path.partition("?")
        if path.startswith("/redirect/"):
            status = int(path.rpartition("/")[2])
            self._answer(status, b"moved", {"Location": goal})
        elif path == "/loop":
            self._answer(302, b"", {"Location": "/loop?secret=1"})
        elif path.startswith("/status/"):
            self._answer(int(path.rpartition("/")[2]), b"an error page")
        elif path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"half")
            self.close_connection = True
        elif path == "/stall":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"half")
            self.wfile.flush()
            _Handler.go.wait(60)
            self.close_connection = True
        elif path == "/silent":
            _Handler.go.wait(60)
            self.close_connection = True
        elif path == "/trickle":
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            with contextlib.suppress(OSError):  # once who asked has gone
                for _ in range(1000):
                    self.wfile.write(b"x")
                    time.sleep(0.05)
            self.close_connection = True
        elif path == "/flaky":
            _Handler.failures["/flaky"] = _Handler.failures.get("/flaky", 0) + 1
            first = _Handler.failures["/flaky"] == 1
            self._answer(503 if first else 200, b"busy" if first else CONTENT)
        elif path in FILES:
            self._file(FILES[path])
        else:
            self._answer(404, b"no such page")

    def _file(self, body: bytes) -> None:
        asked = self.headers.get("Range")
        if not asked or not self.ranges:
            self._answer(200, body)
            return
        first, last = (int(n) for n in asked.removeprefix("bytes=").split("-"))
        last = min(last, len(body) - 1)
        said = {"Content-Range": f"bytes {first}-{last}/{len(body)}"}
        self._answer(206, body[first : last + 1], said)

    def _answer(
        self, status: int, body: bytes, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as started:
        threading.Thread(target=started.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{started.server_address[1]}"
        started.shutdown()


def refusal(url: str) -> MediaError:
    with pytest.raises(MediaError) as caught:
        media.read_media(url)
    assert caught.value.name == url
    return caught.value


def test_a_file_and_none(server: str) -> None:
    assert media.read_media("x.bin", base=f"{server}/bucket") == CONTENT
    error = refusal(f"{server}/bucket/absent")
    assert error.reason == "missing_file"
    assert "HTTP 404" in str(error)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(server: str, status: int) -> None:
    for goal in ("/bucket/x.bin", f"{server}/bucket/x.bin", "../bucket/x.bin"):
        found = media.read_media(f"{server}/redirect/{status}?{goal}")
        assert found == CONTENT
    twice = f"{server}/redirect/302?/redirect/{status}?/bucket/x.bin"
    assert media.read_media(twice) == CONTENT


def test_redirects_are_followed_a_few_times_only(server: str) -> None:
    _Handler.asked.clear()
    error = refusal(f"{server}/loop")
    assert error.reason == "unreadable_file"
    assert f"{server}/loop redirects more than 5 times, last to {server}/loop" in str(
        error
    )
    assert "secret" not in str(error)
    assert len(_Handler.asked) == 6


@pytest.mark.parametrize(
    "goal", ["file:///etc/passwd", "s3://bucket/x", "ftp://127.0.0.1/x", "gs://b/x"]
)
def test_redirects_lead_to_no_other_protocol(server: str, goal: str) -> None:
    error = refusal(f"{server}/redirect/302?{goal}")
    assert error.reason == "unreadable_file"
    assert f"redirects (HTTP 302) to {goal}, which is not followed" in str(error)


def test_redirects_keep_to_the_side_they_start_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert http_files._refusal("https://a.example/x", "https://b.example/y") == ""
    assert http_files._refusal("http://a.example/x", "https://a.example/x") == ""
    assert "https to http" in http_files._refusal("https://a.org/x", "http://a.org/x")
    inside = {"127.0.0.1", "169.254.169.254", "10.0.0.7", "::1"}
    for host in inside:
        assert http_files._is_inside(host)
    assert not http_files._is_inside("8.8.8.8")
    for goal in ("http://169.254.169.254/keys", "http://[::1]:80/", "http://10.0.0.7"):
        assert "own network" in http_files._refusal("http://8.8.8.8/x", goal)
        assert http_files._refusal("http://127.0.0.1/x", goal) == ""


def test_a_redirect_to_nothing_names_both(server: str) -> None:
    error = refusal(f"{server}/redirect/302?/gone")
    assert error.reason == "missing_file"
    assert f"{server}/gone, where {server}/redirect/302 redirects" in str(error)


def test_errors_of_the_server(server: str) -> None:
    for status in (400, 401, 403, 418):
        error = refusal(f"{server}/status/{status}")
        assert error.reason == "unreadable_file"
        assert f"HTTP {status}" in str(error)
    assert media.read_media(f"{server}/flaky") == CONTENT
    assert refusal(f"{server}/status/500").reason == "unreadable_file"


def test_a_body_cut_short_is_no_file(server: str) -> None:
    error = refusal(f"{server}/short")
    assert error.reason == "unreadable_file"
    assert "cut off" in str(error)


def test_a_body_that_trickles_is_left(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_files, "_SLOW_SECONDS", 0.3)
    began = time.monotonic()
    error = refusal(f"{server}/trickle")
    assert error.reason == "unreadable_file"
    assert f"{server}/trickle: too slow" in str(error)
    assert time.monotonic() - began < 25  # the server takes 50 s


@pytest.mark.parametrize(
    ("path", "says"),
    [("/stall", "nothing after 4 bytes"), ("/silent", "no answer in time from")],
)
def test_what_was_waited_for_in_vain_is_not_tried_again(
    server: str, monkeypatch: pytest.MonkeyPatch, path: str, says: str
) -> None:
    monkeypatch.setattr(http_files, "_TIMEOUT_SECONDS", (10.0, 0.5))
    monkeypatch.setattr(_Handler, "asked", [])
    monkeypatch.setattr(_Handler, "go", threading.Event())
    error = refusal(f"{server}{path}")
    _Handler.go.set()
    assert error.reason == "unreadable_file"
    assert says in str(error)
    assert _Handler.asked == [path]


def test_signatures_stay_out_of_messages() -> None:
    with pytest.raises(OSError, match="No host supplied") as caught:
        files.read("http://?signature=secret", 10)
    assert "secret" not in str(caught.value)


def test_sizes_are_limited(server: str) -> None:
    with pytest.raises(MediaError) as caught:
        media.read_media(f"{server}/large.bin", max_bytes=len(LARGE) - 1)
    assert caught.value.reason == "too_many_bytes"
    assert media.read_media(f"{server}/large.bin", max_bytes=len(LARGE)) == LARGE


@pytest.mark.parametrize("ranges", [True, False])
def test_an_archive_behind_a_url(
    server: str, ranges: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serving import archives

    archives.close_all()
    monkeypatch.setattr(_Handler, "ranges", ranges)
    assert media.read_media(f"{server}/a.zip!m") == b"a member"
    assert media.read_media(f"{server}/a.zip!pad") == LARGE
    with files.open_binary(f"{server}/large.bin") as file:
        assert file.seek(-5, 2) == len(LARGE) - 5
        assert file.read() == LARGE[-5:]
        file.seek(1_048_570)
        assert file.read(20) == LARGE[1_048_570:1_048_590]
    assert files.exists(f"{server}/a.zip")
    assert not files.exists(f"{server}/b.zip")
    archives.close_all()


@pytest.mark.parametrize(
    "url",
    ["http://", "http://127.0.0.1:99999/x", "http://[::1/x", "http://a b/x",
     "http://127.0.0.1:1/x", "http://\0/x", "http://127.0.0.1:1/\0",
     f"http://{'a' * 300}.example/x", "http://xn--\u2603/x"],
)  # fmt: skip
def test_no_url_ends_in_another_error(url: str) -> None:
    assert refusal(url).reason in ("unreadable_file", "missing_file")
