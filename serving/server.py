"""A model server that speaks TF Serving's gRPC and REST protocols.

Run it: `python -m serving.server --port=8500 --model_base_path=PATH`, where PATH holds
a folder for each version; or inside a process, with `ModelServer`.
"""

import sys
from typing import TYPE_CHECKING, Any

from serving import library_notes
from serving.command import main

if TYPE_CHECKING:
    from serving.model_server import DRAIN_SECONDS, ModelServer

__all__ = ["DRAIN_SECONDS", "ModelServer", "main"]

library_notes.silence()


def __getattr__(name: str) -> Any:
    """TensorFlow is loaded for those who serve, not for who reads the flags."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from serving.tensorflow_core import tensorflow

    tensorflow()  # without Keras, before TF Serving's protos import it with
    from serving import model_server

    return getattr(model_server, name)


if __name__ == "__main__":
    sys.exit(main())
