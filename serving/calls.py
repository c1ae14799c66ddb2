"""One request's stay in the server."""

import time
from types import TracebackType

import grpc

from serving.metrics import Metrics
from serving.options import Limits
from serving.status import ServingError


class Call:
    """A request in the server; a context manager that counts and times it.

    Attributes:
        api: the method: `Predict`, `Classify` ...
        entrypoint: `GRPC` or `REST`.
        model: the model's name once it was found, for the metrics.
        deadline: `time.monotonic()` after which nobody waits for the answer, or None.
    """

    __slots__ = ("_began", "_calls", "api", "deadline", "entrypoint", "model")

    def __init__(self, calls: "Calls", api: str, entrypoint: str) -> None:
        self._calls = calls
        self._began = 0.0
        self.api = api
        self.entrypoint = entrypoint
        self.model = ""
        self.deadline: float | None = None

    def __enter__(self) -> "Call":
        self._began = time.perf_counter()
        try:
            self._calls.enter()
        except ServingError as error:
            self._told(error.code.name)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._calls.leave()
        if error is None:
            status = "OK"
        elif isinstance(error, ServingError):
            status = error.code.name
        elif isinstance(error, Exception):
            status = "INTERNAL"
        elif self.deadline is not None and self.deadline <= time.monotonic() + 0.01:
            status = "DEADLINE_EXCEEDED"  # gRPC ends the task about then
        else:
            status = "CANCELLED"  # the caller has gone
        self._told(status)

    def _told(self, status: str) -> None:
        seconds = time.perf_counter() - self._began
        self._calls.metrics.request(
            self.model, self.api, self.entrypoint, status, seconds
        )


class Calls:
    """The requests that are in a server; used on the event loop only."""

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self.metrics = metrics
        self._most = limits.max_concurrent_requests
        self._count = 0

    def enter(self) -> None:
        """Counts one more.

        Raises:
            ServingError: RESOURCE_EXHAUSTED where there are too many.
        """
        if self._count >= self._most:
            raise ServingError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{self._most} requests are in the server, which is its limit; "
                "try again later",
            )
        self._count += 1
        self.metrics.in_flight(1)

    def leave(self) -> None:
        """Counts one less."""
        self._count -= 1
        self.metrics.in_flight(-1)
