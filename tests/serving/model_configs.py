"""Model configs and `Models` in short, for the tests of which version answers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import get_model_status_pb2, predict_pb2
from tensorflow_serving.config import model_server_config_pb2

from serving.models import Models
from serving.status import ServingError
from serving.version_state import LoadPolicy, State

QUICK = LoadPolicy(poll_seconds=0.05, max_retries=0, retry_seconds=0.05)


def config(*models: str) -> Any:
    """A ModelServerConfig of what `model` returns."""
    text = f"model_config_list {{ {' '.join(models)} }}"
    return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())


def model(name: str, base: Path, more: str = "") -> str:
    """A model of a config, as text; `more` are further fields."""
    return (
        f'config {{ name: "{name}" base_path: "{base}" '
        f'model_platform: "tensorflow" {more} }}'
    )


def specific(*versions: int) -> str:
    """The policy that serves exactly these."""
    listed = "".join(f"versions: {one} " for one in versions)
    return f"model_version_policy {{ specific {{ {listed} }} }} "


def label(name: str, version: int) -> str:
    """A label, as a field of a model."""
    return f'version_labels {{ key: "{name}" value: {version} }} '


def spec(name: str, version: int | None = None, label: str | None = None) -> Any:
    """A request that asks for a model."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    if version is not None:
        request.model_spec.version.value = version
    if label is not None:
        request.model_spec.version_label = label
    return request


def answer(models: Models, request: Any) -> float:
    """0 / 2 + offset: which model and version it came from."""
    with models.use(request) as servable:
        found = servable.run("", {"x": np.zeros(1, np.float32)})
        return float(found["y"][0])


def refusal(models: Models, request: Any) -> tuple[str, str]:
    """Code and message of the error that a request gets."""
    with pytest.raises(ServingError) as caught, models.use(request):
        pass
    return caught.value.code.name, caught.value.message


def states(models: Models, name: str) -> dict[int, str]:
    """Version -> state, of what is known of a model."""
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = name
    found = models.status(request).model_version_status
    return {one.version: State(one.state).name for one in found}
