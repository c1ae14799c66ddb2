"""The models of a server, found by what a request's ModelSpec says."""

import contextlib
from collections.abc import Iterator
from typing import Any

from tensorflow_serving.apis import get_model_status_pb2

from serving.servable import Servable
from serving.status import ServingError
from serving.versions import ModelVersions


class Models:
    """Model name -> its versions."""

    def __init__(self, *models: ModelVersions) -> None:
        self._models = {model.name: model for model in models}

    @contextlib.contextmanager
    def use(self, request: Any) -> Iterator[Servable]:
        """The servable that a request's `model_spec` asks for, held in the block.

        Raises:
            ServingError: INVALID_ARGUMENT for a missing or unusable ModelSpec,
                NOT_FOUND for a model or version that is not available.
        """
        if not request.HasField("model_spec"):
            raise ServingError.invalid("Missing ModelSpec")
        spec = request.model_spec
        if not spec.name:
            raise ServingError.invalid("ModelSpec has no name specified.")
        choice = spec.WhichOneof("version_choice")
        if choice == "version_label":
            raise ServingError.invalid(
                f"Unrecognized servable version label: {spec.version_label}"
            )
        version = spec.version.value if choice == "version" else None
        model = self._models.get(spec.name)
        if model is None:
            which = f"Latest({spec.name})"
            if version is not None:
                which = f"Specific({spec.name}, {version})"
            raise ServingError.not_found(f"Servable not found for request: {which}")
        with model.use(version) as servable:
            yield servable

    def status(self, request: Any) -> Any:
        """Answers a `GetModelStatusRequest`, the newest version first.

        Raises:
            ServingError: INVALID_ARGUMENT or NOT_FOUND.
        """
        if not request.HasField("model_spec"):
            raise ServingError.invalid("Missing ModelSpec")
        spec = request.model_spec
        if spec.WhichOneof("version_choice") == "version_label":
            raise ServingError.invalid(
                f"Unrecognized servable version label: {spec.version_label}"
            )
        model = self._models.get(spec.name)
        found = model.statuses() if model else []
        if spec.HasField("version"):
            found = [one for one in found if one.version == spec.version.value]
            if not found:
                raise ServingError.not_found(
                    f"Could not find version {spec.version.value} of model {spec.name}"
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
