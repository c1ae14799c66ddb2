"""The server as a command: flags in, a server or several until a signal, a status out.

Nothing heavy is imported before the flags are understood, so that a mistake is told at
once and the parent of several workers stays small.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

from serving import flags, memory, workers

if TYPE_CHECKING:
    from serving.model_server import ModelServer

_log = logging.getLogger(__name__)

_HOST = "0.0.0.0"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the server until SIGTERM or SIGINT; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "--help" in words:
        print(flags.usage())
        return 0
    try:
        values = flags.parse(words)
        if values["version"]:
            print(f"polymodal model server: {metadata.version('polymodal')}")
            print(f"TensorFlow: {metadata.version('tensorflow')}")
            return 0
        check(values)
    except flags.FlagError as error:
        print(f"serving.server: {error}", file=sys.stderr)
        return 1
    process = "%(process)d " if values["worker_processes"] > 1 else ""
    logging.basicConfig(
        level=logging.INFO, format=f"%(asctime)s {process}%(levelname)s %(message)s"
    )
    if values["worker_processes"] > 1 and not workers.is_worker():
        ports = [one for one in (values["port"], values["rest_api_port"]) if one]
        command = [sys.executable, "-m", "serving.server", *words]
        return workers.supervise(command, values["worker_processes"], _HOST, ports)
    return _serve(values)


def check(values: Mapping[str, Any]) -> None:
    """What no flag alone can tell.

    Raises:
        FlagError: flags that contradict each other.
    """
    if not (values["model_base_path"] or values["model_config_file"]):
        raise flags.FlagError(
            "--model_base_path is required: the folder of the model's version folders; "
            "or --model_config_file"
        )
    if values["batching_parameters_file"] and not values["enable_batching"]:
        raise flags.FlagError(
            "--batching_parameters_file is set without --enable_batching"
        )
    if values["port"] and values["port"] == values["rest_api_port"]:
        raise flags.FlagError("--rest_api_port cannot be the same as --port")
    threads = ("session", "intra_op", "inter_op")
    if all(values[f"tensorflow_{one}_parallelism"] for one in threads):
        raise flags.FlagError(
            "either --tensorflow_session_parallelism or --tensorflow_intra_op_"
            "parallelism and --tensorflow_inter_op_parallelism can be given, not all"
        )
    if values["request_log_prefix"] and values["model_config_file"]:
        raise flags.FlagError(
            "--request_log_prefix is for --model_base_path; with --model_config_file "
            "write a logging_config for each model there"
        )
    if values["worker_processes"] > 1:
        if values["port"] == 0:
            raise flags.FlagError("--worker_processes needs a --port of its own, not 0")
        if values["grpc_socket_path"]:
            raise flags.FlagError(
                "--worker_processes cannot share --grpc_socket_path: only one process "
                "can listen to a UNIX socket"
            )


def _serve(values: Mapping[str, Any]) -> int:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    workers.end_with_parent(stop)
    if values["xla_cpu_compilation_enabled"]:
        # Read once, when TensorFlow compiles its first graph.
        os.environ["TF_XLA_FLAGS"] = "--tf_xla_cpu_global_jit " + os.environ.get(
            "TF_XLA_FLAGS", ""
        )
    # TensorFlow's own warnings quote the inputs that its kernels refuse.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # From here on TensorFlow is loaded.
    from serving.configured import model_config_watch, model_server
    from serving.status import ServingError
    from serving.text_config import ConfigFileError

    try:
        server = model_server(values, _HOST)
    except ServingError as error:
        words = f"{error.code.name}: {error.message}"
        print(f"Failed to start server. Error: {words}", file=sys.stderr)
        return 1
    except (ConfigFileError, OSError) as error:
        print(f"Failed to start server. Error: {error}", file=sys.stderr)
        return 1
    server.start(stop)
    memory.settle()
    watch = model_config_watch(values, server)
    if not stop.is_set():
        if watch is not None:
            watch.start()
        _announce(server, values)
        workers.ready()
    stop.wait()
    _log.info("stopping: finishing the requests in flight")
    if watch is not None:
        watch.stop()
    if not server.stop():
        # A load cannot be interrupted, and nobody waits for its result.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    return 0


def _announce(server: "ModelServer", values: Mapping[str, Any]) -> None:
    print(f"Running gRPC ModelServer at {_HOST}:{server.port} ...", flush=True)
    if values["grpc_socket_path"]:
        path = values["grpc_socket_path"]
        print(f"Running gRPC ModelServer at UNIX socket {path} ...", flush=True)
    if server.rest_port is not None:
        print(f"Exporting HTTP/REST API at {_HOST}:{server.rest_port} ...", flush=True)
