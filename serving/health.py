"""The standard gRPC health service: whether the models can be asked."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

import grpc
from grpc_health.v1 import (
    health_pb2,
    health_pb2_grpc,
)

_POLL_SECONDS = 0.5
_Answer = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):
    """Answers SERVING while every configured model has an available version.

    TF Serving, with the same flag, answers SERVING from its start on; probes of a
    deployment want to know when the first model is loaded.

    Args:
        services: names that may be asked for, "" for the server as a whole.
        ready: whether the models can be asked.
    """

    def __init__(self, services: Collection[str], ready: Callable[[], bool]) -> None:
        self._services = services
        self._ready = ready
        self._stopping = asyncio.Event()
        self._watching = 0

    def stop(self) -> bool:
        """From now on nothing is served; whoever watches is told and let go.

        Returns:
            Whether anybody watches, who then needs a moment to go elsewhere.
        """
        self._stopping.set()
        return self._watching > 0

    def _status(self) -> Any:
        serving = not self._stopping.is_set() and self._ready()
        return _Answer.SERVING if serving else _Answer.NOT_SERVING

    async def Check(self, request: Any, context: Any) -> Any:
        """The status of a service; NOT_FOUND for one that is not known."""
        if request.service not in self._services:
            await context.abort(
                grpc.StatusCode.NOT_FOUND, f"unknown service {request.service}"
            )
        return _Answer(status=self._status())

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """The status now and whenever it changes, until the server stops."""
        known = request.service in self._services
        told = None
        self._watching += 1
        try:
            while True:
                status = self._status() if known else _Answer.SERVICE_UNKNOWN
                if status != told:
                    yield _Answer(status=status)
                    told = status
                if self._stopping.is_set():  # an open stream would hold the server up
                    return
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), _POLL_SECONDS)
        finally:
            self._watching -= 1
