"""Files behind http:// and https://, read by requests.

Redirects are followed a few times, as sites that hand their files to a storage service
answer; never to another protocol, from https to http, or from the internet into the own
network. The rest is said in the error, with where the redirect leads.
"""

import contextlib
import ipaddress
import os
import re
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any, BinaryIO
from urllib.parse import urljoin, urlsplit, urlunsplit

from serving.ranged_file import ranged_file

MAX_REDIRECTS = 5
_TIMEOUT_SECONDS = (10.0, 30.0)  # to connect, and between two packets
_DEADLINE_SECONDS = 600.0
# A body must come so fast once so many seconds have passed: what trickles holds a row.
_SLOW_SECONDS = 30.0
_SLOW_BYTES_PER_SECOND = 2**16
_TRIES = 3
_MAX_SPOOLED_BYTES = 4 * 2**30
_PIECE = 2**18

_local = threading.local()


def read(url: str, max_bytes: int) -> bytes:
    """The first `max_bytes + 1` bytes behind a URL.

    Raises:
        OSError: FileNotFoundError and PermissionError among them.
    """
    return b"".join(_retried(lambda: list(_pieces(url, max_bytes + 1))))


def stamp(url: str) -> str:
    """What changes when the file does: its size, tag and time, as the server says."""
    with _answer(url, {"Range": "bytes=0-0"}) as answer:
        names = ("Content-Range", "Content-Length", "ETag", "Last-Modified")
        return " ".join(answer.headers.get(name, "") for name in names)


def open_binary(url: str) -> BinaryIO:
    """The file for reading, with seek and tell.

    By ranges where the server knows them, else from a temporary copy of the whole.

    Raises:
        OSError: FileNotFoundError and PermissionError among them.
    """
    with _answer(url, {"Range": "bytes=0-0"}) as answer:
        found = _content_range(answer)
        if found is not None:
            size = found[2]
            return ranged_file(size, lambda at, count: _range(url, at, count, size))
    with contextlib.ExitStack() as stack:
        copy = stack.enter_context(tempfile.TemporaryFile())
        size = 0
        for piece in _pieces(url, _MAX_SPOOLED_BYTES + 1):
            size += copy.write(piece)
        if size > _MAX_SPOOLED_BYTES:
            raise OSError(f"{_shown(url)}: more than {_MAX_SPOOLED_BYTES} bytes")
        copy.seek(0)
        stack.pop_all()
        return copy


def _retried(call: Any) -> Any:
    """What `call` gives, tried again where a server or the way to it may recover.

    Not where it was waited for in vain: each further try would hold the row as long.
    """
    for attempt in range(_TRIES):
        try:
            return call()
        except (FileNotFoundError, PermissionError):
            raise
        except ConnectionError:
            if attempt + 1 == _TRIES:
                raise
            time.sleep(0.3 * 2**attempt)
    raise AssertionError


def _range(url: str, at: int, count: int, size: int) -> bytes:
    def call() -> bytes:
        asked = {"Range": f"bytes={at}-{at + count - 1}"}
        with _answer(url, asked) as answer:
            if _content_range(answer) != (at, at + count - 1, size):
                raise OSError(f"{_shown(url)} changed, or answers another range")
            return b"".join(_body(answer, url, count + 1))

    found: bytes = _retried(call)
    return found


def _pieces(url: str, most: int) -> Iterator[bytes]:
    with _answer(url, {}) as answer:
        yield from _body(answer, url, most)


def _body(answer: Any, url: str, most: int) -> Iterator[bytes]:
    """The body's first `most` bytes, whole by its own word."""
    from urllib3.exceptions import HTTPError, ReadTimeoutError

    began, got = time.monotonic(), 0
    try:
        # Not iter_content, which waits for a whole piece however slowly it comes.
        while piece := answer.raw.read1(_PIECE, decode_content=True):
            piece = piece[: most - got]
            got += len(piece)
            yield piece
            if got == most:
                return
            seconds = time.monotonic() - began
            slow = seconds > _SLOW_SECONDS and got < seconds * _SLOW_BYTES_PER_SECOND
            if slow or seconds > _DEADLINE_SECONDS:
                raise OSError(
                    f"{_shown(url)}: too slow, {got} bytes came in {seconds:.0f} s"
                )
    except ReadTimeoutError as error:
        raise TimeoutError(f"{_shown(url)}: nothing after {got} bytes") from error
    except HTTPError as error:
        raise ConnectionError(f"{_shown(url)}: cut off after {got} bytes") from error
    said = answer.headers.get("Content-Length", "")
    if said.isdigit() and "Content-Encoding" not in answer.headers and int(said) != got:
        raise ConnectionError(f"{_shown(url)}: {got} of {said} bytes came")


