"""Score images over TensorFlow Serving's gRPC API: python client_grpc.py 127.0.0.1:8500 photo.jpg ...

MODEL=photograph in the environment asks the model for photographs; without it, that for CIFAKE's images is asked.
Needs: pip install tensorflow-serving-api
"""

import os
import sys

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

LIMITS = [("grpc.max_send_message_length", 2**28), ("grpc.max_receive_message_length", 2**28)]  # the default is 4 MiB

address, *paths = sys.argv[1:]
images = []
for path in paths:
    with open(path, "rb") as file:
        images.append(file.read())
request = predict_pb2.PredictRequest()
request.model_spec.name = os.environ.get("MODEL", "deepfake")
request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(images, tf.string))
with grpc.insecure_channel(address, options=LIMITS) as channel:
    answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30)
outputs = {name: tf.make_ndarray(output) for name, output in answer.outputs.items()}
for index, path in enumerate(paths):
    label, verdict, error = (outputs[name][index].decode() for name in ("label", "verdict", "error"))
    print(path, label, outputs["confidence"][index], verdict, error)
