"""Which models a server serves: TF Serving's ModelServerConfig, checked."""

import logging
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tensorflow_serving.config import model_server_config_pb2

from serving.status import ServingError
from serving.text_config import ConfigFileError, model_server_config
from serving.version_state import VersionPolicy

_log = logging.getLogger(__name__)

_PLATFORM = "tensorflow"


@dataclass(frozen=True)
class ServedModel:
    """One model of a config: where its versions are, and which are served.

    `logging` is its `LoggingConfig` proto, None where it has none.
    """

    name: str
    base_path: str
    versions: VersionPolicy
    labels: Mapping[str, int]
    logging: Any


def single_model(name: str, base_path: str, logging: Any = None) -> Any:
    """The `ModelServerConfig` of one model; a relative path is made absolute."""
    config = model_server_config_pb2.ModelServerConfig()
    if not _is_absolute(base_path):
        base_path = os.path.abspath(base_path)
    model = config.model_config_list.config.add(
        name=name, base_path=base_path, model_platform=_PLATFORM
    )
    if logging is not None:
        model.logging_config.CopyFrom(logging)
    return config


def served_models(config: Any) -> list[ServedModel]:
    """The models of a `ModelServerConfig`.

    Raises:
        ServingError: INVALID_ARGUMENT for what no model list, or no model, may be.
    """
    if config.WhichOneof("config") != "model_config_list":
        raise ServingError.invalid(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. "
            "Only ModelConfigList is currently supported"
        )
    models: dict[str, ServedModel] = {}
    for model in config.model_config_list.config:
        if not model.name:
            raise ServingError.invalid(
                f"a model of the config list has no name; its base_path is "
                f"{model.base_path!r}"
            )
        if model.name in models:
            raise ServingError.invalid(
                f"Illegal to list model {model.name} multiple times in config list"
            )
        if not _is_absolute(model.base_path):
            raise ServingError.invalid(
                f"Expected model {model.name} to have an absolute path or URI; "
                f"got base_path()={model.base_path}"
            )
        _check_platform(model)
        models[model.name] = ServedModel(
            model.name,
            model.base_path,
            _policy(model.model_version_policy),
            dict(model.version_labels),
            model.logging_config if model.HasField("logging_config") else None,
        )
    return list(models.values())


def _is_absolute(path: str) -> bool:
    return path.startswith("/") or re.match(r"[A-Za-z][\w.+-]*://", path) is not None


def _check_platform(model: Any) -> None:
    platform = model.model_platform
    if model.model_type:
        if platform:
            raise ServingError.invalid(
                "Illegal setting both ModelServerConfig::model_type (deprecated) and "
                "ModelServerConfig::model_platform."
            )
        if model.model_type != model_server_config_pb2.TENSORFLOW:
            raise ServingError.invalid(
                f"ModelServerConfig::model_type choice {model.model_type} "
                "not supported."
            )
    elif not platform:
        raise ServingError.invalid(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            "ModelServerConfig::model_platform."
        )
    elif platform != _PLATFORM:
        raise ServingError.invalid(
            f"Model {model.name} requests unsupported platform {platform}"
        )


def _policy(proto: Any) -> VersionPolicy:
    choice = proto.WhichOneof("policy_choice")
    if choice == "all":
        return VersionPolicy(latest=None)
    if choice == "specific":
        return VersionPolicy(specific=tuple(proto.specific.versions))
    # TF Serving takes 0, which is also "not given", for 1.
    return VersionPolicy(latest=max(1, proto.latest.num_versions))


class ConfigFileWatch:
    """Reads a ModelServerConfig file again and again, and hands it on.

    Each time, as TF Serving does: what the file says holds, whatever was set by
    HandleReloadConfigRequest meanwhile, and what could not be done is tried again.

    Args:
        path: the text-proto file.
        seconds: pause between two readings.
        apply: takes the `ModelServerConfig`; raises ServingError to refuse it.
    """

    def __init__(
        self, path: str, seconds: float, apply: Callable[[Any], object]
    ) -> None:
        self._path = path
        self._seconds = seconds
        self._apply = apply
        self._failure = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._watch, name="model-config-file", daemon=True
        )

    def start(self) -> None:
        """Begins to poll, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the poll."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(self._seconds):
            failure = ""
            try:
                self._apply(model_server_config(self._path))
            except (ConfigFileError, ServingError) as error:
                failure = str(error)
            except Exception as error:  # the next poll may find it mended
                _log.exception("applying %s failed", self._path)
                failure = str(error)
            if failure and failure != self._failure:
                _log.error("%s is not applied: %s", self._path, failure)
            self._failure = failure
