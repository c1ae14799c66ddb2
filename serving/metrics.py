"""What the server tells Prometheus: the events, and nothing of how they are counted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a page of metrics is read without TensorFlow
    from serving.tensors import Array


class Metrics:
    """Hears of every event; this one counts none (monitoring is off by default).

    Called from the event loop and from runner threads, on the hot path: an
    implementation is thread-safe and takes microseconds.
    """

    def request(
        self, model: str, api: str, entrypoint: str, status: str, seconds: float
    ) -> None:
        """A request was answered.

        Args:
            model: its name, "" where the request named none that exists.
            api: `Predict`, `Classify`, `Regress`, `MultiInference`,
                `GetModelMetadata`, `GetModelStatus`.
            entrypoint: `GRPC` or `REST`.
            status: gRPC's name of the code: `OK`, `INVALID_ARGUMENT` ...
            seconds: from the first byte read to the answer.
        """

    def examples(self, model: str, count: int) -> None:
        """A request with `count` examples (0th dimension) was accepted."""

    def run(self, model: str, version: int, api: str, seconds: float) -> None:
        """A graph ran for `seconds`."""

    def batch(self, model: str, size: int, padding: int, requests: int) -> None:
        """A batch of `size` examples (`padding` more) from `requests` requests ran."""

    def queued(self, model: str, seconds: float, size: int = 0) -> None:
        """A request of `size` examples (0: not known) waited for its batch."""

    def queue_full(self, model: str) -> None:
        """A request was refused because the batching queue was full."""

    def answers(self, model: str, version: int, outputs: Mapping[str, Array]) -> None:
        """What a Predict answered, whole: presence, classes, scores, abstentions."""

    def configured(self, models: Collection[str]) -> None:
        """These are the models to serve from now on: at the start, at each reload."""

    def load(
        self, model: str, version: int, status: str, seconds: float, path: str = ""
    ) -> None:
        """A load attempt ended, with `OK` or the name of the error's code.

        `path` is the version's folder, `seconds` without the warm-up.
        """

    def warm_up(self, status: str, seconds: float, path: str) -> None:
        """The warm-up of the version in `path` ended."""

    def state(self, model: str, version: int, state: str) -> None:
        """A version changed its state: START, LOADING, AVAILABLE, UNLOADING, END."""

    def in_flight(self, change: int) -> None:
        """A request entered (+1) or left (-1) the server."""
