"""A model server that speaks TF Serving's gRPC and REST protocols.

Run it: `python -m serving.server --port=8500 --model_base_path=PATH`, where PATH holds
a folder for each version; or inside a process, with `ModelServer`.
"""

import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from serving.tensorflow_core import tensorflow

# Google's libraries say on each import that Python 3.10 grows old.
warnings.filterwarnings("ignore", "You are using a non-supported Python version")
tensorflow()  # without Keras, before the protos below import it with

from tensorflow_serving.apis import (  # noqa: E402
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from serving import flags  # noqa: E402
from serving.graph_function import Cancellation  # noqa: E402
from serving.models import Models  # noqa: E402
from serving.predict import metadata, predict  # noqa: E402
from serving.rest import RestServer  # noqa: E402
from serving.status import MAX_DETAILS, ServingError  # noqa: E402
from serving.versions import LoadPolicy, ModelVersions  # noqa: E402

_log = logging.getLogger(__name__)

_OPTIONS = [
    ("grpc.max_send_message_length", -1),  # -1 is no limit but the protobuf's 2 GiB
    ("grpc.max_receive_message_length", -1),
    # Two servers on one port would share its requests without a word.
    ("grpc.so_reuseport", 0),
]
# In-flight requests end by their own deadlines; this only bounds those without one.
# Orchestrators kill long before.
DRAIN_SECONDS = 600.0


def answer(context: grpc.ServicerContext, handle: Callable[[Cancellation], Any]) -> Any:
    """Runs a handler with a gRPC call's deadline, cancellation and status codes."""
    cancellation = Cancellation()
    remaining = context.time_remaining()
    if remaining is not None and remaining <= 0:
        context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
    # False: the caller is gone already, and the work would be for nobody.
    if not context.add_callback(cancellation.cancel):
        context.abort(grpc.StatusCode.CANCELLED, "Cancelled before it ran")
    try:
        return handle(cancellation)
    except ServingError as error:
        context.abort(error.code, error.message[:MAX_DETAILS])
    except Exception as error:
        _log.exception("request failed")
        message = f"{type(error).__name__}: {error}"
        context.abort(grpc.StatusCode.INTERNAL, message[:MAX_DETAILS])


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata; the other methods answer UNIMPLEMENTED."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Runs a signature of a model."""

        def handle(cancellation: Cancellation) -> Any:
            with self._models.use(request) as servable:
                return predict(servable, request, cancellation)

        return answer(context, handle)

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Gives the signatures of a model."""

        def handle(_: Cancellation) -> Any:
            with self._models.use(request) as servable:
                return metadata(servable, list(request.metadata_field))

        return answer(context, handle)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus; reloading a config answers UNIMPLEMENTED."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Gives the state of each version of a model."""
        return answer(context, lambda _: self._models.status(request))


class ModelServer:
    """A server of one model, also usable inside a process (tests, notebooks).

    Args:
        model_base_path: folder or URL that holds a folder for each version.
        model_name: name that clients ask for.
        port: gRPC port, 0 for a free one.
        rest_api_port: HTTP port, 0 for a free one, None for no REST.
        policy: when to look for versions and how often to try to load one.
        max_threads: requests that are answered at a time; the others wait.
        host: address to listen on.

    Attributes:
        port: the gRPC port in use.
        rest_port: the HTTP port in use, or None.

    Raises:
        OSError: where a port cannot be had.
    """

    def __init__(
        self,
        model_base_path: str,
        model_name: str = "default",
        port: int = 0,
        rest_api_port: int | None = None,
        policy: LoadPolicy | None = None,
        max_threads: int = 8,
        host: str = "127.0.0.1",
    ) -> None:
        self._model = ModelVersions(model_name, model_base_path, policy)
        models = Models(self._model)
        self._executor = ThreadPoolExecutor(max_threads, "predict")
        self._grpc = grpc.server(self._executor, options=_OPTIONS)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionService(models), self._grpc
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            ModelService(models), self._grpc
        )
        try:
            self.port = self._grpc.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise OSError(f"cannot listen on {host}:{port}; is it in use?") from error
        self._rest: RestServer | None = None
        self.rest_port: int | None = None
        if rest_api_port is not None:
            self._rest = RestServer(models, host, rest_api_port)
            self.rest_port = self._rest.port

    def start(self, stop: threading.Event | None = None) -> None:
        """Loads what is on disk, then listens.

        Returns once the first look at the disk is done: the model is served, or its
        status tells why not. Setting `stop` ends the wait early.
        """
        self._model.start()
        while not self._model.wait_first_look(0.1):
            if stop is not None and stop.is_set():
                return
        self._grpc.start()
        if self._rest is not None:
            self._rest.start()

    def stop(self, grace_s: float = DRAIN_SECONDS) -> bool:
        """Accepts nothing more, finishes what is in flight, then stops.

        Returns False where a load is still going on in its thread.
        """
        draining = self._grpc.stop(grace_s)
        if self._rest is not None:
            self._rest.stop()
        draining.wait()
        self._executor.shutdown()
        return self._model.stop()

    def __enter__(self) -> "ModelServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the server until SIGTERM or SIGINT; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "--help" in words:
        print(flags.usage())
        return 0
    try:
        values = flags.parse(words)
        if not values["model_base_path"]:
            raise flags.FlagError(
                "--model_base_path is required: where the versions are"
            )
    except flags.FlagError as error:
        print(f"serving.server: {error}", file=sys.stderr)
        return 1
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        server = ModelServer(
            model_base_path=values["model_base_path"],
            model_name=values["model_name"],
            port=values["port"],
            rest_api_port=values["rest_api_port"] or None,
            policy=LoadPolicy(
                poll_seconds=values["file_system_poll_wait_seconds"],
                max_retries=values["max_num_load_retries"],
                retry_seconds=values["load_retry_interval_micros"] / 1e6,
                warm_up=values["enable_model_warmup"],
            ),
            max_threads=values["grpc_max_threads"],
            host="0.0.0.0",
        )
    except OSError as error:
        print(f"serving.server: {error}", file=sys.stderr)
        return 1
    server.start(stop)
    if not stop.is_set():
        print(f"Running gRPC ModelServer at 0.0.0.0:{server.port} ...", flush=True)
        if server.rest_port is not None:
            print(
                f"Exporting HTTP/REST API at 0.0.0.0:{server.rest_port} ...", flush=True
            )
    stop.wait()
    _log.info("stopping: finishing the requests in flight")
    if not server.stop():
        # A load cannot be interrupted, and nobody waits for its result.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
