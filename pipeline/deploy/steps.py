"""The commands to type after `polymodal deploy`, in their order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.deploy.plan import Plan, newest_version
from pipeline.deploy.storage import LOADER


def text(plan: Plan, targets: Sequence[str], output: Path) -> str:
    """NEXT_STEPS.md: a section for each target."""
    lines = [f"# Serving {plan.name}", ""]
    notes = list(_notes(plan, targets))
    if notes:
        lines += [*(f"- {note}" for note in notes), ""]
    if "compose" in targets:
        lines += _section("On this machine", _compose(plan, output))
    cluster = [target for target in targets if target != "compose"]
    if cluster and plan.models.scheme == "file":
        title = f"Copy the models to the claim {plan.claim}"
        lines += _section(title, _copy(plan, cluster[0], output))
    if "kubernetes" in targets:
        lines += _section("Kubernetes", _kubernetes(plan, output))
        lines += _section("Prometheus and the custom metric", _monitoring(plan, output))
    if "kserve" in targets:
        instead = " (in place of the above: the names are the same)"
        title = "KServe" + (instead if "kubernetes" in targets else "")
        lines += _section(title, _kserve(plan, output))
    return "\n".join(lines)


def _section(title: str, commands: Iterator[str]) -> list[str]:
    return [f"## {title}", "", "```bash", *commands, "```", ""]


def _notes(plan: Plan, targets: Sequence[str]) -> Iterator[str]:
    serving = plan.serving
    if serving.request_log.sampling_rate > 0 and not plan.logs_requests:
        yield (
            "No requests are logged, though `serving.request_log` asks for it: the stock"
            " tensorflow/serving cannot. Use `--server polymodal`."
        )
    if plan.installs:
        yield (
            f"pip must find `{serving.images.package}` from inside the container: build"
            " the wheel with `pip wheel --no-deps .` and put it where your index or a"
            " URL serves it (`serving.images.package`)."
        )
    if plan.gpu and "compose" in targets:
        yield "Docker needs the NVIDIA Container Toolkit."
    if plan.gpu and len(targets) > ("compose" in targets):
        yield "The nodes need NVIDIA's device plugin."


def _compose(plan: Plan, output: Path) -> Iterator[str]:
    yield f"docker compose -f {output}/compose.yaml up --detach --wait"
    yield f"curl localhost:{plan.serving.rest_port}/v1/models/{plan.name}"
    yield "# With Prometheus on port 9090:"
    yield f"docker compose -f {output}/compose.yaml --profile monitoring up --detach"


def _copy(plan: Plan, target: str, output: Path) -> Iterator[str]:
    namespace = plan.serving.namespace
    pod = f"{plan.resource}-{LOADER}"
    run = f"kubectl -n {namespace} exec {pod} --"
    version = newest_version(Path(plan.models.place))
    yield f"kubectl apply -f {output}/{target}/namespace.yaml -f {output}/storage"
    yield (
        f"kubectl -n {namespace} wait --for=condition=Ready pod/{pod} --timeout=300s"
    )
    yield f"{run} mkdir -p {plan.base_path}"
    yield "# Under a name that no server takes for a version, until it is whole."
    yield (
        f"kubectl cp {plan.models.place}/{version}"
        f" {namespace}/{pod}:{plan.base_path}/.{version}"
    )
    yield f"{run} mv {plan.base_path}/.{version} {plan.base_path}/{version}"
    yield f"kubectl -n {namespace} delete pod {pod}"


def _kubernetes(plan: Plan, output: Path) -> Iterator[str]:
    namespace, serving = plan.serving.namespace, plan.serving
    yield f"kubectl apply -k {output}/kubernetes"
    yield f"kubectl -n {namespace} rollout status deployment/{plan.resource}"
    yield "# Asked from here, through one pod:"
    yield (
        f"kubectl -n {namespace} port-forward service/{plan.resource}"
        f" {serving.grpc_port} {serving.rest_port}"
    )


def _monitoring(plan: Plan, output: Path) -> Iterator[str]:
    yield f"kubectl apply -f {output}/monitoring"
    if plan.serving.autoscaling.metric is not None:
        yield (
            "helm upgrade --install prometheus-adapter"
            " prometheus-community/prometheus-adapter"
            f" -n {plan.serving.access.monitoring_namespace}"
            f" -f {output}/monitoring/adapter/values.yaml"
        )


def _kserve(plan: Plan, output: Path) -> Iterator[str]:
    namespace = plan.serving.namespace
    yield f"kubectl apply -k {output}/kserve"
    yield (
        f"kubectl -n {namespace} wait --for=condition=Ready"
        f" inferenceservice/{plan.resource} --timeout=900s"
    )
