"""The gRPC front: ports, TLS, tokens, health and reflection around the API."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from serving import grpc_api, service_descriptors, tls
from serving.handlers import Handlers
from serving.health import Health
from serving.options import TlsOptions
from serving.tokens import TokenInterceptor, Tokens

_SERVICES = (service_descriptors.PREDICTION_SERVICE, service_descriptors.MODEL_SERVICE)
_LAME_DUCK_SECONDS = 0.5
_HEALTH_SERVICE = "grpc.health.v1.Health"


def _is_news(record: logging.LogRecord) -> bool:
    """False for gRPC's stack trace of an answer whose caller left while it was sent.

    gRPC is silent where it learns first that the caller has gone, and then that the
    answer could not be sent; in the other order it says so at length. Either is a call
    given up, which the metrics count, and no fault of the server.
    """
    return not record.getMessage().startswith("ExecuteBatchError raised in core")


logging.getLogger("grpc._cython.cygrpc").addFilter(_is_news)


@dataclass(frozen=True)
class GrpcOptions:
    """How the gRPC front listens.

    Attributes:
        socket_path: a UNIX socket to listen to besides the port.
        channel_arguments: gRPC's own options, names and values.
        tls: key and certificates; None listens in plain text.
        tokens: one of which a call has to carry; None asks for none.
        health_service: whether the standard health service answers.
        reuse_port: several processes may listen on the port.
    """

    socket_path: str = ""
    channel_arguments: tuple[tuple[str, int | str], ...] = ()
    tls: TlsOptions | None = None
    tokens: Tokens | None = None
    health_service: bool = False
    reuse_port: bool = False


class GrpcServer:
    """The API over gRPC, with server reflection; for the event loop.

    Args:
        handlers: what the requests ask for.
        host: address to listen on.
        port: port to listen on; 0 picks a free one.
        options: how it listens.

    Attributes:
        port: the port in use.

    Raises:
        OSError: where the port or the socket cannot be had.
    """

    def __init__(
        self, handlers: Handlers, host: str, port: int, options: GrpcOptions
    ) -> None:
        settings: dict[str, int | str] = {
            # -1 is no limit but the protobuf's 2 GiB
            "grpc.max_send_message_length": -1,
            "grpc.max_receive_message_length": handlers.limits.max_request_bytes,
            # Two servers on one port would share its requests without a word.
            "grpc.so_reuseport": int(options.reuse_port),
        }
        settings.update(options.channel_arguments)
        self._server: Any = grpc.aio.server(
            interceptors=[TokenInterceptor(options.tokens)] if options.tokens else None,
            options=list(settings.items()),
        )
        grpc_api.register(self._server, handlers)
        names = [*_SERVICES, reflection.SERVICE_NAME]
        self._health: Health | None = None
        if options.health_service:
            self._health = Health(("", *_SERVICES), handlers.models.ready)
            health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
            names.append(_HEALTH_SERVICE)
        service_descriptors.add_to_pool()
        reflection.enable_server_reflection(names, self._server)
        self._tls = options.tls
        self.port = self._listen(f"{host}:{port}")
        if options.socket_path:
            self._listen(f"unix:{options.socket_path}")

    def _listen(self, address: str) -> int:
        try:
            if self._tls is None:
                return int(self._server.add_insecure_port(address))
            credentials = tls.grpc_credentials(self._tls)
            return int(self._server.add_secure_port(address, credentials))
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}; is it in use?") from error

    async def start(self) -> None:
        """Begins to accept requests."""
        await self._server.start()

    async def stop(self, grace_s: float) -> None:
        """Accepts nothing more and waits for the requests in flight."""
        if self._health is not None and self._health.stop():
            # What they still send here while gRPC says goodbye would be CANCELLED.
            await asyncio.sleep(_LAME_DUCK_SECONDS)
        await self._server.stop(grace_s)
