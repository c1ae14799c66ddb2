"""TF Serving's text-proto files: model config, batching, monitoring, TLS.

tensorflow-serving-api carries the message of the first; the three others are small and
declared here, with TF Serving's names and numbers, so that its files are read as they
are.
"""

import re
from typing import Any

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

from serving.options import BatchingOptions, MonitoringOptions

_PACKAGE = "tensorflow.serving"
_INT64 = ".google.protobuf.Int64Value"
_BOOL = ".google.protobuf.BoolValue"
_STRING = ".google.protobuf.StringValue"

# Message -> field -> number, type. A type with a dot is a message's.
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "BatchingParameters": {
        "max_batch_size": (1, _INT64),
        "batch_timeout_micros": (2, _INT64),
        "max_enqueued_batches": (3, _INT64),
        "num_batch_threads": (4, _INT64),
        "thread_pool_name": (5, _STRING),
        "allowed_batch_sizes": (6, "repeated int64"),
        "pad_variable_length_inputs": (7, "bool"),
        "enable_large_batch_splitting": (8, _BOOL),
        "max_execution_batch_size": (9, _INT64),
    },
    "PrometheusConfig": {"enable": (1, "bool"), "path": (2, "string")},
    "MonitoringConfig": {
        "prometheus_config": (1, f".{_PACKAGE}.PrometheusConfig"),
    },
    "SSLConfig": {
        "server_key": (1, "string"),
        "server_cert": (2, "string"),
        "custom_ca": (3, "string"),
        "client_verify": (4, "bool"),
    },
}


class ConfigFileError(ValueError):
    """A file that the command line names and that cannot be used; says why."""


def model_server_config(path: str) -> Any:
    """The `ModelServerConfig` in a file.

    Raises:
        ConfigFileError: it cannot be read or is not one.
    """
    return _parse(path, model_server_config_pb2.ModelServerConfig())


def batching_options(path: str) -> BatchingOptions:
    """The `BatchingParameters` in a file.

    Raises:
        ConfigFileError: it cannot be read, is not one, or contradicts itself.
    """
    found = _parse(path, _MESSAGE_TYPES["BatchingParameters"]())
    values: dict[str, Any] = {
        "allowed_batch_sizes": tuple(found.allowed_batch_sizes),
        "pad_variable_length_inputs": found.pad_variable_length_inputs,
    }
    for name in (
        "max_batch_size",
        "batch_timeout_micros",
        "max_enqueued_batches",
        "num_batch_threads",
        "enable_large_batch_splitting",
        "max_execution_batch_size",
    ):
        if found.HasField(name):
            values[name] = getattr(found, name).value
    try:
        return BatchingOptions(**values)
    except ValueError as error:
        raise ConfigFileError(f"{path}: {error}") from error


def monitoring_options(path: str) -> MonitoringOptions:
    """The `MonitoringConfig` in a file.

    Raises:
        ConfigFileError: it cannot be read, is not one, or its path is unusable.
    """
    found = _parse(path, _MESSAGE_TYPES["MonitoringConfig"]()).prometheus_config
    options = MonitoringOptions(found.enable, found.path or MonitoringOptions.path)
    if not options.path.startswith("/"):
        raise ConfigFileError(
            f"{path}: prometheus_config.path is expected to begin with /, "
            f"got {options.path!r}"
        )
    return options


def ssl_config(path: str) -> Any:
    """The `SSLConfig` in a file: PEM texts.

    Raises:
        ConfigFileError: it cannot be read or is not one.
    """
    return _parse(path, _MESSAGE_TYPES["SSLConfig"](), secret=True)


def _parse(path: str, message: Any, secret: bool = False) -> Any:
    try:
        with open(path, encoding="utf-8") as file:
            text_format.Parse(file.read(), message)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigFileError(f"cannot read {path}: {error}") from error
    except text_format.ParseError as error:
        # The parser quotes the line: nothing to print where it may be a private key.
        where = re.match(r"\d+:\d+", str(error))
        why = f"at line:column {where[0] if where else '?'}" if secret else str(error)
        name = message.DESCRIPTOR.name
        raise ConfigFileError(f"{path} is not a text {name}: {why}") from None
    return message


def _message_types() -> dict[str, Any]:
    field_type = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="serving/text_config.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    for message, fields in _MESSAGES.items():
        added = file.message_type.add(name=message)
        for name, (number, kind) in fields.items():
            *repeated, kind = kind.split(" ")
            field = added.field.add(name=name, number=number)
            field.label = (
                field_type.LABEL_REPEATED if repeated else field_type.LABEL_OPTIONAL
            )
            if "." in kind:
                field.type, field.type_name = field_type.TYPE_MESSAGE, kind
            else:
                field.type = field_type.Type.Value(f"TYPE_{kind.upper()}")
    # A pool of its own: another library may hold TF Serving's messages.
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")
        )
        for name in _MESSAGES
    }


_MESSAGE_TYPES = _message_types()
