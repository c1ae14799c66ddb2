"""Objects of s3://BUCKET/KEY, read and written by boto3, every length checked.

Credentials, region and endpoint are boto3's own (AWS_ACCESS_KEY_ID, AWS_PROFILE,
AWS_ENDPOINT_URL_S3 and so on). The names that TensorFlow's S3 client knows hold as well:
S3_ENDPOINT, S3_USE_HTTPS, S3_VERIFY_SSL, AWS_REGION.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from serving.ranged_file import ranged_file

_TRIES = 3
_PIECE = 2**20


@dataclass(frozen=True)
class Found:
    """An object: its key's whole path, bytes, ETag and seconds of the Unix clock."""

    path: str
    size: int
    tag: str
    modified: float


def read(path: str, max_bytes: int) -> bytes:
    """The first `max_bytes + 1` bytes of an object.

    Raises:
        OSError: FileNotFoundError and PermissionError among them.
    """
    bucket, key = _parts(path)
    for last in (False, True):
        with _errors(path):
            answer = _client().get_object(Bucket=bucket, Key=key)
            size = int(answer["ContentLength"])
            with contextlib.closing(answer["Body"]) as body:
                data: bytes = body.read(max_bytes + 1)
            if len(data) == min(size, max_bytes + 1):
                return data
            if last:
                raise OSError(f"{path}: {len(data)} of {size} bytes came")
    raise AssertionError


def open_binary(path: str) -> BinaryIO:
    """The object for reading, with seek and tell; it must not change meanwhile.

    Raises:
        OSError: FileNotFoundError and PermissionError among them.
    """
    bucket, key = _parts(path)
    found = stat(path)

    def fetch(at: int, count: int) -> bytes:
        with _errors(path):
            answer = _client().get_object(
                Bucket=bucket,
                Key=key,
                Range=f"bytes={at}-{at + count - 1}",
                IfMatch=found.tag,
            )
            wanted = f"bytes {at}-{at + count - 1}/{found.size}"
            with contextlib.closing(answer["Body"]) as body:
                if answer.get("ContentRange") != wanted:
                    raise OSError(
                        f"{path}: {wanted} was asked for, the server answers"
                        f" {answer.get('ContentRange')}"
                    )
                return bytes(body.read())

    return ranged_file(found.size, fetch)


def stat(path: str) -> Found:
    """What a HEAD without a range says, which all servers answer alike.

    Raises:
        OSError: FileNotFoundError and PermissionError among them.
    """
    bucket, key = _parts(path)
    with _errors(path):
        answer = _client().head_object(Bucket=bucket, Key=key)
        modified = answer["LastModified"].timestamp()
        return Found(path, int(answer["ContentLength"]), answer["ETag"], modified)


def below(folder: str) -> Iterator[Found]:
    """Every object below a folder, in the order of their keys.

    Raises:
        OSError: the bucket cannot be listed.
    """
    bucket, key = _parts(folder.rstrip("/") + "/")
    with _errors(folder):
        pages = _client().get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=bucket, Prefix=key):
            for one in page.get("Contents", ()):
                # Some consoles mark a folder by an object of its name.
                if not one["Key"].endswith("/"):
                    yield Found(
                        f"s3://{bucket}/{one['Key']}",
                        int(one["Size"]),
                        str(one.get("ETag", "")),
                        one["LastModified"].timestamp(),
                    )


def children(folder: str) -> tuple[list[str], list[str]]:
    """Names of the folders and of the files right below a folder.

    Raises:
        OSError: the bucket cannot be listed.
    """
    bucket, key = _parts(folder.rstrip("/") + "/")
    folders, files = [], []
    with _errors(folder):
        pages = _client().get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=bucket, Prefix=key, Delimiter="/"):
            folders += [p["Prefix"] for p in page.get("CommonPrefixes", ())]
            files += [one["Key"] for one in page.get("Contents", ())]
    names = [name[len(key) :] for name in files]
    return [name[len(key) : -1] for name in folders], [n for n in names if n]


