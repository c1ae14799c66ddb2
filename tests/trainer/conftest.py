"""One Transform run over the clinic's twelve rows, for all tests that need one."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import samples
from trainer.config import Config
from trainer.export import to_example
from trainer.modalities import Resources


@dataclass(frozen=True)
class Clinic:
    """What Transform made of `samples.clinic_rows`, and what training needs."""

    config: Config
    rows: list[dict[str, Any]]
    transformed: dict[str, np.ndarray]
    resources: Resources
    layer: Callable[[dict[str, Any]], dict[str, Any]]

    @property
    def examples(self) -> list[bytes]:
        return [to_example(row) for row in self.rows]


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, tuple) else [value]


def run_transform(config: Config, rows: list[dict[str, Any]], folder: Path) -> Any:
    """Analyzes the rows in memory; gives tft.TFTransformOutput."""
    import apache_beam as beam
    import tensorflow_transform as tft
    import tensorflow_transform.beam as tft_beam
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    from tensorflow_transform.tf_metadata import dataset_metadata

    from trainer.preprocessing import stored_spec, transform

    spec = stored_spec(config)
    metadata = dataset_metadata.DatasetMetadata.from_feature_spec(spec)
    instances = [
        {k: _listed(row[k]) if k in row else None for k in spec} for row in rows
    ]
    with (
        beam.Pipeline(runner=FnApiRunner()) as pipeline,
        tft_beam.Context(temp_dir=str(folder / "temp")),
    ):
        data = pipeline | beam.Create(instances)
        _, function = (data, metadata) | tft_beam.AnalyzeAndTransformDataset(
            lambda stored: transform(config, stored)
        )
        function | tft_beam.WriteTransformFn(str(folder / "transform"))
    return tft.TFTransformOutput(str(folder / "transform"))


@pytest.fixture(scope="session")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    from trainer.preprocessing import stored_spec
    from trainer.resources import load_resources

    config, rows = samples.clinic_config(), samples.clinic_rows()
    output = run_transform(config, rows, tmp_path_factory.mktemp("clinic"))
    layer = output.transform_features_layer()
    stored = tf.io.parse_example([to_example(r) for r in rows], stored_spec(config))
    transformed = {k: np.asarray(v) for k, v in layer(stored).items()}
    return Clinic(config, rows, transformed, load_resources(config, output), layer)
