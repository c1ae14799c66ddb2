"""What pip installs for the polymodal server: exactly what is installed here.

The server needs a third of the project's packages: no TFX, Beam or notebook. So the
versions come from the environment that `polymodal deploy` runs in, and are installed
with `--no-deps`: what was tested is what is served.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipeline.deploy.plan import DeployError

SERVER_NEEDS = (
    "aiohttp",
    "boto3",
    "botocore",
    "grpcio",
    "grpcio-health-checking",
    "grpcio-reflection",
    "numpy",
    "orjson",
    "packaging",
    "pillow",
    "prometheus-client",
    "protobuf",
    "psutil",
    "pydicom",
    "pyjpegls",
    "pylibjpeg",
    "pylibjpeg-openjpeg",
    "python-gdcm",
    "pyyaml",
    "requests",
    "soundfile",
    "tensorflow",
    "tensorflow-io",
    "tensorflow-serving-api",
    "tensorflow-text",
    "urllib3",
    "uvloop",
)
"""Distributions that the server's modules import, and pydicom's decoders, which it looks
for itself; tests hold it to them."""

_GPU = "tensorflow[and-cuda]"


def requirements(gpu: bool) -> str:
    """A requirements file: each needed distribution with its version, sorted.

    Raises:
        DeployError: one of them is not installed here.
    """
    lines = [
        "# What the server needs, as installed where this was written.",
        *(f"{name}=={version}" for name, version in sorted(_pins(gpu).items())),
    ]
    return "\n".join(lines) + "\n"


def library_path(folder: str) -> str:
    """LD_LIBRARY_PATH of CUDA's packages in pip's folder.

    TensorFlow 2.16 looks for some of them itself, but not for all.
    """
    names = [re.fullmatch(r"nvidia-(.+)-cu\d+", name) for name in sorted(_pins(True))]
    return ":".join(
        f"{folder}/nvidia/{name[1].replace('-', '_')}/lib" for name in names if name
    )


@functools.cache
def _pins(gpu: bool) -> dict[str, str]:
    pins: dict[str, str] = {}
    for name in (*SERVER_NEEDS, *((_GPU,) if gpu else ())):
        _add(Requirement(name), pins)
    return pins


def _add(requirement: Requirement, pins: dict[str, str]) -> None:
    """The distribution and all that it requires, each once for its extras."""
    name = canonicalize_name(requirement.name)
    try:
        installed = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        # CUDA's packages are not here where there is no GPU; tensorflow pins them.
        pinned = [s.version for s in requirement.specifier if s.operator == "=="]
        if not pinned:
            raise DeployError(
                f"{requirement}: not installed here, so its version is not known;"
                " run `polymodal deploy` where polymodal is installed whole."
            ) from None
        pins[name] = pinned[0]
        return
    if name in pins and not requirement.extras:
        return
    pins[name] = installed.version
    for further in _required(installed, requirement.extras):
        _add(further, pins)


def _required(
    installed: metadata.Distribution, extras: set[str]
) -> Iterator[Requirement]:
    for text in installed.requires or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(
            marker.evaluate({"extra": extra}) for extra in ("", *sorted(extras))
        ):
            yield requirement
