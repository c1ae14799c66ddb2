"""Reads what a pipeline run left in its metadata."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Run:
    """Where a finished run put things.

    Attributes:
        blessed: whether Evaluator blessed the model.
        pushed: directory of the pushed version; None where nothing was pushed.
        model: directory of the exported SavedModel.
        examples: uri of the tf.Examples.
        evaluation: uri of TFMA's results.
        cached: component -> whether the cache served it.
    """

    blessed: bool
    pushed: str | None
    model: str
    examples: str
    evaluation: str
    cached: dict[str, bool]

    def counts(self) -> dict[str, Any]:
        """`counts.json` of the examples."""
        with open(os.path.join(self.examples, "counts.json"), encoding="utf-8") as file:
            counts: dict[str, Any] = json.load(file)
        return counts


def latest_run(metadata: str) -> Run:
    """The newest run in a SQLite metadata file."""
    from ml_metadata import MetadataStore
    from ml_metadata.proto import metadata_store_pb2 as mlmd
    from tfx.orchestration.metadata import sqlite_metadata_connection_config

    store = MetadataStore(sqlite_metadata_connection_config(metadata))
    run = max(store.get_contexts_by_type("pipeline_run"), key=lambda c: c.id)
    outputs: dict[str, Any] = {}
    cached: dict[str, bool] = {}
    for execution in store.get_executions_by_context(run.id):
        component = execution.type.rsplit(".", 1)[-1]
        state = mlmd.Execution.State
        cached[component] = execution.last_known_state == state.CACHED
        events = store.get_events_by_execution_ids([execution.id])
        out = [e for e in events if e.type == mlmd.Event.OUTPUT]
        for artifact in store.get_artifacts_by_id([e.artifact_id for e in out]):
            outputs[artifact.type] = artifact
    blessing = outputs["ModelBlessing"].custom_properties["blessed"].int_value == 1
    properties = outputs["PushedModel"].custom_properties
    pushed = properties["pushed_destination"].string_value
    return Run(
        blessed=blessing,
        pushed=pushed if properties["pushed"].int_value == 1 else None,
        model=os.path.join(outputs["Model"].uri, "Format-Serving"),
        examples=outputs["Examples"].uri,
        evaluation=outputs["ModelEvaluation"].uri,
        cached=cached,
    )
