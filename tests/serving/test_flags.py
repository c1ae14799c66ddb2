"""The flags as a whole: defaults, spellings, and that each one has an effect."""

import importlib
from pathlib import Path

import pytest

from serving import command, flags
from serving.flag_table import FLAGS
from tests.serving.flag_servers import (
    SHOWN,
)

ROOT = Path(__file__).parents[2]


def test_every_flag_is_shown_to_work() -> None:
    for name in ("flags_ports", "flags_models", "flags_running", "flags_watching"):
        importlib.import_module(f"tests.serving.test_{name}")  # notes what it shows
    importlib.import_module("tests.serving.test_workers")
    assert sorted(SHOWN) == sorted(FLAGS)


def test_both_spellings_and_booleans() -> None:
    values = flags.parse(["--port=1", "--model_name", "m", "--enable_batching"])
    assert (values["port"], values["model_name"]) == (1, "m")
    assert values["enable_batching"] is True
    for text, value in (("false", False), ("0", False), ("True", True), ("1", True)):
        assert flags.parse([f"--enable_batching={text}"])["enable_batching"] is value


def test_defaults_are_tensorflow_servings() -> None:
    defaults = flags.parse([])
    expected = {
        "port": 8500,
        "rest_api_port": 0,
        "grpc_socket_path": "",
        "rest_api_timeout_in_ms": 30_000,
        "rest_api_enable_cors_support": False,
        "model_name": "default",
        "model_config_file_poll_wait_seconds": 0,
        "file_system_poll_wait_seconds": 1,
        "max_num_load_retries": 5,
        "load_retry_interval_micros": 60_000_000,
        "num_load_threads": 0,
        "enable_batching": False,
        "enable_model_warmup": True,
        "num_request_iterations_for_warmup": 0,
        "allow_version_labels_for_unavailable_models": False,
        "enable_grpc_healthcheck_service": False,
        "saved_model_tags": ("serve",),
        "tensorflow_intra_op_parallelism": 0,
    }
    assert {name: defaults[name] for name in expected} == expected


def test_help_and_docs_list_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--help"]) == 0
    printed = capsys.readouterr().out
    for name in FLAGS:
        assert f"--{name} (default " in printed
    # `python -c "from serving import flags; print(flags.table())"` makes the table.
    assert flags.table() in (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
