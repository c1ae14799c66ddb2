"""Writes serving/deploy/examples: what `polymodal deploy` makes of the demo's config.

python scripts/deploy_examples.py           write them
python scripts/deploy_examples.py --check   exit status 1 where they are stale
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pipeline.deploy.plan import Models, Plan  # noqa: E402
from pipeline.deploy.write import TARGETS, render  # noqa: E402
from trainer.config import load  # noqa: E402

TARGET = ROOT / "serving/deploy/examples"
# Copies of what stands beside the examples, in serving/deploy.
LEFT_OUT = {
    "monitoring/prometheusrule.yaml",
    "monitoring/grafana-dashboard.yaml",
    "prometheus/rules.yml",
}


def examples() -> dict[str, str]:
    """Path below TARGET -> text, of the stock image with and without a GPU."""
    config = load(ROOT / "pipeline/demo.yaml")
    found = {}
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        version = Path(folder) / "pushed/demo/1700000000"
        version.mkdir(parents=True)
        (version / "saved_model.pb").touch()
        os.chdir(folder)  # as typed: polymodal deploy demo.yaml --models pushed/demo
        try:
            for name, gpu in (("cpu", False), ("gpu", True)):
                plan = Plan(config, Models("pushed/demo"), gpu=gpu)
                for path, text in render(plan, TARGETS, Path("deploy")).items():
                    if path not in LEFT_OUT:
                        found[f"{name}/{path}"] = text
        finally:
            os.chdir(before)
    return found


def main(arguments: list[str]) -> int:
    """Writes the examples, or with --check compares them."""
    wanted = examples()
    if "--check" not in arguments:
        shutil.rmtree(TARGET, ignore_errors=True)
        for name, text in wanted.items():
            path = TARGET / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return 0
    there = {
        str(path.relative_to(TARGET)): path.read_text("utf-8")
        for path in TARGET.rglob("*")
        if path.is_file()
    }
    stale = sorted(
        name for name in wanted | there if wanted.get(name) != there.get(name)
    )
    if stale:
        print(
            f"{TARGET.relative_to(ROOT)} is stale ({stale[0]}):"
            " python scripts/deploy_examples.py",
            file=sys.stderr,
        )
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
