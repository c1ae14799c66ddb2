"""The models of a server, found by what a request's ModelSpec says."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tensorflow_serving.apis import get_model_status_pb2

from serving.metrics import Metrics
from serving.model_config import ServedModel, served_models
from serving.request_log import RequestLogs
from serving.servable import Servable
from serving.status import ServingError
from serving.version_state import LoadPolicy, State
from serving.versions import ModelVersions

_log = logging.getLogger(__name__)


class Models:
    """Model name -> its versions, by a config that may be replaced.

    Args:
        config: `ModelServerConfig`; see `serving.model_config`.
        policy: when to look for versions and how often to try to load one.
        metrics: hears of every load and change of state.
        request_logs: told which models log their requests.
        allow_unavailable_labels: whether a label that is new may point at a version
            that is not available.
        load_threads: versions that are loaded at a time; 0 is one.
        no_reload: why `reload` is refused, if it is.

    Raises:
        ServingError: INVALID_ARGUMENT for an unusable config, FAILED_PRECONDITION for
            a label on a version that is not available.
    """

    def __init__(
        self,
        config: Any,
        policy: LoadPolicy | None = None,
        *,
        metrics: Metrics | None = None,
        request_logs: RequestLogs | None = None,
        allow_unavailable_labels: bool = False,
        load_threads: int = 0,
        no_reload: str = "",
    ) -> None:
        self._no_reload = no_reload
        self._policy = policy or LoadPolicy()
        self._metrics = metrics or Metrics()
        self._request_logs = request_logs or RequestLogs()
        self._allow_unavailable_labels = allow_unavailable_labels
        self._load_slots = threading.Semaphore(max(1, load_threads))
        self._models: dict[str, ModelVersions] = {}
        self._labels: dict[str, Mapping[str, int]] = {}
        self._started = False
        self._changing = threading.Lock()
        if config.WhichOneof("config") is None:
            _log.warning("the model config is empty: nothing is served until a reload")
        else:
            self.apply(config)

    def start(self) -> None:
        """Begins to watch the models' folders."""
        with self._changing:
            self._started = True
            for model in self._models.values():
                model.start()

    def ready(self) -> bool:
        """Whether every configured model has a version that answers requests."""
        return all(
            any(one.state == State.AVAILABLE for one in model.statuses())
            for model in self._models.values()
            if not model.removed
        )

    def wait_first_look(self, timeout_s: float) -> bool:
        """Waits until what is on disk at the start was loaded, or failed to."""
        end = time.monotonic() + timeout_s
        return all(
            model.wait_first_look(max(0.0, end - time.monotonic()))
            for model in list(self._models.values())
        )

    def stop(self) -> bool:
        """Ends the watch; False if a load is still going on."""
        with self._changing:
            stopped = [model.stop() for model in self._models.values()]
        return all(stopped)

    def reload(self, config: Any, cancelled: threading.Event | None = None) -> None:
        """Replaces the whole config and waits for the models that are new in it.

        Args:
            config: `ModelServerConfig`.
            cancelled: ends the wait when set; the new config stays.

        Raises:
            ServingError: as the constructor, with nothing changed; UNKNOWN where a new
                model did not become available, with the config changed.
        """
        if self._no_reload:
            raise ServingError.failed_precondition(self._no_reload)
        failures = []
        for model in self.apply(config):
            try:
                while not model.wait_served(timeout_s=0.1):
                    if cancelled is not None and cancelled.is_set():
                        return
            except ServingError as error:
                failures.append(error.message)
        if failures:
            raise ServingError.unknown("; ".join(failures))

    def apply(self, config: Any) -> list[ModelVersions]:
        """Replaces the whole config; returns the models that are new in it.

        Raises:
            ServingError: as the constructor, with nothing changed.
        """
        served = served_models(config)
        with self._changing:
            self._check_labels(served)
            self._request_logs.configure(
                {one.name: one.logging for one in served if one.logging is not None}
            )
            for one in served:
                if one.labels != self._labels.get(one.name, {}):
                    _log.info("labels of model %s: %s", one.name, dict(one.labels))
            self._labels = {one.name: one.labels for one in served}
            added = [one for one in served if self._configure(one)]
            kept = {one.name for one in served}
            for name, model in self._models.items():
                if name not in kept and not model.removed:
                    _log.info("removing model %s", name)
                    model.remove()
            self._metrics.configured(sorted(kept))
            return [self._models[one.name] for one in added]

    def _configure(self, served: ServedModel) -> bool:
        """Serves a model as the config says; whether it is a new one."""
        model = self._models.get(served.name)
        if model is not None and not model.removed:
            model.configure(served.base_path, served.versions)
            return False
        _log.info("adding model %s at %s", served.name, served.base_path)
        model = ModelVersions(
            served.name,
            served.base_path,
            self._policy,
            served.versions,
            self._metrics,
            self._load_slots,
        )
        # In place of the dict, not in it: requests look names up meanwhile.
        self._models = {**self._models, served.name: model}
        if self._started:
            model.start()
        return True

    def _check_labels(self, served: list[ServedModel]) -> None:
        for one in served:
            model = self._models.get(one.name)
            known = self._labels.get(one.name, {})
            for label, version in one.labels.items():
                if self._allow_unavailable_labels and known.get(label) in (
                    None,
                    version,
                ):
                    continue
                if model is None or model.removed or not model.available(version):
                    raise ServingError.failed_precondition(
                        f"Request to assign label to version {version} of model "
                        f"{one.name}, which is not currently available for inference"
                    )

    @contextlib.contextmanager
    def use(self, request: Any) -> Iterator[Servable]:
        """The servable that a request's `model_spec` asks for, held in the block.

        Raises:
            ServingError: INVALID_ARGUMENT for a missing or unusable ModelSpec or an
                unknown label, NOT_FOUND for a model or version that is not available,
                FAILED_PRECONDITION for a label that points at such a version.
        """
        spec = _spec(request)
        if not spec.name:
            raise ServingError.invalid("ModelSpec has no name specified.")
        held, release = self._hold(spec)
        try:
            yield held
        finally:
            release()

    def _hold(self, spec: Any) -> tuple[Servable, Callable[[], None]]:
        version = self._version(spec)
        model = self._models.get(spec.name)
        try:
            if model is None or model.removed:
                raise ServingError.no_servable(spec.name, version)
            return model.hold(version)
        except ServingError as error:
            if not spec.version_label:
                raise
            if self._version(spec) != version:  # the label has moved meanwhile
                return self._hold(spec)
            raise ServingError.failed_precondition(
                f"The label {spec.version_label} points at a version that is not "
                f"available. {error.message}"
            ) from error

    def _version(self, spec: Any) -> int | None:
        """The version that a ModelSpec asks for; None for the highest."""
        choice = spec.WhichOneof("version_choice")
        if choice == "version":
            return int(spec.version.value)
        if choice is None:
            return None
        version = self._labels.get(spec.name, {}).get(spec.version_label)
        if version is None:
            raise ServingError.invalid(
                f"Unrecognized servable version label: {spec.version_label}"
            )
        return version

    def status(self, request: Any) -> Any:
        """Answers a `GetModelStatusRequest`, the newest version first.

        Raises:
            ServingError: INVALID_ARGUMENT or NOT_FOUND.
        """
        spec = _spec(request)
        model = self._models.get(spec.name)
        found = model.statuses() if model else []
        version = self._version(spec)
        if version is not None:
            found = [one for one in found if one.version == version]
            if not found:
                raise ServingError.not_found(
                    f"Could not find version {version} of model {spec.name}"
                )
        if not found:
            raise ServingError.not_found(
                f"Could not find any versions of model {spec.name}"
            )
        response = get_model_status_pb2.GetModelStatusResponse()
        for one in found:
            status = response.model_version_status.add()
            status.version = one.version
            status.state = int(one.state)
            status.status.error_code = one.error_code
            status.status.error_message = one.error_message
        return response


def _spec(request: Any) -> Any:
    if not request.HasField("model_spec"):
        raise ServingError.invalid("Missing ModelSpec")
    return request.model_spec
