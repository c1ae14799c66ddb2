"""Watches a model's versions on disk; loads, swaps and unloads them.

The policy says which of the versions on disk are wanted. They are loaded and warmed up,
the highest first, before any other is let go, and another is let go only when the
requests that it answers are done, so that a swap fails no request. While no wanted one
can be loaded, whatever serves goes on serving.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator

from serving import loading, memory
from serving.metrics import Metrics
from serving.servable import Servable
from serving.status import ServingError
from serving.version_files import find_versions, fingerprint
from serving.version_state import (
    LoadPolicy,
    State,
    Version,
    VersionPolicy,
    VersionStatus,
)
from serving.version_table import VersionTable

__all__ = ["LoadPolicy", "ModelVersions", "State", "VersionPolicy", "VersionStatus"]

_log = logging.getLogger(__name__)


class ModelVersions:
    """All versions of one model; `start` begins to watch.

    Args:
        name: the model's name.
        base_path: folder or URL that holds a folder for each version.
        policy: when to look and how often to try.
        versions: which of the versions on disk are served.
        metrics: hears of every load and change of state.
        load_slots: taken for the time of a load; shared by the models of a server.
    """

    def __init__(
        self,
        name: str,
        base_path: str,
        policy: LoadPolicy | None = None,
        versions: VersionPolicy | None = None,
        metrics: Metrics | None = None,
        load_slots: threading.Semaphore | None = None,
    ) -> None:
        self.name = name
        self.removed = False
        self._place = base_path, versions or VersionPolicy()
        self._policy = policy or LoadPolicy()
        self._metrics = metrics or Metrics()
        self._load_slots = load_slots or threading.Semaphore()
        self._wake = threading.Event()
        self._table = VersionTable(name, self._metrics, self._wake.set)
        self._wanted: list[Version] = []
        self._look_now = True
        self._stopping = False
        self._warning = ""
        self._looked = threading.Event()
        self._thread = threading.Thread(
            target=self._watch, name=f"versions-{name}", daemon=True
        )

    def start(self) -> None:
        """Begins to watch."""
        self._thread.start()

    def configure(self, base_path: str, versions: VersionPolicy) -> None:
        """Watches another place, or serves others of its versions, from now on."""
        if self._place != (base_path, versions):
            self._place = base_path, versions
            self._look_now = True
            self._wake.set()

    def remove(self) -> None:
        """Unloads everything once it is not in use, then ends the watch."""
        self.removed = self._look_now = True
        self._table.notify()
        self._wake.set()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Ends the watch; False if a load is still going on after `timeout_s`."""
        self._stopping = True
        self._table.notify()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def hold(self, version: int | None = None) -> tuple[Servable, Callable[[], None]]:
        """The highest available version, or a given one, and what lets go of it.

        Raises:
            ServingError: NOT_FOUND.
        """
        return self._table.hold(version)

    @contextlib.contextmanager
    def use(self, version: int | None = None) -> Iterator[Servable]:
        """The same, held while in the block."""
        servable, release = self.hold(version)
        try:
            yield servable
        finally:
            release()

    def available(self, version: int) -> bool:
        """Whether a version answers requests."""
        return self._table.available(version)

    def statuses(self) -> list[VersionStatus]:
        """Every version that is or was, the newest first."""
        return self._table.statuses()

    def wait_first_look(self, timeout_s: float | None = None) -> bool:
        """Waits until what is on disk at the start was loaded, or failed to."""
        return self._looked.wait(timeout_s)

    def wait_served(self, timeout_s: float) -> bool:
        """Waits until a version is available; False if none is after `timeout_s`.

        Raises:
            ServingError: UNKNOWN when none will be: all have failed for good, or the
                model was removed meanwhile.
        """
        if not self._table.wait_served(timeout_s, lambda: self._ending):
            return False
        found = self._table.statuses()
        if any(one.state == State.AVAILABLE for one in found):
            return True
        why = "it is not to be served any more"
        if found and not self._ending:
            why = f"version {found[0].version}: {found[0].error_message}"
        raise ServingError.unknown(f"model {self.name} did not become available: {why}")

    def _id(self, one: Version) -> str:
        return f"{{name: {self.name} version: {one.number}}}"

    @property
    def _ending(self) -> bool:
        return self._stopping or self.removed

    def _watch(self) -> None:
        while not self._stopping:
            self._wake.clear()
            try:
                if self._policy.poll_seconds > 0 or self._look_now:
                    self._look_now = False
                    self._look()
                self._load_wanted()
                self._let_others_go()
                self._drain()
            except Exception:  # a poll must not end the watch
                _log.exception("model %s: polling %s failed", self.name, self._place[0])
            self._looked.set()
            if self.removed and not self._table.living():
                break
            self._wake.wait(self._pause())

    def _pause(self) -> float | None:
        """Seconds to the next look, or to the next try where nothing is polled."""
        if self._policy.poll_seconds > 0:
            return self._policy.poll_seconds
        tries = [one.next_try for one in self._wanted if one.state == State.LOADING]
        return max(0.01, min(tries) - time.monotonic()) if tries else None

    def _look(self) -> None:
        """Sets `_wanted` by what is on disk."""
        base_path, which = self._place
        if self.removed:
            self._wanted = []
            return
        try:
            found = find_versions(base_path)
        except OSError as error:
            # What serves goes on: a lost mount must not unload a model.
            self._warn(f"model {self.name}: cannot read its versions: {error}")
            return
        chosen = which.choose(found)
        missing = sorted(set(which.specific or ()) - set(chosen))
        if not chosen:
            self._warn(
                f"No versions of servable {self.name} found under base path {base_path}"
            )
        elif missing:
            self._warn(
                f"model {self.name}: its policy asks for the versions {missing}, "
                f"which are not under {base_path}"
            )
        else:
            self._warning = ""
        self._wanted = [
            self._known(number, chosen[number]) for number in sorted(chosen)[::-1]
        ]

    def _known(self, number: int, path: str) -> Version:
        one = self._table.get(path)
        # What is wanted again after it was not, or was being unloaded, starts anew.
        if one is None or (
            one.state == State.END and (one.error_code == 0 or one not in self._wanted)
        ):
            one = Version(number, path)
            self._table.set(one, State.START)
        return one

    def _warn(self, message: str) -> None:
        """Logs a message unless the last poll has said the same."""
        if message != self._warning:
            self._warning = message
            _log.warning("%s", message)

    def _load_wanted(self) -> None:
        for one in self._wanted:
            if self._ending:
                return
            # One that still drains is loaded once that is over.
            if one.state not in (State.AVAILABLE, State.UNLOADING):
                content = fingerprint(one.path)
                if one.due(content, time.monotonic()):
                    one.tried_files = content
                    self._load(one)

    def _load(self, one: Version) -> None:
        self._table.set(one, State.LOADING, one.error_code, one.error_message)
        while not self._load_slots.acquire(timeout=0.1):
            if self._ending:
                one.tried_files = None  # it was not tried
                return
        began = time.monotonic()
        try:
            servable, warmed = loading.load(
                self.name, one.number, one.path, self._policy, self._metrics
            )
        except ServingError as error:
            self._failed(one, error)
            return
        finally:
            self._load_slots.release()
        one.servable = servable
        self._table.set(one, State.AVAILABLE)
        _log.info(
            "Successfully loaded servable version %s in %.1f s, %d warm-up requests",
            self._id(one),
            time.monotonic() - began,
            warmed,
        )

    def _failed(self, one: Version, error: ServingError) -> None:
        one.failures += 1
        one.next_try = time.monotonic() + self._policy.retry_seconds
        given_up = one.failures > self._policy.max_retries
        state = State.END if given_up else State.LOADING
        self._table.set(one, state, int(error.code.value[0]), error.message)
        _log.error(
            "Loading servable %s failed (attempt %d of %d): %s",
            self._id(one),
            one.failures,
            self._policy.max_retries + 1,
            error.message,
        )

    def _let_others_go(self) -> None:
        """Unloads what is not wanted, once what is wanted has had its try."""
        ready = any(one.state == State.AVAILABLE for one in self._wanted)
        if self._wanted and not (ready and all(one.tried for one in self._wanted)):
            return
        for one in self._table.living():
            if one in self._wanted or one.state == State.UNLOADING:
                continue
            if one.state == State.AVAILABLE:
                self._table.set(one, State.UNLOADING)
                _log.info("Unloading servable version %s", self._id(one))
            else:
                self._table.set(one, State.END, one.error_code, one.error_message)

    def _drain(self) -> None:
        for one in self._table.living():
            if one.state == State.UNLOADING and one.users == 0:
                one.servable = None
                memory.release()
                self._table.set(one, State.END)
                _log.info("Unloaded servable version %s", self._id(one))
        self._table.forget_ended(self._wanted)
