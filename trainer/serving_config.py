"""Where and how the model is served: what `polymodal deploy` writes files from.

Nothing of it reaches the weights; no training result depends on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from trainer.schema import fraction, not_negative, option, positive


@dataclass(frozen=True)
class BatchingConfig:
    """Requests that wait are run together: TF Serving's batching parameters."""

    max_batch_size: int = option(
        32, "Examples run together at most; past 32 a CPU gains nothing more."
    )
    batch_timeout_micros: int = option(
        0,
        "How long a batch waits to be filled; 0 = a free thread takes what is there,"
        " which costs a lone request nothing.",
    )
    max_enqueued_batches: int = option(
        10, "Batches that may wait; one more is refused: a longer queue is only delay."
    )
    num_batch_threads: int | None = option(
        None, "Batches run at a time; null = resources.cpu, rounded up."
    )
    allowed_batch_sizes: tuple[int, ...] = option(
        (),
        "Batches are padded to the next of these; empty = any size. Few sizes spare XLA"
        " and GPUs new plans; on a CPU padding is only work.",
    )
    pad_variable_length_inputs: bool = option(
        False, "Pad inputs of unequal length with each other; a pushed model has none."
    )

    def problems(self) -> Iterator[str]:
        yield from positive(
            self, "max_batch_size", "max_enqueued_batches", "num_batch_threads",
            "allowed_batch_sizes",
        )  # fmt: skip
        yield from not_negative(self, "batch_timeout_micros")
        sizes = self.allowed_batch_sizes
        if sizes and (
            list(sizes) != sorted(set(sizes)) or sizes[-1] != self.max_batch_size
        ):
            yield (
                "allowed_batch_sizes: must rise and end in max_batch_size"
                f" ({self.max_batch_size}). Received: {list(sizes)}"
            )


@dataclass(frozen=True)
class VersionsConfig:
    """Which versions of the model are served, and by which names."""

    policy: Literal["latest", "all", "specific"] = option(
        "latest", "latest = the highest numbers; all takes memory for each one kept."
    )
    latest: int = option(1, "How many of the highest, with policy latest.")
    specific: tuple[int, ...] = option((), "Which ones, with policy specific.")
    labels: dict[str, int] = option(
        {},
        "Names that clients may ask for in place of a number, such as stable and"
        " canary; moved by an edit of models.config, without a restart.",
    )

    def problems(self) -> Iterator[str]:
        yield from positive(self, "latest", "specific")
        if (self.policy == "specific") != bool(self.specific):
            yield "specific: give version numbers with policy specific, and only then."
        for label, version in self.labels.items():
            if self.specific and version not in self.specific:
                yield f"labels.{label}: version {version} is not among `specific`."


@dataclass(frozen=True)
class RequestLogConfig:
    """Samples of what was asked and answered; `polymodal monitor` reads them."""

    sampling_rate: float = option(
        0.0, "Share of the requests kept; 0 = none, for they are somebody's data."
    )
    redact_inputs: tuple[str, ...] = option(
        (), "Inputs whose values are left out of what is kept; `all` is every one."
    )
    claim: str | None = option(
        None,
        "PersistentVolumeClaim that keeps the logs of all pods; null = each pod's go"
        " with it.",
    )

    def problems(self) -> Iterator[str]:
        yield from fraction(self, "sampling_rate", below_one=False)


@dataclass(frozen=True)
class ReplicasConfig:
    """How many servers there are."""

    minimum: int = option(2, "At least; 2, so that one may be lost or replaced.")
    maximum: int = option(10, "At most: a bound on the bill.")

    def problems(self) -> Iterator[str]:
        yield from positive(self, "minimum", "maximum")
        if self.minimum > self.maximum:
            yield "minimum: must not be above maximum."


@dataclass(frozen=True)
class ResourcesConfig:
    """What one server gets: requested and limited alike, so that others cannot take it."""

    cpu: float = option(2.0, "Cores.")
    memory_mib: int = option(
        2048, "MiB; a server took 0.4 GiB, and a new version is loaded beside the old."
    )
    gpus: int = option(1, "NVIDIA GPUs, where `polymodal deploy --gpu` is asked for.")

    def problems(self) -> Iterator[str]:
        yield from positive(self, "cpu", "memory_mib", "gpus")


@dataclass(frozen=True)
class AutoscalingConfig:
    """When servers are added; the metric that asks for most of them decides."""

    cpu_utilization: float = option(
        0.7, "Share of the cores in use that is aimed at; the rest is for bursts."
    )
    metric: Literal["in_flight", "queue_ms", "latency_ms"] | None = option(
        "in_flight",
        "A second signal, out of Prometheus: requests in a server at a time, wait for a"
        " batch, or time to the answer (both means); null = CPU alone.",
    )
    target: float = option(
        32.0, "What is aimed at for the metric; 32 in flight fill one batch."
    )
    scale_down_seconds: int = option(
        300, "How long less must have been enough before servers are taken away."
    )

    def problems(self) -> Iterator[str]:
        yield from positive(self, "cpu_utilization", "target")
        yield from fraction(self, "cpu_utilization", below_one=False)
        yield from not_negative(self, "scale_down_seconds")


