"""What a server is told at its start: one field for each command-line flag.

`serving/flags.py` reads the command line into these; `ModelServer` and the tests make
them directly. Names and defaults are tensorflow_model_server's; those that it does not
have are marked +.
"""

import os
from dataclasses import dataclass, field


@dataclass(frozen=True)
class BatchingOptions:
    """TF Serving's BatchingParameters; see docs/serving.md for how they act."""

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = True
    max_execution_batch_size: int = 0
    """Largest batch that is run when large ones are split; 0 = max_batch_size."""


@dataclass(frozen=True)
class Limits:
    """+ What is refused before any work is spent on it."""

    max_request_bytes: int = 2**31 - 1
    max_tensor_elements: int = 2**27
    """Elements that one input tensor may claim, whatever it carries."""
    max_json_bytes: int = 64 * 2**20
    max_json_depth: int = 64
    max_concurrent_requests: int = 1024
    """Requests in the server at a time; one more is RESOURCE_EXHAUSTED at once."""


@dataclass(frozen=True)
class TlsOptions:
    """TF Serving's SSLConfig: PEM texts; `client_verify` asks for client certificates."""

    server_key: str
    server_cert: str
    custom_ca: str = ""
    client_verify: bool = False
