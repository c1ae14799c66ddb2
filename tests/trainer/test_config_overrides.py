"""`--set key.path=value`: keys of a config's file that are changed without an editor."""

from pathlib import Path

import pytest

from tests.trainer.test_config import MINIMAL
from trainer import config as c


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    path = tmp_path / "demo.yaml"
    path.write_text(c.to_yaml(c.from_mapping(MINIMAL)), "utf-8")
    return path


def test_set_finds_list_items_by_name_and_by_index(demo: Path) -> None:
    config = c.load(
        demo,
        [
            "inputs.xray.height=32",
            "inputs.0.width=16",
            "heads.finding.classes.1=c",
            "training.learning_rate=1e-2",
            "data.split.column=part",
            "fusion={kind: gated, dim: 8}",
        ],
    )
    image, finding = config.inputs[0], config.heads[0]
    assert isinstance(image, c.ImageInput)
    assert isinstance(finding, c.ClassificationHead)
    assert (image.height, image.width) == (32, 16)
    assert finding.classes == ("a", "c")
    assert config.training.learning_rate == 0.01
    assert config.data.split.column == "part"
    assert config.fusion == c.GatedFusion(dim=8)


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("seed", "expected key.path=value. Received: 'seed'"),
        ("inputs.xrai.height=3", "no 'xrai' here. Did you mean 'xray'?"),
        ("inputs.1.height=3", "no '1' here."),
        ("name.first=3", "'name' is not a mapping"),
        ("seed.a.b=3", "nothing lies under 'a'"),
        ("seed=[", "seed: not a YAML value"),
        ("training.epoch=3", "training.epoch: unknown key. Did you mean 'epochs'?"),
    ],
)
def test_set_refuses_paths_that_lead_nowhere(
    demo: Path, override: str, part: str
) -> None:
    with pytest.raises(c.ConfigError) as caught:
        c.load(demo, [override])
    assert part in str(caught.value)
