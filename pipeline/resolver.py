"""Which model a candidate is compared with."""

from __future__ import annotations

from typing import Any

from tfx.dsl.components.common import resolver
from tfx.types import standard_artifacts


class BlessedBefore(resolver.ResolverStrategy):
    """The latest blessed model that is older than the candidate.

    TFX's own LatestBlessedModelStrategy finds the candidate itself when a pipeline
    runs again on unchanged input; Evaluator's inputs then differ from the first
    run's, and it and Pusher run again for nothing. Inputs: `candidate`, `model`,
    `model_blessing`.
    """

    def resolve_artifacts(
        self, store: Any, input_dict: dict[str, list[Any]]
    ) -> dict[str, list[Any]]:
        """Keeps at most one model, with its blessing, and the candidate."""
        candidates = input_dict["candidate"]
        newest = max(a.id for a in candidates) if candidates else None
        blessings = {
            a.get_int_custom_property("current_model_id"): a
            for a in input_dict["model_blessing"]
            if isinstance(a, standard_artifacts.ModelBlessing)
            and a.get_int_custom_property("blessed") == 1
        }
        older = [
            a
            for a in input_dict["model"]
            if a.id in blessings and (newest is None or a.id < newest)
        ]
        best = max(older, key=lambda a: a.id, default=None)
        return {
            "candidate": candidates,
            "model": [best] if best is not None else [],
            "model_blessing": [blessings[best.id]] if best is not None else [],
        }