@contextlib.contextmanager
def _answer(url: str, headers: dict[str, str]) -> Iterator[Any]:
    """The answer that redirects lead to, once it is a good one."""
    import requests

    at, way = url, ""
    for _ in range(MAX_REDIRECTS + 1):
        try:
            answer = _session().get(
                at,
                headers={"Accept-Encoding": "identity", **headers},
                stream=True,
                allow_redirects=False,
                timeout=_TIMEOUT_SECONDS,
            )
        except requests.Timeout as error:
            raise TimeoutError(f"no answer in time from {_shown(at)}{way}") from error
        except requests.ConnectionError as error:
            raise ConnectionError(f"no answer from {_shown(at)}{way}") from error
        # ValueError: what is no URL at all, of several libraries.
        except (requests.RequestException, ValueError) as error:
            told = str(error).replace(at, _shown(at))
            raise OSError(f"{_shown(at)}{way}: {told}") from error
        with answer:
            goal = answer.headers.get("Location")
            if answer.status_code not in (301, 302, 303, 307, 308) or not goal:
                _check(answer, f"{_shown(at)}{way}")
                yield answer
                return
            goal = urljoin(at, goal)
            way = f", where {_shown(url)} redirects"
            if refusal := _refusal(at, goal):
                raise OSError(
                    f"{_shown(at)} redirects (HTTP {answer.status_code}) to"
                    f" {_shown(goal)}, which is not followed: {refusal}"
                )
            at = goal
    raise OSError(
        f"{_shown(url)} redirects more than {MAX_REDIRECTS} times, last to {_shown(at)}"
    )


def _check(answer: Any, where: str) -> None:
    status = answer.status_code
    if status in (200, 206):
        return
    said = f"HTTP {status} {answer.reason or ''}".strip() + f" from {where}"
    if status in (404, 410):
        raise FileNotFoundError(said)
    if status in (401, 403):
        raise PermissionError(said)
    if status == 429 or status >= 500:
        raise ConnectionError(said)
    raise OSError(said)


def _refusal(origin: str, goal: str) -> str:
    """Why a redirect is not followed; empty where it is."""
    before, after = urlsplit(origin), urlsplit(goal)
    if after.scheme not in ("http", "https") or not after.hostname:
        return "it leads to no http:// or https:// address"
    if before.scheme == "https" and after.scheme == "http":
        return "it leads from https to http"
    other = after.hostname != before.hostname
    if other and _is_inside(after.hostname) and not _is_inside(before.hostname or ""):
        return "it leads from the internet into the own network"
    return ""


def _is_inside(host: str) -> bool:
    """Whether a name leads to this machine or the network around it."""
    try:
        found = {str(a[4][0]) for a in socket.getaddrinfo(host, None)}
        return any(not ipaddress.ip_address(a.split("%")[0]).is_global for a in found)
    except (OSError, ValueError):
        return False  # a proxy may know it; nothing here leads there


def _content_range(answer: Any) -> tuple[int, int, int] | None:
    """First byte, last byte and size in all; None where the range was not heeded."""
    said = answer.headers.get("Content-Range", "") if answer.status_code == 206 else ""
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", said.strip())
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def _shown(url: str) -> str:
    """A URL for messages: signatures and passwords stay out."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, parts.path, "", ""))
    except ValueError:
        return "a URL that cannot be read"


def _session() -> Any:
    """One for each thread of each process: they keep connections open."""
    import requests

    held = getattr(_local, "session", None)
    if held is None or held[0] != os.getpid():
        held = _local.session = (os.getpid(), requests.Session())
    return held[1]
