"""The keys that all objectives share: that it is there at all, and its weight."""

from typing import Any

import pytest
import tensorflow as tf

from tests.contracts.test_objectives import OPTIONS, changes
from tests.trainer.objective_cases import learner
from trainer import config as c
from trainer.model import Network
from trainer.objectives import OBJECTIVES


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_a_weight_is_a_factor_on_the_loss(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Network, "finished", lambda self, path: self.twin().model)
    option = c.replace(
        OPTIONS[name] or c.DistillationObjective(teacher="any"), weight=3.0
    )
    one = learner(name, option, **changes(name))
    assert list(one.objectives) == [name]
    objective: Any = one.objectives[name]
    objective.loss = lambda x, y, outputs, training: tf.constant(2.0)
    objective.track = lambda *arguments: None
    assert float(one.compute_loss({}, {}, {})) == 6.0
