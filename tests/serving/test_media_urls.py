"""http:// and s3:// through tensorflow-io, against servers on the loopback."""

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving import media
from serving.media import MediaError

ROOT = Path(__file__).parents[2]
CONTENT = b"some bytes " * 9


class _Handler(http.server.BaseHTTPRequestHandler):
    """One object at `/bucket/x.bin`, with ranges: enough of S3 to read a file."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        found = self.path == "/bucket/x.bin"
        body = CONTENT if found else b""
        asked = self.headers.get("Range") if found else None
        self.send_response(206 if asked else 200 if found else 404)
        if asked:
            first, last = (int(n) for n in asked.removeprefix("bytes=").split("-"))
            self.send_header(
                "Content-Range",
                f"bytes {first}-{min(last, len(CONTENT) - 1)}/{len(CONTENT)}",
            )
            body = body[first : last + 1]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_http(address: str) -> None:
    assert media.read_media("x.bin", base=f"http://{address}/bucket") == CONTENT
    with pytest.raises(MediaError) as caught:
        media.read_media(f"http://{address}/bucket/absent")
    assert caught.value.reason == "missing_file"


@pytest.mark.slow
def test_s3_and_a_clean_exit_after_it(address: str) -> None:
    code = (
        "import sys; from serving import media;"
        "print(media.read_media('s3://bucket/x.bin').decode()); sys.exit(3)"
    )
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "AWS_ACCESS_KEY_ID": "id",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "S3_ENDPOINT": f"http://{address}",
            "S3_USE_HTTPS": "0",
            "S3_VERIFY_SSL": "0",
        },
    )
    assert found.stdout == CONTENT.decode() + "\n"
    # Not 134: tensorflow-io's S3 client would abort the process at its end.
    assert found.returncode == 3, found.stderr[-2000:]
