"""Watches a model's versions on disk; loads, swaps and unloads them.

The newest version on disk is the wanted one. It is loaded and warmed up before any
other is let go, and another is let go only when the requests that it answers are done,
so that a swap fails no request. While the wanted one cannot be loaded, whatever serves
goes on serving.
"""

import contextlib
import enum
import gc
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from serving.predict import warm_up
from serving.servable import Servable
from serving.status import ServingError
from serving.tensors import tf
from serving.version_files import find_versions, fingerprint

_log = logging.getLogger(__name__)

# How many versions that are gone stay in the status.
_MAX_ENDED = 32
_UNKNOWN = 2  # google.rpc.Code of errors that carry none of their own


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
class LoadPolicy:
    """When to look and how often to try.

    `poll_seconds` 0 looks once only. A version that fails is tried `max_retries` times
    more, `retry_seconds` apart, and at once when its files have changed since and then
    stayed the same from one poll to the next: a copy that was still going on.
    """

    poll_seconds: float = 1.0
    max_retries: int = 5
    retry_seconds: float = 60.0
    warm_up: bool = True


class _Version:
    def __init__(self, number: int, path: str) -> None:
        self.number = number
        self.path = path
        self.state = State.START
        self.error_code = 0
        self.error_message = ""
        self.servable: Servable | None = None
        self.users = 0
        self.failures = 0
        self.next_try = 0.0
        self.tried_files: object = None
        self.seen_files: object = None


