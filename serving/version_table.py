"""The versions of one model in memory, shared by requests and the watcher."""

import functools
import threading
from collections.abc import Callable, Collection

from serving.metrics import Metrics
from serving.servable import Servable
from serving.status import ServingError
from serving.version_state import State, Version, VersionStatus

# How many versions that are gone stay in the status.
_MAX_ENDED = 32


class VersionTable:
    """Version directory -> its state; `when_unused` is called as one gets unused.

    By directory, because a number may move to another one: the base path changes.
    """

    def __init__(
        self, name: str, metrics: Metrics, when_unused: Callable[[], None]
    ) -> None:
        self._name = name
        self._metrics = metrics
        self._when_unused = when_unused
        self._versions: dict[str, Version] = {}
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)

    def hold(self, number: int | None = None) -> tuple[Servable, Callable[[], None]]:
        """The highest available version, or a given one, and what lets go of it.

        Raises:
            ServingError: NOT_FOUND.
        """
        with self._lock:
            held = self._find(number)
            held.users += 1
            servable = held.servable
        assert servable is not None
        return servable, functools.partial(self._release, held)

    def _release(self, held: Version) -> None:
        with self._lock:
            held.users -= 1
            last = held.state == State.UNLOADING and held.users == 0
        if last:
            self._when_unused()

    def _find(self, number: int | None) -> Version:
        found: Version | None = None
        for one in self._versions.values():
            # Of two directories of one number the one that was seen last.
            if (
                one.state == State.AVAILABLE
                and number in (None, one.number)
                and (found is None or one.number >= found.number)
            ):
                found = one
        if found is None:
            raise ServingError.no_servable(self._name, number)
        return found

    def available(self, number: int) -> bool:
        """Whether a version answers requests."""
        with self._lock:
            return any(
                one.number == number and one.state == State.AVAILABLE
                for one in self._versions.values()
            )

    def statuses(self) -> list[VersionStatus]:
        """Every version that is or was, the newest first."""
        with self._lock:
            last: dict[int, Version] = {}
            for one in self._versions.values():
                known = last.get(one.number)
                if known is None or known.state == State.END or one.state != State.END:
                    last[one.number] = one
            return [
                VersionStatus(number, one.state, one.error_code, one.error_message)
                for number, one in sorted(last.items(), reverse=True)
            ]

    def get(self, path: str) -> Version | None:
        """The version in a directory, if it was seen."""
        return self._versions.get(path)

    def living(self) -> list[Version]:
        """Those that have not ended."""
        return [one for one in self._versions.values() if one.state != State.END]

    def set(self, one: Version, state: State, code: int = 0, message: str = "") -> None:
        """Changes a version's state, or adds it."""
        with self._changed:
            news = state != one.state or self._versions.get(one.path) is not one
            self._versions[one.path] = one
            one.state, one.error_code, one.error_message = state, code, message
            self._changed.notify_all()
        if news:
            self._metrics.state(self._name, one.number, state.name)

    def forget_ended(self, wanted: Collection[Version]) -> None:
        """Drops the oldest of those that are gone, so that the status stays short."""
        with self._lock:
            ended = [
                one
                for one in self._versions.values()
                if one.state == State.END and one not in wanted
            ]
            for one in sorted(ended, key=lambda one: one.number)[:-_MAX_ENDED]:
                del self._versions[one.path]

    def wait_served(self, timeout_s: float, give_up: Callable[[], bool]) -> bool:
        """Waits until a version is available, all have ended, or `give_up` says so.

        Returns whether one of these came true before `timeout_s`; `notify` makes it
        look at `give_up` again.
        """

        def settled() -> bool:
            states = [one.state for one in self._versions.values()]
            failed = bool(states) and all(state == State.END for state in states)
            return State.AVAILABLE in states or failed or give_up()

        with self._changed:
            return self._changed.wait_for(settled, timeout_s)

    def notify(self) -> None:
        """Wakes who waits in `wait_served`."""
        with self._changed:
            self._changed.notify_all()
