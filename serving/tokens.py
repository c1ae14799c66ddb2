"""Bearer tokens: who may ask.

A file lists them, one a line: the token itself, or `sha256:` and the token's SHA-256 in
hex, so that the file gives none away. What follows behind a space is for people. Empty
lines and those that begin with # are skipped. The file is read again when it changes.
"""

import hashlib
import hmac
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc

from serving.status import ServingError
from serving.text_config import ConfigFileError

_log = logging.getLogger(__name__)

_SCHEME = "bearer "
_LOOK_SECONDS = 1.0
_OPEN = "/grpc.health.v1.Health/"


class Tokens:
    """The tokens in a file.

    Raises:
        ConfigFileError: it cannot be read, or holds no token.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._looked = time.monotonic()
        self._state = self._stat()
        self._digests = self._read()

    def refusal(self, headers: Mapping[str, str]) -> ServingError | None:
        """Why a request with these headers may not ask, or None.

        UNAUTHENTICATED unless `authorization` carries one of the tokens.
        """
        if self._allow(headers.get("authorization")):
            return None
        return ServingError(
            grpc.StatusCode.UNAUTHENTICATED,
            "a valid bearer token is required: `authorization: Bearer TOKEN`",
        )

    def _allow(self, authorization: str | None) -> bool:
        self._look()
        if authorization is None or not authorization.lower().startswith(_SCHEME):
            return False
        token = authorization[len(_SCHEME) :].strip()
        digest = hashlib.sha256(token.encode()).digest()
        # All are compared, whichever fits: the time tells nothing.
        return sum([hmac.compare_digest(digest, one) for one in self._digests]) > 0

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        state = self._stat()
        if state == self._state:
            return
        self._state = state
        try:
            self._digests = self._read()
        except ConfigFileError as error:
            _log.error("%s; the tokens before hold on", error)
        else:
            _log.info("%s: read again, %d tokens", self._path, len(self._digests))

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _read(self) -> list[bytes]:
        try:
            with open(self._path, encoding="utf-8") as file:
                lines = file.read().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigFileError(
                f"auth_tokens_file: cannot read {self._path}: {type(error).__name__}"
            ) from error
        digests = []
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            word = line.split()[0]
            kind, _, digest = word.partition(":")
            if kind != "sha256":
                digests.append(hashlib.sha256(word.encode()).digest())
                continue
            try:
                digests.append(bytes.fromhex(digest))
            except ValueError:
                digests.append(b"")
            if len(digests[-1]) != hashlib.sha256().digest_size:
                raise ConfigFileError(
                    f"auth_tokens_file: {self._path}:{number}: expected 64 hexadecimal "
                    "digits behind `sha256:`"
                )
        if not digests:
            raise ConfigFileError(
                f"auth_tokens_file: {self._path} holds no token; one a line is expected"
            )
        return digests


class TokenInterceptor(grpc.aio.ServerInterceptor):
    """Lets gRPC calls pass that carry a token; health checks always pass."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: Any
    ) -> Any:
        """Called by gRPC for each call."""
        if not details.method.startswith(_OPEN):
            refusal = self._tokens.refusal(dict(details.invocation_metadata))
            if refusal is not None:
                return grpc.unary_unary_rpc_method_handler(_refuse_with(refusal))
        return await continuation(details)


def _refuse_with(refusal: ServingError) -> Callable[[Any, Any], Awaitable[None]]:
    async def refuse(_: Any, context: grpc.aio.ServicerContext) -> None:
        await context.abort(refusal.code, refusal.message)

    return refuse
