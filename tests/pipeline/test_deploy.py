"""`polymodal deploy` as it is typed: what it writes, prints and refuses."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from pipeline.cli import main
from pipeline.deploy.documents import Document
from pipeline.deploy.plan import newest_version
from pipeline.views import ingestion_view, training_view, transform_view
from tests.pipeline.deployments import config, objects, pushed, rendered
from trainer.config import ConfigError, to_yaml


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a config and a pushed model in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "emoji.yaml").write_text(to_yaml(config()), encoding="utf-8")
    pushed(tmp_path / "pushed/Emoji_1", "0007", "10")
    return tmp_path


def deploy(*words: str) -> Result:
    models = () if "--models" in words else ("--models", "pushed/Emoji_1")
    return CliRunner().invoke(main, ["deploy", "emoji.yaml", *models, *words])


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_it_writes_all_targets_and_prints_what_to_type(folder: Path) -> None:
    done = deploy("--output", "out/here")
    assert done.exit_code == 0, done.output
    files = tree(folder / "out/here")
    assert {
        "NEXT_STEPS.md", "compose.yaml", "config/models.config",
        "config/batching.config", "config/monitoring.config",
        "kubernetes/deployment.yaml", "kserve/inferenceservice.yaml",
        "storage/claim.yaml", "monitoring/servicemonitor.yaml",
        "monitoring/adapter/values.yaml", "prometheus/prometheus.yml",
    } <= set(files)  # fmt: skip
    first, rest = done.output.split("\n\n", 1)
    assert first == f"wrote {len(files)} files to out/here"
    assert rest.encode() == files["NEXT_STEPS.md"]
    # compose.yaml's own folder is where its paths begin.
    compose = yaml.safe_load(files["compose.yaml"])
    sources = [m["source"] for m in compose["services"]["model-server"]["volumes"]]
    assert sources == ["./config", "../../pushed/Emoji_1"]
    assert (folder / "out/here" / sources[1]).resolve() == folder / "pushed/Emoji_1"


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        ("compose", {"config", "prometheus", "compose.yaml"}),
        ("kubernetes", {"kubernetes", "storage", "monitoring"}),
        ("kserve", {"kserve", "storage"}),
    ],
)
def test_one_target(folder: Path, target: str, wanted: set[str]) -> None:
    assert deploy("--target", target).exit_code == 0
    found = {path.name for path in (folder / "deploy").iterdir()}
    assert found == wanted | {"NEXT_STEPS.md"}


def test_every_file_that_the_steps_name_is_there(folder: Path) -> None:
    for name in ("compose", "kubernetes", "kserve", "all"):
        assert deploy("--target", name, "--output", name).exit_code == 0
        text = (folder / name / "NEXT_STEPS.md").read_text("utf-8")
        blocks = re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        words = [w for block in blocks for w in shlex.split(block, comments=True)]
        named = [w for w in words if w.startswith((f"{name}/", "pushed/"))]
        assert len(named) >= 2
        assert [w for w in named if not (folder / w).exists()] == []
    # The newest version, by number, goes to the claim as a whole.
    assert "kubectl cp pushed/Emoji_1/10 serving/emoji-1-loader:" in text
    assert newest_version(folder / "pushed/Emoji_1") == "10"


def test_the_same_again_gives_the_same_bytes(folder: Path) -> None:
    for words in ((), ("--gpu", "--server", "polymodal")):
        assert deploy("--output", "out", "--force", *words).exit_code == 0
        first = tree(folder / "out")
        assert deploy("--output", "out", *words).exit_code == 0
        assert tree(folder / "out") == first


def test_edits_are_kept_unless_told(folder: Path) -> None:
    assert deploy().exit_code == 0
    edited = folder / "deploy/kubernetes/service.yaml"
    edited.write_text("# mine\n", encoding="utf-8")
    before = tree(folder / "deploy")
    done = deploy("--gpu")
    assert done.exit_code == 2
    assert "nothing was written. --force overwrites them." in done.output
    assert tree(folder / "deploy") == before
    assert deploy("--gpu", "--force").exit_code == 0
    assert edited.read_text("utf-8") != "# mine\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--models", "nowhere"], "no version folder such as nowhere/1/saved_model.pb"),
        (["--models", "pushed"], "Did you mean pushed/Emoji_1?"),
        (["--models", "ftp://host/x"], "expected a folder, gs://BUCKET/PATH"),
        (["--models", "gs://"], "names no bucket or claim"),
        (["--models", "pvc://claim/x"], "compose has no PersistentVolumeClaims"),
        (["--models", "s3://bucket/x"], "reads no s3:// since 2.7"),
        (["--set", "serving.grpc_prot=1"], "Did you mean 'grpc_port'?"),
    ],
)
def test_refusals_say_what_would_do(folder: Path, words: list[str], said: str) -> None:
    done = deploy(*words)
    assert done.exit_code == 2
    assert said in done.output
    assert not (folder / "deploy").exists()


def test_s3_is_for_our_server_and_for_kserve(folder: Path) -> None:
    place = ("--models", "s3://bucket/emoji")
    assert deploy(*place, "--server", "polymodal").exit_code == 0
    deployment = (folder / "deploy/kubernetes/deployment.yaml").read_text("utf-8")
    assert "persistentVolumeClaim" not in deployment
    assert deploy(*place, "--target", "kserve", "--output", "k").exit_code == 0
    assert "storageUri: s3://bucket/emoji" in (
        folder / "k/kserve/inferenceservice.yaml"
    ).read_text("utf-8")


def test_set_overrides_the_config(folder: Path) -> None:
    assert deploy("--set", "serving.replicas.maximum=33").exit_code == 0
    text = (folder / "deploy/kubernetes/horizontalpodautoscaler.yaml").read_text(
        "utf-8"
    )
    assert "maxReplicas: 33" in text


def test_gpu_and_server_change_every_target(folder: Path) -> None:
    assert deploy("--output", "plain").exit_code == 0
    assert deploy("--output", "gpu", "--gpu").exit_code == 0
    assert deploy("--output", "ours", "--server", "polymodal").exit_code == 0
    plain = tree(folder / "plain")
    for name in (
        "compose.yaml", "kubernetes/deployment.yaml", "kserve/servingruntime.yaml",
        "kserve/inferenceservice.yaml",
    ):  # fmt: skip
        assert tree(folder / "gpu")[name] != plain[name]
        assert tree(folder / "ours")[name] != plain[name]


def test_a_python_image_gets_the_server_by_pip() -> None:
    files = rendered("gs://bucket/emoji", "polymodal", gpu=True)
    pins = dict(
        line.split("==")
        for line in files["config/requirements.txt"].splitlines()
        if not line.startswith("#")
    )
    assert pins["tensorflow"].startswith("2.16.")
    assert pins["nvidia-cudnn-cu12"]  # not installed here: as tensorflow pins it
    assert not {"tfx", "apache-beam", "pytest", "gradio"} & set(pins)
    spec = objects(files, "kubernetes")["Deployment", "emoji-1"]["spec"]["template"][
        "spec"
    ]
    (install,) = spec["initContainers"]
    assert install["command"][:4] == ["python", "-m", "pip", "install"]
    assert install["command"][-1] == "polymodal"
    assert "--requirement=/config/requirements.txt" in install["command"]
    (server,) = spec["containers"]
    env = {entry["name"]: entry["value"] for entry in server["env"]}
    assert env["PYTHONPATH"] == "/server"
    assert "/server/nvidia/cudnn/lib" in env["LD_LIBRARY_PATH"].split(":")
    by_volume = {m["mountPath"]: m["name"] for m in install["volumeMounts"]}
    assert {"name": by_volume["/server"], "mountPath": "/server", "readOnly": True} in (
        server["volumeMounts"]
    )
    # Bucket and index are reached by HTTPS, names by DNS.
    policy = objects(files, "kubernetes")["NetworkPolicy", "emoji-1"]["spec"]
    ports = [p["port"] for rule in policy["egress"] for p in rule.get("ports", ())]
    assert ports == [53, 53, 443]


def test_no_result_of_training_depends_on_serving() -> None:
    one, other = config(), config(grpc_port=9000, replicas={"maximum": 50})
    assert one != other
    for view in (ingestion_view, transform_view):
        assert view(one) == view(other)
    (stage,) = one.resolved_stages()
    assert training_view(one, stage) == training_view(other, stage)


@pytest.mark.parametrize(
    ("serving", "said"),
    [
        ({"grpc_port": 8501}, "rest_port: must differ"),
        ({"rest_port": 80}, "rest_port: 1024 to 65535"),
        ({"replicas": {"minimum": 3, "maximum": 2}}, "minimum: must not be above"),
        ({"batching": {"max_batch_size": 8, "allowed_batch_sizes": [4]}}, "end in max"),
        ({"batching": {"allowed_batch_sizes": [32, 32]}}, "must rise"),
        ({"versions": {"policy": "specific"}}, "give version numbers"),
        ({"versions": {"specific": [3]}}, "and only then"),
        (
            {
                "versions": {
                    "policy": "specific",
                    "specific": [3],
                    "labels": {"canary": 4},
                }
            },
            "labels.canary: version 4",
        ),
        ({"batching": None, "autoscaling": {"metric": "queue_ms"}}, "needs batching"),
        ({"autoscaling": {"cpu_utilization": 70}}, "must be in [0, 1]"),
        ({"request_log": {"sampling_rate": 2}}, "must be in [0, 1]"),
        ({"resources": {"cpu": 0}}, "must be above 0"),
    ],
)
def test_a_contradiction_is_told(serving: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        config(**serving)


def test_documents_keep_their_comments_and_their_contents() -> None:
    body: dict[str, Any] = {
        "a": [{"b": 1, "c": "x\n  y\n"}, [], "t"],
        "d": {},
        "e": None,
        "f": "p\nq",
    }
    document = Document(body, "Head.", {"a.0.b": "First.", "d": "Empty."})
    assert document.text() == (
        "# Head.\n"
        "a:\n"
        "  # First.\n"
        "  - b: 1\n"
        "    c: |\n"
        "      x\n"
        "        y\n"
        "  - []\n"
        "  - t\n"
        "# Empty.\n"
        "d: {}\n"
        "e: null\n"
        "f: |-\n"
        "  p\n"
        "  q\n"
    )
    assert yaml.safe_load(document.text()) == body
    with pytest.raises(KeyError, match="a.1.b"):
        Document(body, notes={"a.1.b": "Nothing there."}).text()


def test_the_examples_are_what_deploy_writes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from scripts import deploy_examples

    assert deploy_examples.main(["--check"]) == 0, capsys.readouterr().err


def test_a_stale_example_is_noticed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from scripts import deploy_examples

    monkeypatch.setattr(deploy_examples, "ROOT", tmp_path)
    monkeypatch.setattr(deploy_examples, "TARGET", tmp_path / "examples")
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline/demo.yaml").write_text(to_yaml(config()), encoding="utf-8")
    assert deploy_examples.main([]) == 0
    assert deploy_examples.main(["--check"]) == 0
    (tmp_path / "examples/gpu/compose.yaml").unlink()
    assert deploy_examples.main(["--check"]) == 1
    assert capsys.readouterr().err == (
        "examples is stale (gpu/compose.yaml): python scripts/deploy_examples.py\n"
    )
