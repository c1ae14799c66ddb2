"""Labels of versions, and a canary by them."""

import threading
from pathlib import Path
from typing import Any

import pytest
from tensorflow_serving.apis import get_model_status_pb2

from serving.models import Models
from serving.status import ServingError
from tests.serving.conftest import wait_until
from tests.serving.model_configs import (
    QUICK,
    answer,
    config,
    label,
    model,
    refusal,
    spec,
    specific,
    states,
)


class TestLabels:
    def test_at_the_start_they_need_the_flag(self, stored_models: Path) -> None:
        text = model("a", stored_models / "a", label("stable", 10))
        with pytest.raises(ServingError) as caught:
            Models(config(text), QUICK)
        assert caught.value.code.name == "FAILED_PRECONDITION"
        assert caught.value.message == (
            "Request to assign label to version 10 of model a, "
            "which is not currently available for inference"
        )

    def test_they_choose_versions(self, stored_models: Path, start_models: Any) -> None:
        text = specific(1, 2) + label("stable", 1) + label("canary", 2)
        models = start_models(
            model("a", stored_models / "a", text + label("gone", 7)),
            allow_unavailable_labels=True,
        )
        assert answer(models, spec("a", label="stable")) == 1.5
        assert answer(models, spec("a", label="canary")) == 2.5
        assert refusal(models, spec("a", label="x")) == (
            "INVALID_ARGUMENT",
            "Unrecognized servable version label: x",
        )
        assert refusal(models, spec("b", label="stable"))[0] == "INVALID_ARGUMENT"
        assert refusal(models, spec("a", label="gone")) == (
            "FAILED_PRECONDITION",
            "The label gone points at a version that is not available. "
            "Servable not found for request: Specific(a, 7)",
        )
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "a"
        request.model_spec.version_label = "canary"
        (only,) = models.status(request).model_version_status
        assert only.version == 2
        request.model_spec.version_label = "x"
        with pytest.raises(ServingError, match="Unrecognized"):
            models.status(request)

    def test_a_canary_step_by_step(
        self, stored_models: Path, start_models: Any
    ) -> None:
        base = stored_models / "a"
        models = start_models(model("a", base, specific(1)))
        models.reload(config(model("a", base, specific(1) + label("stable", 1))))
        # Not before it is loaded, whatever the flag says: the label exists already.
        both = specific(1, 2) + label("stable", 2)
        with pytest.raises(ServingError, match="label to version 2 of model a"):
            models.reload(config(model("a", base, both)))
        assert states(models, "a") == {1: "AVAILABLE"}  # nothing was changed
        both = specific(1, 2) + label("stable", 1)
        models.reload(config(model("a", base, both)))
        wait_until(lambda: states(models, "a") == {1: "AVAILABLE", 2: "AVAILABLE"})
        both += label("canary", 2)
        models.reload(config(model("a", base, both)))
        assert answer(models, spec("a", label="stable")) == 1.5
        assert answer(models, spec("a", label="canary")) == 2.5
        models.reload(config(model("a", base, specific(2) + label("stable", 2))))
        assert answer(models, spec("a", label="stable")) == 2.5
        wait_until(lambda: states(models, "a") == {1: "END", 2: "AVAILABLE"})
        assert refusal(models, spec("a", label="canary"))[0] == "INVALID_ARGUMENT"

    def test_the_flag_is_for_new_labels(
        self, stored_models: Path, start_models: Any
    ) -> None:
        base = stored_models / "a"
        models = start_models(
            model("a", base, specific(1) + label("stable", 1)),
            allow_unavailable_labels=True,
        )
        moved = specific(1, 2) + label("stable", 2)
        with pytest.raises(ServingError) as caught:
            models.apply(config(model("a", base, moved)))
        assert caught.value.code.name == "FAILED_PRECONDITION"
        assert answer(models, spec("a", label="stable")) == 1.5
        new = specific(1, 2) + label("stable", 1) + label("canary", 2)
        models.apply(config(model("a", base, new)))
        wait_until(lambda: states(models, "a").get(2) == "AVAILABLE")
        assert answer(models, spec("a", label="canary")) == 2.5


def test_a_moved_label_fails_no_request(stored_models: Path, start_models: Any) -> None:
    base = stored_models / "a"
    models = start_models(model("a", base, specific(1, 2)))
    models.reload(config(model("a", base, specific(1, 2) + label("now", 1))))
    done = threading.Event()
    found: set[float] = set()
    errors: list[ServingError] = []

    def ask() -> None:
        while not done.is_set():
            try:
                found.add(answer(models, spec("a", label="now")))
            except ServingError as error:
                errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_until(lambda: bool(found))
    models.reload(config(model("a", base, specific(2) + label("now", 2))))
    wait_until(lambda: states(models, "a") == {1: "END", 2: "AVAILABLE"})
    wait_until(lambda: 2.5 in found)
    done.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert found == {1.5, 2.5}
