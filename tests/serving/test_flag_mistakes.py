"""Flags and files that cannot be used end the command with a reason."""

from pathlib import Path

import pytest

from serving import command, flags
from serving.flag_table import ABSENT, FLAGS


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (
                ["--rest_port=1"],
                "unknown flag --rest_port. Did you mean --rest_api_por",
            ),
            (["--zzz"], "unknown flag --zzz. Known: --port, "),
            (["--port=x"], "--port expects a port number, got 'x'"),
            (["--port=65536"], "--port expects a port number, got '65536'"),
            (["--port"], "--port expects a port number after it"),
            (["model"], "expected a flag like --port=8500, got 'model'"),
            (
                ["--request_log_sampling_rate=2"],
                "expects a number from 0 to 1, got '2'",
            ),
            (["--grpc_channel_arguments=a"], "expects name=value,name=value, got 'a'"),
            ([], "--model_base_path is required"),
            (
                ["--model_base_path=/m", "--batching_parameters_file=/b"],
                "--batching_parameters_file is set without --enable_batching",
            ),
            (
                ["--model_base_path=/m", "--port=80", "--rest_api_port=80"],
                "--rest_api_port cannot be the same as --port",
            ),
            (
                [
                    "--model_base_path=/m",
                    "--tensorflow_session_parallelism=1",
                    "--tensorflow_intra_op_parallelism=1",
                    "--tensorflow_inter_op_parallelism=1",
                ],
                "can be given, not all",
            ),
            (
                ["--model_config_file=/m", "--request_log_prefix=/p"],
                "write a logging_config for each model there",
            ),
            (
                ["--model_base_path=/m", "--worker_processes=2", "--port=0"],
                "--worker_processes needs a --port of its own, not 0",
            ),
            (
                [
                    "--model_base_path=/m",
                    "--worker_processes=2",
                    "--grpc_socket_path=/s",
                ],
                "--worker_processes cannot share --grpc_socket_path",
            ),
        ],
    )
    def test_they_end_it_with_a_reason(
        self, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert command.main(arguments) == 1
        assert words in capsys.readouterr().err

    @pytest.mark.parametrize("name", ABSENT)
    def test_flags_that_only_tensorflow_serving_has(self, name: str) -> None:
        assert name not in FLAGS
        words = f"--{name} is a flag of tensorflow_model_server that this server does"
        with pytest.raises(flags.FlagError, match=words):
            flags.parse([f"--{name}=1"])

    @pytest.mark.parametrize(
        ("file", "text", "words"),
        [
            ("model_config_file", "model_config_list {", "is not a text ModelServerC"),
            (
                "batching_parameters_file",
                "max_batch_size { value: 8 } allowed_batch_sizes: 4",
                "the last of allowed_batch_sizes [4] is expected to equal "
                "max_batch_size 8",
            ),
            (
                "batching_parameters_file",
                "allowed_batch_sizes: 4 allowed_batch_sizes: 2",
                "are expected to be positive and to increase, got [4, 2]",
            ),
            (
                "batching_parameters_file",
                "max_batch_size { value: 0 }",
                "max_batch_size is expected to be at least 1, got 0",
            ),
            (
                "batching_parameters_file",
                "max_batch_size { value: 8 } max_execution_batch_size { value: 9 }",
                "max_execution_batch_size 9 is larger than max_batch_size 8",
            ),
            (
                "batching_parameters_file",
                "max_batch_sise { value: 8 }",
                'has no field named "max_batch_sise"',
            ),
            (
                "monitoring_config_file",
                'prometheus_config { enable: true path: "m" }',
                "prometheus_config.path is expected to begin with /, got 'm'",
            ),
            ("ssl_config_file", "", "server_key is missing"),
            ("auth_tokens_file", "", "holds no token"),
            (
                "model_config_file",
                'model_config_list { config { name: "a" base_path: "m" } }',
                "INVALID_ARGUMENT: Expected model a to have an absolute path or URI",
            ),
        ],
    )
    def test_unusable_files_end_it_with_a_reason(
        self,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        file: str,
        text: str,
        words: str,
    ) -> None:
        monkeypatch.setattr("signal.signal", lambda *_: None)
        path = tmp_path / "file"
        path.write_text(text)
        arguments = ["--port=0", "--enable_batching", f"--{file}={path}"]
        if file != "model_config_file":
            arguments.append(f"--model_base_path={tmp_path}")
        assert command.main(arguments) == 1
        printed = capsys.readouterr().err
        assert words in printed
        assert "Failed to start server. Error: " in printed
        assert f"--{file}=/nowhere" not in printed

    def test_a_file_that_is_not_there(self, capsys: pytest.CaptureFixture[str]) -> None:
        arguments = ["--port=0", "--model_config_file=/nowhere/models.config"]
        assert command.main(arguments) == 1
        assert "cannot read /nowhere/models.config" in capsys.readouterr().err