def download(found: Found, to: str) -> None:
    """Copies an object to a local file, in pieces.

    Raises:
        OSError: among others where its length is another than it was listed with.
    """
    bucket, key = _parts(found.path)
    with _errors(found.path):
        answer = _client().get_object(Bucket=bucket, Key=key)
        size = 0
        with open(to, "wb") as file, contextlib.closing(answer["Body"]) as body:
            for piece in body.iter_chunks(_PIECE):
                size += file.write(piece)
    if size != found.size:
        raise OSError(f"{found.path}: {size} of {found.size} bytes came")


def upload(local: str, path: str) -> None:
    """Copies a local file to an object.

    Raises:
        OSError: among others where another length is there afterwards.
    """
    bucket, key = _parts(path)
    with _errors(path):
        _client().upload_file(local, bucket, key)
    size = os.path.getsize(local)
    if (stored := stat(path).size) != size:
        raise OSError(f"{path}: {stored} of {size} bytes were stored")


def write(path: str, data: bytes) -> None:
    """Writes an object of these bytes.

    Raises:
        OSError: it cannot be written.
    """
    bucket, key = _parts(path)
    with _errors(path):
        _client().put_object(Bucket=bucket, Key=key, Body=data)


def copy(source: str, target: str) -> None:
    """Copies an object inside the store.

    Raises:
        OSError: it cannot be copied.
    """
    from_bucket, from_key = _parts(source)
    bucket, key = _parts(target)
    with _errors(source):
        _client().copy({"Bucket": from_bucket, "Key": from_key}, bucket, key)


def remove(path: str) -> None:
    """Removes an object, if it is there.

    Raises:
        OSError: it cannot be removed.
    """
    bucket, key = _parts(path)
    with _errors(path):
        _client().delete_object(Bucket=bucket, Key=key)


def _parts(path: str) -> tuple[str, str]:
    bucket, _, key = path.partition("://")[2].partition("/")
    if not bucket or not key.strip("/") and not path.endswith("/"):
        raise FileNotFoundError(f"{path}: expected s3://BUCKET/KEY")
    return bucket, key.lstrip("/")


@contextlib.contextmanager
def _errors(path: str) -> Iterator[None]:
    """boto3's errors as Python's."""
    from botocore import exceptions
    from urllib3.exceptions import HTTPError

    try:
        yield
    except exceptions.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        said = f"{path}: {error}"
        if code in ("404", "NoSuchKey", "NoSuchBucket", "NotFound"):
            raise FileNotFoundError(said) from error
        if code in ("401", "403", "AccessDenied"):
            raise PermissionError(said) from error
        raise OSError(said) from error
    # ValueError: an endpoint that is no URL.
    except (exceptions.BotoCoreError, HTTPError, ValueError) as error:
        raise OSError(f"{path}: {error}") from error


_lock = threading.Lock()
_held: list[Any] = []


def _client() -> Any:
    """One for all threads of this process; boto3's clients are made for that."""
    with _lock:
        if not _held:
            _held.append(_made())
        return _held[0]


def _made() -> Any:
    import boto3
    from botocore.config import Config

    endpoint = os.environ.get("S3_ENDPOINT")
    if endpoint and "://" not in endpoint:
        plain = os.environ.get("S3_USE_HTTPS", "1") in ("0", "false")
        endpoint = f"{'http' if plain else 'https'}://{endpoint}"
    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint or None,
        region_name=os.environ.get("AWS_REGION") or None,
        verify=False if os.environ.get("S3_VERIFY_SSL") in ("0", "false") else None,
        config=Config(
            connect_timeout=10,
            read_timeout=60,
            retries={"mode": "standard", "total_max_attempts": _TRIES},
            # A host name of one's own has no name for each bucket.
            s3={"addressing_style": "path"} if endpoint else {},
            # Other stores than AWS do not know the newer checksums.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def _after_fork() -> None:
    """A child must not share connections, nor a lock that a lost thread holds."""
    global _lock
    _lock = threading.Lock()
    _held.clear()


os.register_at_fork(after_in_child=_after_fork)
