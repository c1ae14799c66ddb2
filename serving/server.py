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
from collections.abc import Sequence

from serving.tensorflow_core import tensorflow

# Google's libraries say on each import that Python 3.10 grows old.
warnings.filterwarnings("ignore", "You are using a non-supported Python version")
tensorflow()  # without Keras, before TF Serving's protos import it with

from serving import flags  # noqa: E402
from serving.model_server import DRAIN_SECONDS, ModelServer  # noqa: E402
from serving.versions import LoadPolicy  # noqa: E402

__all__ = ["DRAIN_SECONDS", "ModelServer", "main"]

_log = logging.getLogger(__name__)


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
