"""Warm-up requests: TensorFlow Serving replays them before a version takes traffic.

Format: https://www.tensorflow.org/tfx/serving/saved_model_warmup, a TFRecord of PredictionLog. The
messages are built by field number, because tensorflow-serving-api, which ships them, pins TensorFlow.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
BATCH_SIZES = (1, 8)
_PIXELS_SIDE = 32


def write_warmup_requests(model_dir: str | Path, images: list[bytes], model_name: str) -> Path:
    """Write one request a signature and batch size below a SavedModel's folder.

    Args:
        model_dir: str or Path. The version's folder.
        images: at least one encoded image; a failing warm-up request keeps the server from starting.
        model_name: str. The model's name on the server.
    """
    if not images:
        raise ValueError("At least one encoded image is needed for the warm-up requests. Received: none")
    path = Path(model_dir) / WARMUP_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for batch_size in BATCH_SIZES:
            batch = [images[index % len(images)] for index in range(batch_size)]
            encoded = tf.make_tensor_proto(batch, tf.string)
            pixels = tf.make_tensor_proto(np.zeros([batch_size, _PIXELS_SIDE, _PIXELS_SIDE, 3], np.uint8))
            writer.write(_prediction_log(model_name, "serving_default", "image_bytes", encoded))
            writer.write(_prediction_log(model_name, "explain", "image_bytes", encoded))
            writer.write(_prediction_log(model_name, "from_pixels", "pixels", pixels))
    return path


def _prediction_log(model_name: str, signature: str, name: str, tensor) -> bytes:
    """PredictionLog{predict_log: PredictLog{request: PredictRequest{model_spec, inputs}}}, serialised."""
    model_spec = _field(1, model_name.encode()) + _field(3, signature.encode())  # ModelSpec: name, signature_name
    entry = _field(1, name.encode()) + _field(2, tensor.SerializeToString())  # of the map PredictRequest.inputs
    request = _field(1, model_spec) + _field(2, entry)
    return _field(6, _field(1, request))  # PredictionLog.predict_log, PredictLog.request


def _field(number: int, value: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    octets = b""
    while value > 0x7F:
        octets += bytes([value & 0x7F | 0x80])
        value >>= 7
    return octets + bytes([value])
