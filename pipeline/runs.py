"""Reads what a pipeline run left in its metadata."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from pipeline.apply import ModelError, newest_version


@dataclass(frozen=True)
class Run:
    """Where a finished run put things.

    Attributes:
        blessed: whether Evaluator blessed the model.
        pushed: directory of the pushed version; None where nothing was pushed.
        newest: whether that version is the one that a server takes: it is there, and
            no other model was pushed after it.
        model: directory of the exported SavedModel.
        stages: stage before the last -> directory of its SavedModel.
        examples: uri of the tf.Examples.
        evaluation: uri of TFMA's results.
        cached: component -> whether the cache served it.
    """

    blessed: bool
    pushed: str | None
    newest: bool
    model: str
    stages: dict[str, str]
    examples: str
    evaluation: str
    cached: dict[str, bool]

    def counts(self) -> dict[str, Any]:
        """`counts.json` of the examples."""
        with open(os.path.join(self.examples, "counts.json"), encoding="utf-8") as file:
            counts: dict[str, Any] = json.load(file)
        return counts


def _saved_model(artifact: Any) -> str:
    return os.path.join(artifact.uri, "Format-Serving")


def _destination(pushed: Any) -> str | None:
    """Where a PushedModel went; None where nothing was pushed."""
    properties = pushed.custom_properties
    if properties["pushed"].int_value != 1:
        return None
    return str(properties["pushed_destination"].string_value)


def _newest_version(folder: str) -> str | None:
    """The version below a folder that a server takes."""
    try:
        return newest_version(folder)
    except ModelError:
        return None


def _destinations(store: Any, model: int) -> set[str]:
    """All places that any run has pushed a model to.

    Args:
        store: the MLMD store.
        model: id of the Model artifact.
    """
    read = [e.execution_id for e in store.get_events_by_artifact_ids([model])]
    events = store.get_events_by_execution_ids(read) if read else []
    written = [e.artifact_id for e in events if e.type == e.OUTPUT]
    artifacts = store.get_artifacts_by_id(written) if written else []
    places = (_destination(one) for one in artifacts if one.type == "PushedModel")
    return {place for place in places if place is not None}


def latest_run(metadata: str, pipeline: str) -> Run:
    """The newest run of a pipeline in a SQLite metadata file."""
    from ml_metadata import MetadataStore
    from ml_metadata.proto import metadata_store_pb2 as mlmd
    from tfx.orchestration.metadata import sqlite_metadata_connection_config

    store = MetadataStore(sqlite_metadata_connection_config(metadata))
    run = max(store.get_contexts_by_type("pipeline_run"), key=lambda c: c.id)
    outputs: dict[str, Any] = {}
    cached: dict[str, bool] = {}
    stages: dict[str, str] = {}
    node_type = store.get_context_type("node").id
    for execution in store.get_executions_by_context(run.id):
        # Named after the pipeline and the node: several stages are all Trainers.
        (node,) = (
            context.name
            for context in store.get_contexts_by_execution(execution.id)
            if context.type_id == node_type
        )
        component = node.removeprefix(f"{pipeline}.")
        state = mlmd.Execution.State
        cached[component] = execution.last_known_state == state.CACHED
        events = store.get_events_by_execution_ids([execution.id])
        out = [e for e in events if e.type == mlmd.Event.OUTPUT]
        for artifact in store.get_artifacts_by_id([e.artifact_id for e in out]):
            if artifact.type == "Model" and component != "Trainer":
                stages[component.removeprefix("Trainer.")] = _saved_model(artifact)
            else:
                outputs[artifact.type] = artifact
    blessing = outputs["ModelBlessing"].custom_properties["blessed"].int_value == 1
    pushed = _destination(outputs["PushedModel"])
    newest = False
    if pushed is not None:
        served = _newest_version(os.path.dirname(pushed))
        newest = served in _destinations(store, outputs["Model"].id)
        pushed = served if served is not None and newest else pushed
    return Run(
        blessed=blessing,
        pushed=pushed,
        newest=newest,
        model=_saved_model(outputs["Model"]),
        stages=stages,
        examples=outputs["Examples"].uri,
        evaluation=outputs["ModelEvaluation"].uri,
        cached=cached,
    )
