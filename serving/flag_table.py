"""The server's flags: names, defaults, what they take and do."""

import os

from serving.flag_types import Flag, arguments, at_least, boolean, names, port, rate

_CORES = os.cpu_count() or 1
_NATURAL, _POSITIVE = at_least(0), at_least(1)
_A_NATURAL, _A_POSITIVE = "a whole number", "a positive whole number"
_A_BOOLEAN, _A_FILE = "true or false", "the path of a file"
_A_PORT = "a port number"

# A title for the docs -> its flags.
GROUPS: dict[str, tuple[Flag, ...]] = {
    "Ports": (
        Flag("port", port, 8500, _A_PORT, "gRPC port; 0 picks a free one"),
        Flag(
            "grpc_socket_path", str, "", "a path",
            "a UNIX socket that gRPC listens to besides the port",
        ),
        Flag("rest_api_port", port, 0, _A_PORT, "HTTP/REST port; 0 is off"),
        Flag(
            "rest_api_timeout_in_ms", _POSITIVE, 30_000,
            "a positive number of milliseconds",
            "a REST request that takes longer is ended with 504",
        ),
        Flag(
            "rest_api_enable_cors_support", boolean, False, _A_BOOLEAN,
            "REST answers carry CORS headers, for pages from elsewhere",
        ),
        Flag(
            "grpc_channel_arguments", arguments, (), "name=value,name=value",
            "gRPC's own options, `grpc.max_connection_age_ms=2000`",
        ),
        Flag(
            "grpc_max_threads", _POSITIVE, 4 * _CORES, _A_POSITIVE,
            "requests that are run at a time without batching",
            shown="4 × cores",
        ),
        Flag(
            "enable_grpc_healthcheck_service", boolean, False, _A_BOOLEAN,
            "the standard gRPC health service answers",
        ),
        Flag(
            "worker_processes", _POSITIVE, 1, _A_POSITIVE,
            "processes that serve behind the same ports",
            ours=True,
        ),
    ),
    "Models": (
        Flag("model_name", str, "default", "a name", "name that clients ask for"),
        Flag(
            "model_base_path", str, "", "a path or URL",
            "folder of the model's version folders",
        ),
        Flag(
            "model_config_file", str, "", _A_FILE,
            "ModelServerConfig of any number of models, in place of the two above",
        ),
        Flag(
            "model_config_file_poll_wait_seconds", _NATURAL, 0, _A_NATURAL,
            "seconds after which that file is read again; 0 reads it once",
        ),
        Flag(
            "file_system_poll_wait_seconds", _NATURAL, 1, _A_NATURAL,
            "seconds between looks for new versions; 0 looks once",
        ),
        Flag(
            "allow_version_labels_for_unavailable_models", boolean, False, _A_BOOLEAN,
            "a new label may point at a version that is not available (yet)",
        ),
        Flag(
            "saved_model_tags", names, ("serve",), "a comma-separated list",
            "tags of the graph in the SavedModel that is loaded",
        ),
        Flag(
            "num_load_threads", _NATURAL, 0, _A_NATURAL,
            "models that are loaded at a time; 0 is one",
        ),
        Flag(
            "max_num_load_retries", _NATURAL, 5, _A_NATURAL,
            "how often a version that cannot be loaded is tried again",
        ),
        Flag(
            "load_retry_interval_micros", int, 60_000_000,
            "a whole number of microseconds",
            "pause between these tries; negative is none",
        ),
        Flag(
            "enable_model_warmup", boolean, True, _A_BOOLEAN,
            "the requests in a version's assets.extra are run before it serves",
        ),
        Flag(
            "num_request_iterations_for_warmup", _NATURAL, 0, _A_NATURAL,
            "how often each of them is run; 0 is once",
        ),
    ),
    "Running": (
        Flag(
            "enable_batching", boolean, False, _A_BOOLEAN,
            "requests that wait are run together",
        ),
        Flag(
            "batching_parameters_file", str, "", _A_FILE,
            "BatchingParameters, in place of the defaults",
        ),
        Flag(
            "tensorflow_session_parallelism", _NATURAL, 0, _A_NATURAL,
            "TensorFlow's threads, within and between operations; 0 leaves it to TensorFlow",
        ),
        Flag(
            "tensorflow_intra_op_parallelism", _NATURAL, 0, _A_NATURAL,
            "TensorFlow's threads within an operation",
        ),
        Flag(
            "tensorflow_inter_op_parallelism", _NATURAL, 0, _A_NATURAL,
            "TensorFlow's operations at a time",
        ),
        Flag(
            "xla_cpu_compilation_enabled", boolean, False, _A_BOOLEAN,
            "graphs are compiled by XLA",
        ),
        Flag(
            "enable_serialization_as_tensor_content", boolean, False, _A_BOOLEAN,
            "Predict answers numbers in `tensor_content`, not `float_val` and the like",
        ),
        Flag(
            "enable_signature_method_name_check", boolean, False, _A_BOOLEAN,
            "Classify and Regress want the signature's method name to be theirs",
        ),
    ),
    "Safety": (
        Flag("ssl_config_file", str, "", _A_FILE, "SSLConfig: TLS, and mutual TLS"),
        Flag(
            "auth_tokens_file", str, "", _A_FILE,
            "bearer tokens, one of which a request has to carry",
            ours=True,
        ),
        Flag(
            "max_request_bytes", _POSITIVE, 2**31 - 1, _A_POSITIVE,
            "size of a gRPC request",
            ours=True,
        ),
        Flag(
            "max_tensor_elements", _POSITIVE, 2**27, _A_POSITIVE,
            "elements that an input's shape may announce",
            ours=True,
        ),
        Flag(
            "max_json_bytes", _POSITIVE, 64 * 2**20, _A_POSITIVE,
            "size of a REST request's body, unpacked",
            ours=True,
        ),
        Flag(
            "max_json_depth", _POSITIVE, 64, _A_POSITIVE,
            "how deep lists and objects may be nested in it",
            ours=True,
        ),
        Flag(
            "max_concurrent_requests", _POSITIVE, 1024, _A_POSITIVE,
            "requests in the server at a time; one more is refused at once",
            ours=True,
        ),
    ),
    "Watching": (
        Flag(
            "monitoring_config_file", str, "", _A_FILE,
            "MonitoringConfig: whether and where REST gives Prometheus' metrics",
        ),
        Flag(
            "request_log_prefix", str, "", "a path",
            "beginning of the request logs' paths, for --model_base_path",
            ours=True,
        ),
        Flag(
            "request_log_sampling_rate", rate, 1.0, "a number from 0 to 1",
            "share of the requests that are logged",
            ours=True,
        ),
        Flag(
            "request_log_redact_inputs", names, (), "a comma-separated list",
            "inputs whose values are not logged; `all` is every one",
            ours=True,
        ),
        Flag(
            "request_log_max_file_bytes", _POSITIVE, 64 * 2**20, _A_POSITIVE,
            "size at which a log file is complete",
            ours=True,
        ),
        Flag(
            "request_log_max_file_seconds", _POSITIVE, 60, _A_POSITIVE,
            "age at which a log file is complete",
            ours=True,
        ),
        Flag("version", boolean, False, _A_BOOLEAN, "print the versions and end"),
    ),
}  # fmt: skip

