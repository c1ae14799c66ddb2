"""One machine: a compose file for the server, and Prometheus if it is asked for."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

from pipeline.deploy import pod
from pipeline.deploy.documents import Document
from pipeline.deploy.monitoring import alert_rules, scrape_config
from pipeline.deploy.plan import CONFIG_FOLDER, LOG_FOLDER, SERVER_FOLDER, Plan
from pipeline.deploy.protos import config_files
from pipeline.deploy.requirements import requirements

CREDENTIALS = "credentials.env"
"""A file that the user writes where a bucket asks for credentials."""


def files(plan: Plan, output: Path) -> dict[str, str]:
    """Path below the output -> text."""
    found = {
        f"config/{name}": text
        for name, text in config_files(plan, plan.base_path).items()
    }
    if plan.installs:
        found["config/requirements.txt"] = requirements(plan.gpu)
    rules = alert_rules()
    scraped = f"model-server:{plan.serving.rest_port}"
    found["prometheus/prometheus.yml"] = scrape_config(
        plan, scraped, bool(rules)
    ).text()
    if rules:
        found["prometheus/rules.yml"] = Document({"groups": rules}).text()
    found["compose.yaml"] = compose(plan, output, bool(rules)).text()
    return found


def compose(plan: Plan, output: Path, rules: bool) -> Document:
    """The compose file. Paths in it are relative to its folder, unless given whole."""
    services: dict[str, Any] = {"model-server": _server(plan, output)}
    volumes: dict[str, Any] = {}
    notes = {
        "services.model-server.ports": "Decide: only this machine may ask; take 127.0.0.1"
        " away to let others in.",
        "services.model-server.healthcheck": "The image has no curl; metadata is answered"
        " only while a version can be served.",
        "services.model-server.stop_grace_period": "For the longest request. TF Serving"
        " ignores the signal to stop, so to stop it takes as long."
        if plan.server == "tensorflow"
        else "For the longest request.",
    }
    if plan.models.in_bucket:
        notes["services.model-server.env_file"] = (
            "Decide: the bucket's credentials, as environment variables, in this file."
        )
    if _prepares(plan):
        services["prepare"] = _prepare(plan)
    if plan.installs:
        volumes["server"] = None
    if plan.logs_requests:
        volumes["logs"] = None
    services["prometheus"] = _prometheus(plan, rules)
    notes["services.prometheus"] = "docker compose --profile monitoring up"
    body: dict[str, Any] = {"name": plan.resource, "services": services}
    if volumes:
        body["volumes"] = volumes
    return Document(body, f"{plan.name}, served by {plan.image}.", notes)


def _hardening(plan: Plan) -> dict[str, Any]:
    return {
        "user": f"{pod.USER}:{pod.USER}",
        "read_only": True,
        "tmpfs": ["/tmp"],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
    }


def _bind(source: str, target: str) -> dict[str, Any]:
    return {"type": "bind", "source": source, "target": target, "read_only": True}


def _server(plan: Plan, output: Path) -> dict[str, Any]:
    serving = plan.serving
    mounts = [_bind("./config", CONFIG_FOLDER)]
    if plan.models.scheme == "file":
        mounts.append(_bind(_source(plan.models.place, output), plan.base_path))
    if plan.installs:
        mounts.append(
            {"type": "volume", "source": "server", "target": SERVER_FOLDER,
             "read_only": True}
        )  # fmt: skip
    if plan.logs_requests:
        mounts.append({"type": "volume", "source": "logs", "target": LOG_FOLDER})
    started: dict[str, Any] = {}
    if _prepares(plan):
        done = {"condition": "service_completed_successfully"}
        started["depends_on"] = {"prepare": done}
    if variables := pod.variables(plan):
        started["environment"] = variables
    if plan.models.in_bucket:
        started["env_file"] = [{"path": CREDENTIALS, "required": False}]
    return {
        "image": plan.image,
        "entrypoint": plan.command,
        "command": plan.arguments(serving.grpc_port, serving.rest_port),
        **started,
        # Compose makes a container anew where its description changed, and files that
        # are mounted are no part of that.
        "labels": {"polymodal.restart-hash": pod.restart_hash(plan)},
        "ports": [
            f"127.0.0.1:{port}:{port}"
            for port in (serving.grpc_port, serving.rest_port)
        ],
        "volumes": mounts,
        "healthcheck": {
            "test": ["CMD", "bash", "-c", health_command(plan)],
            "interval": "10s",
            "timeout": "5s",
            "retries": 3,
            "start_period": "10m",
        },
        "stop_grace_period": f"{serving.request_timeout_seconds + 5}s",
        "restart": "unless-stopped",
        **_hardening(plan),
        "deploy": {"resources": _resources(plan)},
    }


def health_command(plan: Plan) -> str:
    """A GET in bash alone."""
    port = plan.serving.rest_port
    return (
        f"exec 3<>/dev/tcp/127.0.0.1/{port}"
        f" && printf 'GET {plan.ready_path} HTTP/1.0\\r\\n\\r\\n' >&3"
        " && head -n 1 <&3 | grep -q ' 200 '"
    )


def _source(place: str, output: Path) -> str:
    """A bind mount's source: as given if absolute, else relative to the compose file."""
    if os.path.isabs(place):
        return place
    relative = os.path.relpath(place, output)
    return relative if relative.startswith(".") else f"./{relative}"


def _resources(plan: Plan) -> dict[str, Any]:
    wanted = plan.serving.resources
    found: dict[str, Any] = {
        "limits": {"cpus": f"{wanted.cpu:g}", "memory": f"{wanted.memory_mib}M"}
    }
    if plan.gpu:
        device = {"driver": "nvidia", "count": wanted.gpus, "capabilities": ["gpu"]}
        found["reservations"] = {"devices": [device]}
    return found


def _prepares(plan: Plan) -> bool:
    return plan.installs or plan.logs_requests


def _prepare(plan: Plan) -> dict[str, Any]:
    """Runs once as root: fills the server's volume, gives the logs' one to its user."""
    commands, mounts = [], [_bind("./config", CONFIG_FOLDER)]
    if plan.installs:
        commands.append(shlex.join(pod.install_command(plan)))
        mounts.append({"type": "volume", "source": "server", "target": SERVER_FOLDER})
    if plan.logs_requests:
        commands.append(f"chown {pod.USER}:{pod.USER} {LOG_FOLDER}")
        mounts.append({"type": "volume", "source": "logs", "target": LOG_FOLDER})
    return {
        "image": plan.image,
        "entrypoint": ["sh", "-c"],
        "command": [" && ".join(commands)],
        "volumes": mounts,
    }


def _prometheus(plan: Plan, rules: bool) -> dict[str, Any]:
    mounts = [_bind("./prometheus/prometheus.yml", "/etc/prometheus/prometheus.yml")]
    if rules:
        mounts.append(_bind("./prometheus/rules.yml", "/etc/prometheus/rules.yml"))
    return {
        "image": plan.serving.images.prometheus,
        "profiles": ["monitoring"],
        "ports": ["127.0.0.1:9090:9090"],
        "volumes": mounts,
    }
