"""Models and the garbage collector."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from serving import memory


class Cycle:
    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("thawed")
def test_what_lives_is_out_of_sight_until_a_model_goes() -> None:
    model = Cycle()
    gone = weakref.ref(model)
    memory.settle()
    assert gc.get_freeze_count() > 0
    del model
    gc.collect()
    assert gone() is not None  # out of the collector's sight
    memory.release()
    assert gone() is None
    assert gc.get_freeze_count() > 0  # the rest stays there


def test_nothing_is_put_away_where_nobody_asked() -> None:
    """A notebook's own garbage stays the collector's."""
    gc.unfreeze()
    model = Cycle()
    gone = weakref.ref(model)
    del model
    memory.release()
    assert gone() is None
    assert gc.get_freeze_count() == 0
