"""What all targets share: names, the place of the models, the command line, times."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainer.config import Config, ServingConfig, UserError

Server = Literal["tensorflow", "polymodal"]

CONFIG_FOLDER = "/config"
"""Where a container finds models.config, batching.config and monitoring.config."""

METRICS_PATH = "/monitoring/prometheus/metrics"
SERVER_FOLDER = "/server"
"""Where pip installs the polymodal server, on a volume."""

LOG_FOLDER = "/logs"
_CONFIG_POLL_SECONDS = 10


class DeployError(UserError):
    """A deployment that cannot be written; the message says what would be."""


@dataclass(frozen=True)
class Models:
    """Where the pushed models lie: a local folder of version folders, or a URI.

    `gs://` and `s3://` name a folder of version folders in a bucket, `pvc://CLAIM/PATH`
    one on a PersistentVolumeClaim that is there already.
    """

    place: str

    @property
    def scheme(self) -> str:
        """`gs`, `s3`, `pvc`, or `file`."""
        scheme, separator, _ = self.place.partition("://")
        return scheme if separator else "file"

    @property
    def in_bucket(self) -> bool:
        """Whether the servers read it over the network themselves."""
        return self.scheme in ("gs", "s3")

    def check(self) -> None:
        """DeployError for what no server could read."""
        if self.scheme == "file":
            self._check_folder(Path(self.place))
        elif self.scheme not in ("gs", "s3", "pvc"):
            raise DeployError(
                f"--models {self.place}: expected a folder, gs://BUCKET/PATH,"
                f" s3://BUCKET/PATH or pvc://CLAIM/PATH."
            )
        elif not self.place.partition("://")[2].strip("/"):
            raise DeployError(f"--models {self.place}: names no bucket or claim.")

    def _check_folder(self, folder: Path) -> None:
        if _versions(folder):
            return
        below = sorted(str(p) for p in folder.glob("*") if p.is_dir() and _versions(p))
        hint = f" Did you mean {below[0]}?" if below else ""
        raise DeployError(
            f"--models {self.place}: no version folder such as"
            f" {folder}/1/saved_model.pb; `polymodal run` pushes one.{hint}"
        )

    @property
    def claim_and_path(self) -> tuple[str, str]:
        """Of a pvc:// URI."""
        claim, _, path = self.place.removeprefix("pvc://").partition("/")
        return claim, path.strip("/")


def _versions(folder: Path) -> list[str]:
    """Names of the version folders; the highest number last."""
    names = [path.parent.name for path in folder.glob("*/saved_model.pb")]
    return sorted((n for n in names if n.isascii() and n.isdigit()), key=int)


def newest_version(folder: Path) -> str:
    """Name of the version folder with the highest number; IndexError without any."""
    return _versions(folder)[-1]


