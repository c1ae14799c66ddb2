"""TF Serving's two gRPC services as descriptors, for server reflection.

tensorflow-serving-api's own modules for them (`*_service_pb2`, up to 2.19.1) assign
`DESCRIPTOR.has_options`, which protobuf forbids since version 4. The messages' modules
import well, so only the services are described here, word for word as in
tensorflow_serving/apis/prediction_service.proto and model_service.proto.
"""

from google.protobuf import descriptor_pb2, descriptor_pool
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

_PACKAGE = "tensorflow.serving"
PREDICTION_SERVICE = f"{_PACKAGE}.PredictionService"
MODEL_SERVICE = f"{_PACKAGE}.ModelService"

# Method -> its messages, <prefix>Request and <prefix>Response, and their file.
_METHODS = {
    PREDICTION_SERVICE: {
        "Classify": ("Classification", classification_pb2),
        "Regress": ("Regression", regression_pb2),
        "Predict": ("Predict", predict_pb2),
        "MultiInference": ("MultiInference", inference_pb2),
        "GetModelMetadata": ("GetModelMetadata", get_model_metadata_pb2),
    },
    MODEL_SERVICE: {
        "GetModelStatus": ("GetModelStatus", get_model_status_pb2),
        "HandleReloadConfigRequest": ("ReloadConfig", model_management_pb2),
    },
}
_FILES = {
    PREDICTION_SERVICE: "tensorflow_serving/apis/prediction_service.proto",
    MODEL_SERVICE: "tensorflow_serving/apis/model_service.proto",
}


def add_to_pool() -> None:
    """Makes both services known to protobuf's default pool; again does nothing."""
    for service, methods in _METHODS.items():
        file = descriptor_pb2.FileDescriptorProto(
            name=_FILES[service],
            package=_PACKAGE,
            syntax="proto3",
            dependency=[module.DESCRIPTOR.name for _, module in methods.values()],
            options=descriptor_pb2.FileOptions(cc_enable_arenas=True),
        )
        described = file.service.add(name=service.rpartition(".")[2])
        for name, (prefix, _) in methods.items():
            described.method.add(
                name=name,
                input_type=f".{_PACKAGE}.{prefix}Request",
                output_type=f".{_PACKAGE}.{prefix}Response",
            )
        descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