FLAGS = {flag.name: flag for group in GROUPS.values() for flag in group}

# tensorflow_model_server's flags that are not here -> why, or what to use.
ABSENT = {
    "rest_api_num_threads": "large JSON bodies are read in two threads, of which Python "
    "runs one at a time; use --worker_processes",
    "enable_per_model_batching_parameters": "one batching file holds for all models",
    "num_unload_threads": "each model unloads in a thread of its own",
    "flush_filesystem_caches": "the page cache is left alone",
    "tensorflow_session_config_file": "use --tensorflow_intra_op_parallelism and "
    "--tensorflow_inter_op_parallelism",
    "use_alts_credentials": "use --ssl_config_file",
    "platform_config_file": "the only platform is tensorflow",
    "per_process_gpu_memory_fraction": "set TF_FORCE_GPU_ALLOW_GROWTH=true in the "
    "environment",
    "remove_unused_fields_from_bundle_metagraph": "metadata needs these fields",
    "prefer_tflite_model": "only SavedModels are served",
    "num_tflite_pools": "only SavedModels are served",
    "num_tflite_interpreters_per_pool": "only SavedModels are served",
    "xla_gpu_compilation_enabled": "use --xla_cpu_compilation_enabled, which holds for "
    "all devices",
    "enable_profiler": "profile with TensorBoard in a process of your own",
    "thread_pool_factory_config_file": "use --tensorflow_intra_op_parallelism and "
    "--tensorflow_inter_op_parallelism",
    "mixed_precision": "export the model in the precision that it is to run in",
    "skip_initialize_tpu": "there is no TPU support",
}
