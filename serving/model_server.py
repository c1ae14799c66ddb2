"""A model server inside a process: the command, tests and notebooks start this."""

import asyncio
import threading
from types import TracebackType
from typing import Any

import grpc

from serving import event_loop, grpc_api
from serving.engine import Engine
from serving.handlers import Handlers
from serving.metrics import Metrics
from serving.model_config import single_model
from serving.models import Models
from serving.options import BatchingOptions, Limits
from serving.request_log import RequestLogs
from serving.rest import RestApi, RestOptions
from serving.versions import LoadPolicy

# In-flight requests end by their own deadlines; this only bounds those without one.
# Orchestrators kill long before.
DRAIN_SECONDS = 600.0


class ModelServer:
    """A server of models, also usable inside a process (tests, notebooks).

    Args:
        model_base_path: folder or URL that holds a folder for each version.
        model_name: name that clients ask for.
        port: gRPC port, 0 for a free one.
        rest_api_port: HTTP port, 0 for a free one, None for no REST.
        policy: when to look for versions and how often to try to load one.
        max_threads: requests that are run at a time without batching.
        host: address to listen on.
        config: `ModelServerConfig` of several models, in place of the path and name.
        allow_unavailable_labels: whether a new label may point at a version that is
            not available.
        load_threads: versions that are loaded at a time; 0 is one.
        request_logs: keeps the requests that the config says are logged.
        batching: how requests are put together; None runs each alone.
        limits: what is refused before any work is spent on it.
        metrics: hears of every event.
        rest: how the REST API is served.

    Attributes:
        port: the gRPC port in use.
        rest_port: the HTTP port in use, or None.

    Raises:
        OSError: where a port cannot be had.
        ServingError: where the config cannot be served.
    """

    def __init__(
        self,
        model_base_path: str = "",
        model_name: str = "default",
        port: int = 0,
        rest_api_port: int | None = None,
        policy: LoadPolicy | None = None,
        max_threads: int = 8,
        host: str = "127.0.0.1",
        *,
        config: Any = None,
        allow_unavailable_labels: bool = False,
        load_threads: int = 0,
        request_logs: RequestLogs | None = None,
        batching: BatchingOptions | None = None,
        limits: Limits | None = None,
        metrics: Metrics | None = None,
        rest: RestOptions | None = None,
    ) -> None:
        self._models = models = Models(
            single_model(model_name, model_base_path) if config is None else config,
            policy,
            metrics=metrics,
            request_logs=request_logs,
            allow_unavailable_labels=allow_unavailable_labels,
            load_threads=load_threads,
        )
        self._engine = Engine(batching, metrics, max_threads)
        self._handlers = Handlers(models, self._engine, limits, metrics, request_logs)
        self._request_logs = request_logs
        self._grpc: Any = None
        self.port = event_loop.run(self._listen(f"{host}:{port}"))
        self._rest: RestApi | None = None
        self.rest_port: int | None = None
        if rest_api_port is not None:
            self._rest = RestApi(
                self._handlers, host, rest_api_port, rest or RestOptions()
            )
            self.rest_port = self._rest.port

    async def _listen(self, address: str) -> int:
        options = [
            # -1 is no limit but the protobuf's 2 GiB
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
            # Two servers on one port would share its requests without a word.
            ("grpc.so_reuseport", 0),
        ]
        self._grpc = grpc.aio.server(options=options)
        grpc_api.register(self._grpc, self._handlers)
        try:
            return int(self._grpc.add_insecure_port(address))
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}; is it in use?") from error

    def start(self, stop: threading.Event | None = None) -> None:
        """Loads what is on disk, then listens.

        Returns once the first look at the disk is done: the model is served, or its
        status tells why not. Setting `stop` ends the wait early.
        """
        self._models.start()
        while not self._models.wait_first_look(0.1):
            if stop is not None and stop.is_set():
                return
        event_loop.run(self._grpc.start())
        if self._rest is not None:
            event_loop.run(self._rest.start())

    def stop(self, grace_s: float = DRAIN_SECONDS) -> bool:
        """Accepts nothing more, finishes what is in flight, then stops.

        Returns False where a load is still going on in its thread.
        """
        event_loop.run(self._drain(grace_s))
        self._engine.close()
        stopped = self._models.stop()
        if self._request_logs is not None:
            self._request_logs.close()
        return stopped

    async def _drain(self, grace_s: float) -> None:
        fronts = [self._grpc.stop(grace_s)]
        if self._rest is not None:
            fronts.append(self._rest.stop(grace_s))
        await asyncio.gather(*fronts)

    def __enter__(self) -> "ModelServer":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
