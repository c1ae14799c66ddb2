"""TFX component: manifest and media files to tf.Examples, bad rows quarantined."""

# No `from __future__ import annotations`: TFX reads the annotations as objects.
import posixpath

import apache_beam as beam
from tfx.components.util import examples_utils
from tfx.dsl.component.experimental.annotations import (
    BeamComponentParameter,
    OutputArtifact,
    Parameter,
)
from tfx.dsl.component.experimental.decorators import component
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts

from pipeline.ingest import ingest
from trainer.config import from_json
from trainer.features import split_key


@component(use_beam=True)
def ManifestExampleGen(  # noqa: N802  a component is named like a class
    examples: OutputArtifact[standard_artifacts.Examples],
    manifest: Parameter[str],
    config: Parameter[str],
    fingerprint: Parameter[str],
    report_dir: Parameter[str] = "",
    code: Parameter[str] = "",
    beam_pipeline: BeamComponentParameter[beam.Pipeline] = None,
) -> None:
    """Reads a manifest into `examples`.

    Args:
      examples: Gets `Split-NAME/`, `quarantine/` and `counts.json`.
      manifest: Path or URL of the manifest.
      config: The model's config, by `trainer.config.to_json`.
      fingerprint: `pipeline.scan.scan(...).fingerprint`: TFX's cache serves this
        component as long as it stays; empty = not compared.
      report_dir: Where the quarantine is copied to before the component fails, since
        TFX deletes a failed component's output; empty = beside the output.
      code: Version of the code that reads rows: new code, new examples.
      beam_pipeline: Made by TFX from the pipeline's beam_pipeline_args.
    """
    uri = examples.uri.rstrip("/")
    if not report_dir:
        component = posixpath.dirname(posixpath.dirname(uri))
        report_dir = posixpath.join(component, "quarantine", posixpath.basename(uri))
    counts = ingest(
        beam_pipeline, from_json(config), manifest, uri, report_dir, fingerprint
    )
    names = sorted(map(split_key, counts.splits))
    examples.split_names = artifact_utils.encode_split_names(names)
    examples_utils.set_payload_format(
        examples, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE
    )
    examples_utils.set_file_format(examples, "tfrecords_gzip")
    if fingerprint:
        examples.set_string_custom_property("input_fingerprint", fingerprint)
    examples.set_string_custom_property("rows_written", str(counts.written))
    examples.set_string_custom_property("rows_quarantined", str(counts.quarantined))