class ModelVersions:
    """All versions of one model; `start` begins to watch."""

    def __init__(
        self, name: str, base_path: str, policy: LoadPolicy | None = None
    ) -> None:
        self.name = name
        self.base_path = base_path
        self._policy = policy or LoadPolicy()
        self._versions: dict[int, _Version] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._looked = threading.Event()
        self._thread = threading.Thread(
            target=self._watch, name=f"versions-{name}", daemon=True
        )

    def start(self) -> None:
        """Begins to watch, in a thread of its own."""
        self._thread.start()

    def wait_first_look(self, timeout_s: float | None = None) -> bool:
        """Waits until what is on disk at the start was loaded, or failed to."""
        return self._looked.wait(timeout_s)

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Ends the watch; False if a load is still going on after `timeout_s`."""
        self._stopping = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @contextlib.contextmanager
    def use(self, version: int | None = None) -> Iterator[Servable]:
        """The newest available version, or a given one, held while in the block.

        Raises:
            ServingError: NOT_FOUND.
        """
        with self._lock:
            held = self._find(version)
            held.users += 1
            servable = held.servable
        assert servable is not None
        try:
            yield servable
        finally:
            with self._lock:
                held.users -= 1
                if held.state == State.UNLOADING and held.users == 0:
                    self._wake.set()

    def _find(self, version: int | None) -> _Version:
        available = [
            number
            for number, one in self._versions.items()
            if one.state == State.AVAILABLE and version in (None, number)
        ]
        if not available:
            which = (
                f"Latest({self.name})"
                if version is None
                else f"Specific({self.name}, {version})"
            )
            raise ServingError.not_found(f"Servable not found for request: {which}")
        return self._versions[max(available)]

    def statuses(self) -> list[VersionStatus]:
        """Every version that is or was, the newest first."""
        with self._lock:
            return [
                VersionStatus(number, one.state, one.error_code, one.error_message)
                for number, one in sorted(self._versions.items(), reverse=True)
            ]

    def _watch(self) -> None:
        while not self._stopping:
            self._wake.clear()
            try:
                if self._policy.poll_seconds > 0 or not self._looked.is_set():
                    self._look()
                self._drain()
            except Exception:  # a poll must not end the watch
                _log.exception("model %s: polling %s failed", self.name, self.base_path)
            self._looked.set()
            self._wake.wait(self._policy.poll_seconds or None)

    def _look(self) -> None:
        try:
            found = find_versions(self.base_path)
        except (OSError, tf.errors.OpError) as error:
            # What serves goes on: a lost mount must not unload a model.
            _log.warning("model %s: cannot read its versions: %s", self.name, error)
            return
        if not found:
            _log.warning(
                "No versions of servable %s found under base path %s",
                self.name,
                self.base_path,
            )
        wanted = self._versions.get(max(found)) if found else None
        if found and (wanted is None or self._was_replaced(wanted)):
            wanted = _Version(max(found), found[max(found)])
            self._set(wanted, State.START)
        if wanted is not None and wanted.state != State.AVAILABLE:
            self._try(wanted)
        if wanted is None or wanted.state == State.AVAILABLE:
            for one in list(self._versions.values()):
                if one is not wanted:
                    self._let_go(one)

    def _was_replaced(self, one: _Version) -> bool:
        """A version that ended well came back: it is loaded as if it were new."""
        return one.state == State.END and one.error_code == 0

    def _try(self, one: _Version) -> None:
        if one.state == State.UNLOADING:
            return  # asked for again while it drains: loaded once that is over
        files = fingerprint(one.path)
        settled = files == one.seen_files
        one.seen_files = files
        first = one.tried_files is None
        changed = not first and settled and files != one.tried_files
        due = (
            one.state == State.LOADING
            and files == one.tried_files
            and time.monotonic() >= one.next_try
        )
        if changed:
            one.failures = 0
        if first or changed or due:
            one.tried_files = files
            self._load(one)

    def _load(self, one: _Version) -> None:
        self._set(one, State.LOADING, one.error_code, one.error_message)
        began = time.monotonic()
        try:
            servable = Servable(self.name, one.number, one.path)
            warmed = warm_up(servable) if self._policy.warm_up else 0
        except Exception as error:  # whatever a damaged export raises
            self._failed(one, error)
            return
        one.servable = servable
        self._set(one, State.AVAILABLE)
        _log.info(
            "Successfully loaded servable version {name: %s version: %d} in %.1f s, "
            "%d warm-up requests",
            self.name,
            one.number,
            time.monotonic() - began,
            warmed,
        )

    def _failed(self, one: _Version, error: Exception) -> None:
        one.failures += 1
        one.next_try = time.monotonic() + self._policy.retry_seconds
        if isinstance(error, ServingError):
            code = int(error.code.value[0])
        else:
            code = int(getattr(error, "error_code", _UNKNOWN))
        message = f"{type(error).__name__}: {error}"
        given_up = one.failures > self._policy.max_retries
        self._set(one, State.END if given_up else State.LOADING, code, message)
        _log.error(
            "Loading servable {name: %s version: %d} failed (attempt %d of %d): %s",
            self.name,
            one.number,
            one.failures,
            self._policy.max_retries + 1,
            message,
        )

    def _let_go(self, one: _Version) -> None:
        if one.state == State.AVAILABLE:
            self._set(one, State.UNLOADING)
            _log.info(
                "Unloading servable version {name: %s version: %d}",
                self.name,
                one.number,
            )
        elif one.state in (State.START, State.LOADING):
            self._set(one, State.END, one.error_code, one.error_message)

    def _drain(self) -> None:
        for one in list(self._versions.values()):
            if one.state == State.UNLOADING and one.users == 0:
                one.servable = None
                gc.collect()  # a loaded SavedModel is full of reference cycles
                self._set(one, State.END)
                _log.info(
                    "Unloaded servable version {name: %s version: %d}",
                    self.name,
                    one.number,
                )
        ended = sorted(n for n, one in self._versions.items() if one.state == State.END)
        with self._lock:
            for number in ended[:-_MAX_ENDED]:
                del self._versions[number]

    def _set(self, one: _Version, state: State, code: int = 0, error: str = "") -> None:
        with self._lock:
            self._versions[one.number] = one
            one.state, one.error_code, one.error_message = state, code, error
