import logging
import warnings
from collections.abc import Iterator

import pytest

from serving import library_notes


@pytest.fixture
def _silenced() -> Iterator[None]:
    root = logging.getLogger()
    before = list(root.filters)
    with warnings.catch_warnings():
        library_notes.silence()
        yield
    root.filters[:] = before


@pytest.mark.usefixtures("_silenced")
def test_notes_of_libraries_are_hidden_and_nothing_else_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        library_notes.silence()
        warnings.warn(
            "You are using a Python version (3.11.7) which Google will stop supporting "
            "in new releases of google.api_core",
            FutureWarning,
            stacklevel=1,
        )
        warnings.warn("a model will change", FutureWarning, stacklevel=1)
    assert [str(one.message) for one in caught] == ["a model will change"]

    logging.warning("crcmod package not found. This package is required if ...")
    logging.warning("the disk is full")
    assert [one.getMessage() for one in caplog.records] == ["the disk is full"]
