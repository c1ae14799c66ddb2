"""A server as its flags say."""

import logging
import os
from collections.abc import Mapping
from typing import Any

from serving.tensorflow_core import tensorflow

tf = tensorflow()  # without Keras, before TF Serving's protos import it with

from serving import text_config, tls, workers  # noqa: E402
from serving.grpc_server import GrpcOptions  # noqa: E402
from serving.metrics import Metrics  # noqa: E402
from serving.model_config import ConfigFileWatch, single_model  # noqa: E402
from serving.model_server import ModelServer  # noqa: E402
from serving.options import (  # noqa: E402
    BatchingOptions,
    Limits,
    MonitoringOptions,
)
from serving.record_files import LogFiles  # noqa: E402
from serving.request_log import RequestLogs, logging_config  # noqa: E402
from serving.rest import RestOptions  # noqa: E402
from serving.tokens import Tokens  # noqa: E402
from serving.version_state import LoadPolicy  # noqa: E402

_log = logging.getLogger(__name__)


def model_server(values: Mapping[str, Any], host: str) -> ModelServer:
    """The server that the flags describe, not started.

    Args:
        values: as `flags.parse` gives them.
        host: address to listen on.

    Raises:
        ConfigFileError: a file that a flag names cannot be used.
        ServingError: the model config cannot be served.
        OSError: a port or socket cannot be had.
    """
    _configure_tensorflow(values)
    tokens = Tokens(values["auth_tokens_file"]) if values["auth_tokens_file"] else None
    secured = tls.read(values["ssl_config_file"]) if values["ssl_config_file"] else None
    metrics, page, page_path = _metrics(values)
    many = workers.is_worker()
    return ModelServer(
        port=values["port"],
        rest_api_port=values["rest_api_port"] or None,
        policy=_load_policy(values),
        max_threads=values["grpc_max_threads"],
        host=host,
        config=_model_config(values),
        allow_unavailable_labels=values["allow_version_labels_for_unavailable_models"],
        load_threads=values["num_load_threads"],
        request_logs=RequestLogs(
            values["request_log_redact_inputs"],
            LogFiles(
                values["request_log_max_file_bytes"],
                values["request_log_max_file_seconds"],
            ),
            values["saved_model_tags"],
        ),
        batching=_batching(values),
        limits=Limits(
            values["max_request_bytes"],
            values["max_tensor_elements"],
            values["max_json_bytes"],
            values["max_json_depth"],
            values["max_concurrent_requests"],
        ),
        metrics=metrics,
        grpc=GrpcOptions(
            values["grpc_socket_path"],
            values["grpc_channel_arguments"],
            secured,
            tokens,
            values["enable_grpc_healthcheck_service"],
            reuse_port=many,
        ),
        rest=RestOptions(
            values["rest_api_timeout_in_ms"],
            values["rest_api_enable_cors_support"],
            page,
            page_path,
            tls.ssl_context(secured) if secured else None,
            tokens.refusal if tokens else None,
            reuse_port=many,
        ),
        tensor_content=values["enable_serialization_as_tensor_content"],
        check_methods=values["enable_signature_method_name_check"],
        no_reload=workers.NO_RELOAD if many else "",
    )


def model_config_watch(
    values: Mapping[str, Any], server: ModelServer
) -> ConfigFileWatch | None:
    """What polls the model config file, not started; None if nothing does."""
    path, seconds = (
        values["model_config_file"],
        values["model_config_file_poll_wait_seconds"],
    )
    if not path or not seconds:
        return None
    return ConfigFileWatch(path, seconds, server.models.apply)


def _configure_tensorflow(values: Mapping[str, Any]) -> None:
    both = values["tensorflow_session_parallelism"]
    within = values["tensorflow_intra_op_parallelism"] or both
    between = values["tensorflow_inter_op_parallelism"] or both
    if within:
        tf.config.threading.set_intra_op_parallelism_threads(within)
    if between:
        tf.config.threading.set_inter_op_parallelism_threads(between)
    if values["xla_cpu_compilation_enabled"]:
        tf.config.optimizer.set_jit("autoclustering")
        # Without it only GPUs' graphs are; read once, with the first graph.
        flags = os.environ.get("TF_XLA_FLAGS", "")
        os.environ["TF_XLA_FLAGS"] = f"--tf_xla_cpu_global_jit {flags}"


def _model_config(values: Mapping[str, Any]) -> Any:
    if values["model_config_file"]:
        return text_config.model_server_config(values["model_config_file"])
    logged = None
    if values["request_log_prefix"]:
        logged = logging_config(
            values["request_log_prefix"], values["request_log_sampling_rate"]
        )
    return single_model(values["model_name"], values["model_base_path"], logged)


def _load_policy(values: Mapping[str, Any]) -> LoadPolicy:
    return LoadPolicy(
        poll_seconds=values["file_system_poll_wait_seconds"],
        max_retries=values["max_num_load_retries"],
        retry_seconds=max(0, values["load_retry_interval_micros"]) / 1e6,
        warm_up=values["enable_model_warmup"],
        warm_up_iterations=values["num_request_iterations_for_warmup"] or 1,
        tags=values["saved_model_tags"],
    )


def _batching(values: Mapping[str, Any]) -> BatchingOptions | None:
    if not values["enable_batching"]:
        return None
    if values["batching_parameters_file"]:
        return text_config.batching_options(values["batching_parameters_file"])
    return BatchingOptions()


def _metrics(values: Mapping[str, Any]) -> tuple[Metrics | None, Any, str]:
    """Who counts, what makes the page of it, and where that is."""
    options = MonitoringOptions()
    if values["monitoring_config_file"]:
        options = text_config.monitoring_options(values["monitoring_config_file"])
    if not options.enable:
        return None, None, options.path
    if not values["rest_api_port"]:
        _log.warning(
            "monitoring is on, but its page is on the REST port: set --rest_api_port"
        )
    # prometheus_client decides by the environment, when it is imported.
    from serving.prometheus import PrometheusMetrics

    metrics = PrometheusMetrics()
    return metrics, metrics.page, options.path
