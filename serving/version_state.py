"""What is known of one version, and by which rules versions are served."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from serving.servable import Servable


class State(enum.IntEnum):
    """Life of a version, with the numbers of `ModelVersionStatus.State`."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True)
class VersionStatus:
    """State of one version; code and message tell its last error, 0 and "" if none."""

    version: int
    state: State
    error_code: int
    error_message: str


@dataclass(frozen=True)
class VersionPolicy:
    """Which of the versions on disk are served: TF Serving's ServableVersionPolicy.

    Attributes:
        latest: how many of the highest numbers; None is all of them.
        specific: exactly these numbers, whatever `latest` says; None: by `latest`.
    """

    latest: int | None = 1
    specific: tuple[int, ...] | None = None

    def choose(self, found: Mapping[int, str]) -> dict[int, str]:
        """Those of `found`, number -> directory, that are to be served."""
        if self.specific is not None:
            return {
                number: found[number] for number in self.specific if number in found
            }
        newest = sorted(found, reverse=True)[: self.latest]
        return {number: found[number] for number in newest}


@dataclass(frozen=True)
class LoadPolicy:
    """When to look for versions, how often to try and how to load.

    `poll_seconds` 0 looks once only. A version that fails is tried `max_retries` times
    more, `retry_seconds` apart, and at once when its files have changed since and then
    stayed the same from one poll to the next: a copy that was still going on.
    `warm_up` runs the requests that came with the model, each `warm_up_iterations`
    times. `tags` are those of the graph in the SavedModel.
    """

    poll_seconds: float = 1.0
    max_retries: int = 5
    retry_seconds: float = 60.0
    warm_up: bool = True
    warm_up_iterations: int = 1
    tags: tuple[str, ...] = ("serve",)


@dataclass(eq=False)
class Version:
    """One version directory, from when it was first seen."""

    number: int
    path: str
    state: State = State.START
    error_code: int = 0
    error_message: str = ""
    servable: Servable | None = None
    users: int = 0
    """Requests that hold it."""
    failures: int = 0
    """Load attempts that failed since its files last changed."""
    next_try: float = 0.0
    tried_files: object = field(default=None, repr=False)
    seen_files: object = field(default=None, repr=False)

    @property
    def tried(self) -> bool:
        """Whether a load was attempted, whatever came of it."""
        return self.state == State.AVAILABLE or self.failures > 0

    def due(self, files: object, now: float) -> bool:
        """Whether to try to load it now, seeing what `fingerprint` says of its files.

        To be asked once at each poll: it remembers what it saw.
        """
        settled = files == self.seen_files
        self.seen_files = files
        if self.tried_files is None:
            return True
        if settled and files != self.tried_files:
            self.failures = 0
            return True
        waiting = self.state == State.LOADING and files == self.tried_files
        return waiting and now >= self.next_try
