"""Light models of a few kilobytes: a chain of two files, whose logit is read off the mean colour."""

from __future__ import annotations

import flatbuffers
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema

from deepfake_tf.decision.verdict import Decision


def convert(module: tf.Module) -> bytes:
    """A `.tflite` of the module's `score`, whose tensors bear the signature's names: OpenVINO reads none."""
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.score.get_concrete_function()], module)
    model = schema.ModelT.InitFromPackedBuf(converter.convert(), 0)
    for tensor in (*model.signatureDefs[0].inputs, *model.signatureDefs[0].outputs):
        model.subgraphs[0].tensors[tensor.tensorIndex].name = tensor.name
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def chain(heatmap_rows: int = 2) -> dict[str, bytes]:
    """Two files in order of execution; logit = red + 2 green + 4 blue, each 0..1; heat map [rows, 3]."""

    class Backbone(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([1, 224, 224, 3], tf.uint8, "pixels")])
        def score(self, pixels):
            return {"cls": tf.reduce_mean(tf.cast(pixels, tf.float32), axis=[1, 2]) / 255.0}

    class Head(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([1, 3], tf.float32, "cls")])
        def score(self, cls):
            logit = tf.reduce_sum(cls * [1.0, 2.0, 4.0], axis=1, keepdims=True)
            heatmap = tf.reshape(tf.concat([cls] * heatmap_rows, axis=1), [1, heatmap_rows, 3])
            return {"logit": logit, "distance": logit / 2.0, "heatmap": heatmap}

    return {"backbone.tflite": convert(Backbone()), "head.tflite": convert(Head())}


def describe(detector: str, sides: tuple[int, int | None]) -> dict:
    """What `write_bundle` wants of it."""
    decision = Decision(2.0, 0.5, 0.5, (0.4, 0.6), sides, sides, distance_threshold=1e6)
    return {"detector": detector, **decision.to_description(), "card": {"detector": detector}}
