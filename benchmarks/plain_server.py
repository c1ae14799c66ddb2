"""The reference point: what a gRPC server costs that does nothing clever.

    python -m benchmarks.plain_server VERSION_PATH

grpcio's own threads, TensorFlow's own conversions, one call of the signature for each
request, TensorFlow's default threads: what the documentation of both shows. It tells a
fast server from a fast machine, for the peers' figures were taken on another one.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from serving.tensorflow_core import load_text_ops, tensorflow


def main(path: str) -> None:
    """Serves until killed; prints its port once it answers."""
    tf = tensorflow()
    from tensorflow_serving.apis import predict_pb2

    load_text_ops()
    loaded = tf.saved_model.load(path, tags=["serve"])

    def predict(request: Any, context: Any) -> Any:
        feed = {
            name: tf.constant(tf.make_ndarray(proto))
            for name, proto in request.inputs.items()
        }
        found = loaded.signatures[request.model_spec.signature_name](**feed)
        response = predict_pb2.PredictResponse()
        for name, value in found.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value.numpy()))
        return response

    method = grpc.unary_unary_rpc_method_handler(
        predict,
        request_deserializer=predict_pb2.PredictRequest.FromString,
        response_serializer=predict_pb2.PredictResponse.SerializeToString,
    )
    server = grpc.server(ThreadPoolExecutor(8))
    service = "tensorflow.serving.PredictionService"
    handler = grpc.method_handlers_generic_handler(service, {"Predict": method})
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"Running gRPC ModelServer at 127.0.0.1:{port} ...", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main(sys.argv[1])