@dataclass(frozen=True)
class StorageConfig:
    """Where the servers find the pushed models."""

    claim: str | None = option(
        None, "PersistentVolumeClaim of a local --models folder; null = NAME-models."
    )
    storage_class: str | None = option(None, "Its class; null = the cluster's default.")
    size_gib: int = option(10, "Its size.")
    access_mode: Literal["ReadWriteMany", "ReadWriteOnce"] = option(
        "ReadWriteMany", "ReadWriteOnce binds all servers to one node."
    )
    poll_seconds: int = option(
        10, "Pause between looks for new versions; each look lists a bucket."
    )
    credentials_secret: str | None = option(
        None, "Secret of environment variables for a bucket (AWS_ACCESS_KEY_ID ...)."
    )

    def problems(self) -> Iterator[str]:
        yield from positive(self, "size_gib", "poll_seconds")


@dataclass(frozen=True)
class ImagesConfig:
    """Stock images; none has to be built."""

    tensorflow: str = option(
        "tensorflow/serving:2.16.1", "TF Serving, of the TensorFlow that trained."
    )
    tensorflow_gpu: str = option("tensorflow/serving:2.16.1-gpu", "The same with CUDA.")
    python: str = option(
        "python:3.11-slim", "What the polymodal server is installed into and runs on."
    )
    package: str | None = option(
        "polymodal",
        "What pip installs for it: a name in your index, or the URL of a wheel; null ="
        " the python image has it inside.",
    )
    prometheus: str = option(
        "prom/prometheus:v2.55.1", "For compose's profile `monitoring`."
    )


@dataclass(frozen=True)
class AccessConfig:
    """Who reaches the servers; everything else is cut off by the NetworkPolicy."""

    client_namespaces: tuple[str, ...] = option(
        (), "Namespaces whose pods may ask, beside the servers' own."
    )
    monitoring_namespace: str = option(
        "monitoring", "Where Prometheus runs: it may scrape, and no more."
    )
    monitoring_labels: dict[str, str] = option(
        {}, "Labels that your Prometheus picks monitors by, such as `release`."
    )


@dataclass(frozen=True)
class ServingConfig:
    """Where and how the model is served: what `polymodal deploy` writes files from."""

    namespace: str = option("serving", "Kubernetes namespace of everything.")
    grpc_port: int = option(8500, "gRPC port: TF Serving's own.")
    rest_port: int = option(8501, "REST and metrics port: TF Serving's own.")
    request_timeout_seconds: int = option(
        30, "The longest that a request may take; a server that ends waits so long."
    )
    drain_seconds: int = option(
        10,
        "How long a server that ends goes on as before, until every balancer has heard"
        " that it leaves.",
    )
    max_connection_age_seconds: int = option(
        60,
        "Clients are asked to connect anew so often: gRPC keeps a connection for ever,"
        " and a new server would get no requests.",
    )
    intra_op_threads: int = option(
        1, "Threads of one op; 1 with several batches at a time costs the least CPU."
    )
    inter_op_threads: int = option(1, "Ops of one batch at a time; see there.")
    batching: BatchingConfig | None = option(
        BatchingConfig(), "Run waiting requests together; null = each alone."
    )
    versions: VersionsConfig = option(VersionsConfig(), "Which versions are served.")
    request_log: RequestLogConfig = option(
        RequestLogConfig(),
        "Samples for the drift check; the stock TF Serving writes none.",
    )
    replicas: ReplicasConfig = option(ReplicasConfig(), "How many servers.")
    resources: ResourcesConfig = option(ResourcesConfig(), "What each one gets.")
    autoscaling: AutoscalingConfig = option(
        AutoscalingConfig(), "When there are more of them."
    )
    storage: StorageConfig = option(StorageConfig(), "Where the models lie.")
    images: ImagesConfig = option(ImagesConfig(), "What runs.")
    access: AccessConfig = option(AccessConfig(), "Who may ask.")

    def problems(self) -> Iterator[str]:
        yield from positive(
            self, "grpc_port", "rest_port", "request_timeout_seconds",
            "max_connection_age_seconds", "intra_op_threads", "inter_op_threads",
        )  # fmt: skip
        yield from not_negative(self, "drain_seconds")
        for name in ("grpc_port", "rest_port"):
            if not 1024 <= getattr(self, name) <= 65535:
                yield f"{name}: 1024 to 65535 (the server is not root)."
        if self.grpc_port == self.rest_port:
            yield "rest_port: must differ from grpc_port."
        if self.autoscaling.metric == "queue_ms" and self.batching is None:
            yield "autoscaling.metric: queue_ms needs batching."
