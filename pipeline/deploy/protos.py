"""TF Serving's own files, as text protos: models, batching, monitoring."""

from __future__ import annotations

import json

from pipeline.deploy.plan import LOG_FOLDER, METRICS_PATH, Plan


def models_config(plan: Plan, base_path: str) -> str:
    """A tensorflow.serving.ModelServerConfig with the one model."""
    return "\n".join(
        [
            "# Which model is served, and which of its versions. Both servers look here",
            "# again and again: an edit acts within seconds, without a restart.",
            "model_config_list {",
            "  config {",
            f"    name: {_text(plan.name)}",
            f"    base_path: {_text(base_path)}",
            '    model_platform: "tensorflow"',
            f"    model_version_policy {{ {_policy(plan)} }}",
            *_labels(plan),
            *_logging(plan),
            "  }",
            "}",
            "",
        ]
    )


def _text(value: str) -> str:
    """A string as text protos spell it: JSON's escapes are among C's."""
    return json.dumps(value, ensure_ascii=False)


def _policy(plan: Plan) -> str:
    versions = plan.serving.versions
    if versions.policy == "latest":
        return f"latest {{ num_versions: {versions.latest} }}"
    if versions.policy == "all":
        return "all {}"
    numbers = " ".join(f"versions: {number}" for number in versions.specific)
    return f"specific {{ {numbers} }}"


def _labels(plan: Plan) -> list[str]:
    labels = plan.serving.versions.labels
    lines = [
        f"    version_labels {{ key: {_text(label)} value: {version} }}"
        for label, version in sorted(labels.items())
    ]
    if lines:
        lines.insert(0, "    # A label may only point at a version that is loaded.")
    return lines


def _logging(plan: Plan) -> list[str]:
    log = plan.serving.request_log
    if not plan.logs_requests:
        if log.sampling_rate > 0:
            return [
                "    # No logging_config: the stock tensorflow/serving has no log",
                "    # collector and would refuse to start with one.",
            ]
        return []
    return [
        "    logging_config {",
        f"      log_collector_config {{ filename_prefix: "
        f"{_text(f'{LOG_FOLDER}/{plan.name}')} }}",
        f"      sampling_config {{ sampling_rate: {log.sampling_rate} }}",
        "    }",
    ]


def batching_config(plan: Plan) -> str:
    """A tensorflow.serving.BatchingParameters; empty where nothing is batched."""
    batching = plan.serving.batching
    if batching is None:
        return ""
    threads = batching.num_batch_threads or plan.cores
    return "\n".join(
        [
            "# How requests that wait are run together; read at the start only.",
            f"max_batch_size {{ value: {batching.max_batch_size} }}",
            f"batch_timeout_micros {{ value: {batching.batch_timeout_micros} }}",
            f"max_enqueued_batches {{ value: {batching.max_enqueued_batches} }}",
            f"num_batch_threads {{ value: {threads} }}",
            *(f"allowed_batch_sizes: {size}" for size in batching.allowed_batch_sizes),
            f"pad_variable_length_inputs: "
            f"{str(batching.pad_variable_length_inputs).lower()}",
            "",
        ]
    )


def monitoring_config() -> str:
    """A tensorflow.serving.MonitoringConfig: metrics on the REST port."""
    return (
        "# Metrics on the REST port; read at the start only.\n"
        f'prometheus_config {{ enable: true path: "{METRICS_PATH}" }}\n'
    )


def config_files(plan: Plan, base_path: str) -> dict[str, str]:
    """File name -> text of what lies in the container's config folder."""
    found = {
        "models.config": models_config(plan, base_path),
        "monitoring.config": monitoring_config(),
    }
    if plan.serving.batching is not None:
        found["batching.config"] = batching_config(plan)
    return found
