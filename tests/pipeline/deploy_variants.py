"""The variants of a deployment that the tests of its files go through, as fixtures."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.pipeline.deployments import pushed, rendered

Variant = tuple[str, bool, str]
VARIANTS = list(
    itertools.product(
        ("tensorflow", "polymodal"), (False, True), ("folder", "gs://bucket/emoji")
    )
)


@pytest.fixture(params=VARIANTS, ids=lambda v: "-".join(map(str, v)), scope="module")
def variant(request: pytest.FixtureRequest) -> Variant:
    found: Variant = request.param
    return found


@pytest.fixture(scope="module")
def files(variant: Variant, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    server, gpu, place = variant
    models: str | Path = place
    if place == "folder":
        models = pushed(tmp_path_factory.mktemp("models"))
    return rendered(
        models,
        server,
        gpu,
        request_log={"sampling_rate": 0.5},
        versions={"labels": {"stable": 7}},
        grpc_port=8600,
        rest_port=8601,
    )
