"""A gRPC server that the tests talk to over a socket."""

from __future__ import annotations

import concurrent.futures
import contextlib
from collections.abc import Collection, Iterator

import pytest


@contextlib.contextmanager
def grpc_server(engine, names: Collection[str]) -> Iterator[str]:
    """TensorFlow Serving's gRPC API, and its answers to what is not there; skips without the packages for it.

    Args:
        engine: with `predict` and `explain`; scores for every model.
        names: of the models.

    Yields:
        The address.
    """
    grpc = pytest.importorskip("grpc", reason="gRPC is not installed: pip install -e '.[grpc]'")
    pytest.importorskip("tensorflow_serving", reason="it is not installed: pip install -e '.[grpc]'")
    import tensorflow as tf
    from tensorflow_serving.apis import (
        get_model_status_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
    )

    class Predictions(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            spec = request.model_spec
            if spec.name not in names:
                context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({spec.name})")
            if spec.version_label not in ("", "canary"):
                context.abort(
                    grpc.StatusCode.INVALID_ARGUMENT, f"Unrecognized servable version label: {spec.version_label}"
                )
            images = tf.make_ndarray(request.inputs["image_bytes"]).tolist()
            call = engine.explain if spec.signature_name == "explain" else engine.predict
            answer = predict_pb2.PredictResponse()
            for name, output in call(images).items():
                answer.outputs[name].CopyFrom(tf.make_tensor_proto(output))
            return answer

    class Models(model_service_pb2_grpc.ModelServiceServicer):
        def GetModelStatus(self, request, context):
            name = request.model_spec.name
            if name not in names:
                context.abort(grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {name}")
            answer = get_model_status_pb2.GetModelStatusResponse()
            status = answer.model_version_status.add(version=1)
            status.state = status.AVAILABLE
            return answer

    size = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(8), options=size)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Predictions(), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(Models(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"grpc://127.0.0.1:{port}"
    server.stop(None).wait()
