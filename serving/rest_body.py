"""The body of an HTTP request, read within limits."""

import asyncio
import zlib

import grpc
from aiohttp import StreamReader, web

from serving.status import ServingError

# A client that sends nothing for so long is given up; libevent's figure, and so TF
# Serving's, is 50.
IDLE_SECONDS = 50.0


class BodyError(ServingError):
    """A body that HTTP has a status of its own for.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, status: int, code: grpc.StatusCode, message: str) -> None:
        self.status = status
        super().__init__(code, message)


def _too_large(limit: int) -> BodyError:
    return BodyError(
        413,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        f"the request's body is larger than {limit} bytes, the server's limit "
        "(after decompression); send fewer rows at a time, or use gRPC",
    )


async def read(request: web.BaseRequest, limit: int) -> bytearray:
    """The body as it was sent, still compressed where it was.

    Raises:
        BodyError: 413 as soon as it is known to be too large, 408 where it stops
            coming.
        ServingError: INVALID_ARGUMENT where its chunks are malformed.
    """
    declared = request.content_length
    if declared is not None and declared > limit:
        raise _too_large(limit)
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # it is no part of the answer
    content = request.content
    # Grows in place: joining 60 MB of parts would hold up the event loop.
    body = bytearray()
    while not content.at_eof():
        try:
            # Mostly all of it came along with the headers.
            part = content.read_nowait() if content.is_eof() else await _next(content)
        except web.RequestPayloadError as error:
            raise ServingError.invalid(
                "the request's body cannot be read: its chunks are malformed"
            ) from error
        body += part
        if len(body) > limit:
            raise _too_large(limit)
    return body


async def _next(content: StreamReader) -> bytes:
    try:
        return await asyncio.wait_for(content.readany(), IDLE_SECONDS)
    except TimeoutError as error:
        raise BodyError(
            408,
            grpc.StatusCode.DEADLINE_EXCEEDED,
            f"nothing more of the request's body came for {IDLE_SECONDS:g} seconds",
        ) from error


def decompress(body: bytes | bytearray, limit: int) -> bytes:
    """The content of a gzip body.

    Raises:
        BodyError: 413, before more than `limit` bytes are made.
        ServingError: INVALID_ARGUMENT where it is no gzip.
    """
    gzip = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        found = gzip.decompress(body, limit + 1)
    except zlib.error as error:
        raise ServingError.invalid(
            "the request's body is no gzip, and its Content-Encoding says it is"
        ) from error
    if len(found) > limit:
        raise _too_large(limit)
    if not gzip.eof or gzip.unused_data:
        raise ServingError.invalid(
            "the request's gzip body ends too early, or something comes after its end"
        )
    return found
