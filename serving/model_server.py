"""A model server inside a process: the command, tests and notebooks start this."""

import asyncio
import threading
from types import TracebackType
from typing import Any

from serving import event_loop
from serving.engine import Engine
from serving.grpc_server import GrpcOptions, GrpcServer
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
        grpc: how the gRPC front listens.
        rest: how the REST API is served.
        tensor_content: answer Predict in `tensor_content` rather than typed fields.
        check_methods: Classify and Regress want the signatures' method names to be
            theirs.
        no_reload: why HandleReloadConfigRequest is refused, if it is.

    Attributes:
        models: the models that are served.
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
        grpc: GrpcOptions | None = None,
        rest: RestOptions | None = None,
        tensor_content: bool = False,
        check_methods: bool = False,
        no_reload: str = "",
    ) -> None:
        self._request_logs = request_logs or RequestLogs()
        self.models = Models(
            single_model(model_name, model_base_path) if config is None else config,
            policy,
            metrics=metrics,
            request_logs=self._request_logs,
            allow_unavailable_labels=allow_unavailable_labels,
            load_threads=load_threads,
            no_reload=no_reload,
        )
        self._engine = Engine(batching, metrics, max_threads)
        self._handlers = Handlers(
            self.models,
            self._engine,
            limits,
            metrics,
            self._request_logs,
            tensor_content,
            check_methods,
        )
        self._grpc = event_loop.run(self._listen(host, port, grpc or GrpcOptions()))
        self.port = self._grpc.port
        self._rest: RestApi | None = None
        self.rest_port: int | None = None
        if rest_api_port is not None:
            self._rest = RestApi(
                self._handlers, host, rest_api_port, rest or RestOptions()
            )
            self.rest_port = self._rest.port

    async def _listen(self, host: str, port: int, options: GrpcOptions) -> GrpcServer:
        # On the loop, where grpc.aio wants its servers to be made.
        return GrpcServer(self._handlers, host, port, options)

    def start(self, stop: threading.Event | None = None) -> None:
        """Loads what is on disk, then listens.

        Returns once the first look at the disk is done: the model is served, or its
        status tells why not. Setting `stop` ends the wait early.
        """
        self.models.start()
        while not self.models.wait_first_look(0.1):
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
        stopped = self.models.stop()
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
