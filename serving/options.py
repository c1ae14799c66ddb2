"""What a server is told at its start: one field for each command-line flag.

`serving/flags.py` reads the command line into these; `ModelServer` and the tests make
them directly. Names and defaults are tensorflow_model_server's; those that it does not
have are marked +.
"""

import os
from dataclasses import dataclass, field


@dataclass(frozen=True)
class BatchingOptions:
    """TF Serving's BatchingParameters; see docs/serving.md for how they act.

    Raises:
        ValueError: a number is too small, or the sizes contradict each other.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int = 0
    """Largest batch that is run when large ones are split; 0 = max_batch_size."""

    def __post_init__(self) -> None:
        for name, least in (
            ("max_batch_size", 1),
            ("batch_timeout_micros", 0),
            ("max_enqueued_batches", 1),
            ("num_batch_threads", 1),
            ("max_execution_batch_size", 0),
        ):
            if getattr(self, name) < least:
                raise ValueError(
                    f"{name} is expected to be at least {least}, "
                    f"got {getattr(self, name)}"
                )
        if self.max_execution_batch_size > self.max_batch_size:
            raise ValueError(
                f"max_execution_batch_size {self.max_execution_batch_size} is larger "
                f"than max_batch_size {self.max_batch_size}"
            )
        sizes = self.allowed_batch_sizes
        if sizes and (sizes[0] < 1 or list(sizes) != sorted(set(sizes))):
            raise ValueError(
                f"allowed_batch_sizes are expected to be positive and to increase, "
                f"got {list(sizes)}"
            )
        split = self.enable_large_batch_splitting and self.max_execution_batch_size
        largest = self.max_execution_batch_size if split else self.max_batch_size
        if sizes and sizes[-1] != largest:
            name = "max_execution_batch_size" if split else "max_batch_size"
            raise ValueError(
                f"the last of allowed_batch_sizes {list(sizes)} is expected to equal "
                f"{name} {largest}"
            )


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
class MonitoringOptions:
    """TF Serving's MonitoringConfig: whether and where REST gives the metrics."""

    enable: bool = False
    path: str = "/monitoring/prometheus/metrics"


@dataclass(frozen=True)
class TlsOptions:
    """TF Serving's SSLConfig: PEM texts; `client_verify` asks for client certificates."""

    server_key: str
    server_cert: str
    custom_ca: str = ""
    client_verify: bool = False