@dataclass(frozen=True)
class Plan:
    """One deployment, before it is written for a target."""

    config: Config
    models: Models
    server: Server = "tensorflow"
    gpu: bool = False

    @property
    def serving(self) -> ServingConfig:
        """The config's section."""
        return self.config.serving

    @property
    def name(self) -> str:
        """What clients ask for."""
        return self.config.name

    @property
    def resource(self) -> str:
        """The name as Kubernetes takes it: lower case, digits and dashes (RFC 1035)."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")[:40].strip("-")

    @property
    def image(self) -> str:
        """Of the server."""
        images = self.serving.images
        if self.server == "polymodal":
            return images.python
        return images.tensorflow_gpu if self.gpu else images.tensorflow

    @property
    def command(self) -> list[str]:
        """The program; not the image's start script, which would swallow signals."""
        if self.server == "polymodal":
            return ["python", "-m", "serving.server"]
        return ["/usr/bin/tensorflow_model_server"]

    @property
    def installs(self) -> bool:
        """Whether pip has to install the server first."""
        return self.server == "polymodal" and self.serving.images.package is not None

    @property
    def logs_requests(self) -> bool:
        """Stock TF Serving has no log collector and refuses to start with one set."""
        sampled = self.serving.request_log.sampling_rate > 0
        return self.server == "polymodal" and sampled

    @property
    def cores(self) -> int:
        """Whole cores: thread pools sized by the machine would be too large."""
        return math.ceil(self.serving.resources.cpu)

    @property
    def claim(self) -> str | None:
        """The PersistentVolumeClaim with the models, None where a bucket has them."""
        if self.models.scheme == "file":
            return self.serving.storage.claim or f"{self.resource}-models"
        return self.models.claim_and_path[0] if self.models.scheme == "pvc" else None

    @property
    def base_path(self) -> str:
        """Where a container of compose or Kubernetes finds the versions."""
        if self.models.in_bucket:
            return self.models.place
        if self.models.scheme == "pvc":
            return f"/models/{self.models.claim_and_path[1]}".rstrip("/")
        return f"/models/{self.name}"

    @property
    def storage_uri(self) -> str:
        """The same for KServe."""
        if self.models.scheme == "file":
            return f"pvc://{self.claim}/{self.name}"
        return self.models.place

    @property
    def ready_path(self) -> str:
        """200 only while a version can be served; the status page is 200 in any state."""
        return f"/v1/models/{self.name}/metadata"

    @property
    def stop_seconds(self) -> int:
        """From the wish to end to the signal.

        TF Serving sends no client away when it ends: each must have been asked to
        connect anew (with gRPC's jitter of a tenth) before it is killed.
        """
        drain = self.serving.drain_seconds
        if self.server == "polymodal":
            return drain
        return drain + math.ceil(1.1 * self.serving.max_connection_age_seconds)

    @property
    def grace_seconds(self) -> int:
        """From the wish to end to the kill: the last request may take its time."""
        return self.stop_seconds + self.serving.request_timeout_seconds + 5

    def arguments(
        self, grpc_port: int, rest_port: int, config_folder: str = CONFIG_FOLDER
    ) -> list[str]:
        """The server's command line, in flags that both servers know."""
        serving = self.serving
        age = serving.max_connection_age_seconds * 1000
        flags: dict[str, object] = {
            "port": grpc_port,
            "rest_api_port": rest_port,
            "rest_api_timeout_in_ms": serving.request_timeout_seconds * 1000,
            "model_config_file": f"{config_folder}/models.config",
            "model_config_file_poll_wait_seconds": _CONFIG_POLL_SECONDS,
            "file_system_poll_wait_seconds": serving.storage.poll_seconds,
            "monitoring_config_file": f"{config_folder}/monitoring.config",
            "grpc_channel_arguments": f"grpc.max_connection_age_ms={age}",
            "tensorflow_intra_op_parallelism": serving.intra_op_threads,
            "tensorflow_inter_op_parallelism": serving.inter_op_threads,
        }
        if serving.batching is not None:
            flags["enable_batching"] = "true"
            flags["batching_parameters_file"] = f"{config_folder}/batching.config"
        if serving.versions.labels:
            # At the start no version is there yet that a label could point at.
            flags["allow_version_labels_for_unavailable_models"] = "true"
        if self.logs_requests and serving.request_log.redact_inputs:
            hidden = ",".join(serving.request_log.redact_inputs)
            flags["request_log_redact_inputs"] = hidden
        return [f"--{name}={value}" for name, value in flags.items()]


def check(plan: Plan, targets: Sequence[str]) -> None:
    """DeployError for what a target cannot do, with what would be."""
    plan.models.check()
    for target in targets:
        if plan.models.scheme == "pvc" and target == "compose":
            raise DeployError(
                f"--models {plan.models.place}: compose has no PersistentVolumeClaims;"
                " give a folder, or --target kubernetes."
            )
        if (
            plan.models.scheme == "s3"
            and plan.server == "tensorflow"
            and target != "kserve"
        ):
            raise DeployError(
                f"--models {plan.models.place}: tensorflow/serving reads no s3:// since"
                " 2.7. Use --server polymodal, --target kserve (which copies the bucket),"
                " or a folder on a PersistentVolumeClaim."
            )
