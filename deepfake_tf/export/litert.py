"""From a network to `.tflite` files for LiteRT, the runtime of Android and iOS formerly called TFLite.

Four variants of one graph, uint8 [1, 224, 224, 3] RGB 0..255 -> probability, heat map, logit and distance.
What decides is kept in float in all of them: eight bits are enough for the convolutions, not for a
probability, a heat map or a Mahalanobis distance. Selective quantisation, as in
https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_debugger.

A JSON file beside each `.tflite` holds what an application needs to know, in the form of a bundle's `detector.json`; a
copy travels in the file.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from tensorflow.lite.python import schema_py_generated as schema

from deepfake_tf.contract import LABEL_NAMES
from deepfake_tf.data.pipeline import DecodedImages, evaluation_batches
from deepfake_tf.decision import tensorflow_verdict
from deepfake_tf.decision.calibration import Calibration
from deepfake_tf.decision.domain import decision_of, distance_of
from deepfake_tf.decision.known_image import KNOWN_LOGIT, known_image
from deepfake_tf.decision.verdict import Decision
from deepfake_tf.detectors.bundle import DESCRIPTION, write_bundle
from deepfake_tf.detectors.cifake import IMAGE_SIZE, PIXEL_MEAN, PIXEL_STD, SPEC
from deepfake_tf.export.photograph_litert import finish
from deepfake_tf.export.savedmodel import Exported
from deepfake_tf.reading import tensorflow_reader
from deepfake_tf.reading.pillow_reader import decode

VARIANTS = ("float32", "float16", "dynamic_int8", "int8")
SHIPPED_VARIANT = "dynamic_int8"  # of a bundle
LIGHT_MODEL = "network.tflite"  # in a bundle
OUTPUTS = ("probability", "heatmap", "logit", "distance")  # in this order in the file
METADATA_NAME = "deepfake_tf"  # of the JSON inside the file; the standard writer, tflite-support, is no longer kept
_DECISION_SCOPE = "decision"  # the name scope of all that stays in float
_LARGE_CONSTANT_BYTES = 2**16


def export_litert(
    exported: Exported,
    calibration: Calibration,
    card: dict[str, Any],
    representative: np.ndarray,
    output: str | Path,
    variants: tuple[str, ...] = VARIANTS,
) -> dict[str, Path]:
    """Write `deepfake_VARIANT.tflite`, and a `.json` beside each.

    Args:
        exported: Exported, in float32.
        calibration: Calibration.
        card: JSON-able dict, the model card; its name, data and versions go into the JSON.
        representative: uint8 [N, 224, 224, 3]. Training images; they set the ranges of full-integer int8.
        output: str or Path. A folder, created where missing; files of the same names are replaced.
        variants: some of `VARIANTS`.

    Returns:
        variant -> path of the `.tflite`.

    Raises:
        ValueError: an unknown variant, or images of another shape or type.
    """
    if unknown := sorted(set(variants) - set(VARIANTS)):
        raise ValueError(f"variants must be some of {', '.join(VARIANTS)}. Received: {unknown}")
    side = IMAGE_SIZE
    if representative.dtype != np.uint8 or representative.shape[1:] != (side, side, 3) or not len(representative):
        raise ValueError(
            f"representative must be uint8 [N, {side}, {side}, 3], not empty. "
            f"Received: {representative.dtype} {list(representative.shape)}"
        )
    graph, paths = MobileGraph(exported, calibration), {}
    for variant in variants:
        paths[variant] = Path(output) / f"deepfake_{variant}.tflite"
        _write(graph, card, representative, variant, paths[variant].with_suffix(".json"), paths[variant].name)
    return paths


def write_light_model(exported: Exported, calibration: Calibration, card: dict[str, Any], bundle: str | Path) -> None:
    """Write the light model and the description of a bundle, such as `saved_model/deepfake`; see `export_litert`."""
    graph = MobileGraph(exported, calibration)
    no_images = np.zeros((0, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)  # this variant measures no ranges
    _write(graph, card, no_images, SHIPPED_VARIANT, Path(bundle) / DESCRIPTION, LIGHT_MODEL)


def _write(
    graph: MobileGraph,
    card: dict[str, Any],
    representative: np.ndarray,
    variant: str,
    description_file: Path,
    name: str,
) -> None:
    """A light model of one file, and its description."""
    description = _describe(graph.decision, card, variant)
    flatbuffer = _finish(_convert(graph, variant, representative), description)
    write_bundle(description_file, {**description, KNOWN_LOGIT: _known_logit(flatbuffer)}, {name: flatbuffer})


def _known_logit(flatbuffer: bytes) -> float:
    """What the variant itself gives for the known image: eight bits move it."""
    interpreter = Interpreter(model_content=flatbuffer)
    pixels = SPEC.pillow_view(decode(known_image()))
    return float(interpreter.get_signature_runner()(pixels=pixels[None])["logit"][0, 0])


def square_pixels(images: DecodedImages) -> np.ndarray:
    """What the network would read of decoded images: uint8 [N, 224, 224, 3], 0..255."""
    batches = [batch.numpy() for batch, _ in evaluation_batches(images, batch_size=32)]
    scaled = (np.concatenate(batches) * PIXEL_STD + PIXEL_MEAN) * 255.0
    return np.rint(scaled).astype(np.uint8)


class MobileGraph(tf.Module):
    """The way of an image from its resized pixels on; see `deepfake_tf.export.savedmodel`."""

    def __init__(self, exported: Exported, calibration: Calibration):
        super().__init__()
        self.decision, self._domain = decision_of(calibration, exported.domain), exported.domain
        self._network = exported.network
        self._kernel, self._bias = exported.head_kernel, exported.head_bias

    @tf.function
    def score(self, pixels):
        """uint8 [N, 224, 224, 3] -> dict of `OUTPUTS`: heatmap float32 [N, h, w], the others float32 [N, 1]."""
        images = tensorflow_reader.normalise(pixels)
        features = self._network(images)["features"]
        with tf.name_scope(_DECISION_SCOPE):
            # Products and sums where matmul would do: the converter takes every matmul's weights to eight bits.
            evidence = tf.reduce_sum(features * self._kernel, axis=-1)
            logit = tf.reduce_mean(evidence, axis=[1, 2]) + self._bias
            probability = tensorflow_verdict.probability_of(logit, self.decision)
            product = lambda vectors, matrix: tf.reduce_sum(vectors[:, :, None] * matrix, axis=1)
            distance = distance_of(tf.reduce_mean(features, axis=[1, 2]), images, self._domain, product)
            return {
                "probability": probability[:, None],
                "heatmap": tensorflow_verdict.heatmap_of(evidence, probability >= self.decision.threshold),
                "logit": logit[:, None],
                "distance": distance[:, None],
            }


def _convert(graph: MobileGraph, variant: str, representative: np.ndarray) -> bytes:
    converter = _converter(graph)
    if variant == "float32":
        return converter.convert()
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if variant == "float16":
        converter.target_spec.supported_types = [tf.float16]
        return converter.convert()
    if variant == "dynamic_int8":
        return converter.convert()
    return _debugger(graph, representative).get_nondebug_quantized_model()


def _converter(graph: MobileGraph) -> tf.lite.TFLiteConverter:
    side = IMAGE_SIZE
    pixels = tf.TensorSpec([None, side, side, 3], tf.uint8, name="pixels")
    return tf.lite.TFLiteConverter.from_concrete_functions([graph.score.get_concrete_function(pixels)], graph)


def _debugger(graph: MobileGraph, representative: np.ndarray) -> tf.lite.experimental.QuantizationDebugger:
    """Calibrated, and told to leave the decision in float."""
    images: Callable = lambda: ([pixels[None]] for pixels in representative)
    converter = _converter(graph)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = images
    options = tf.lite.experimental.QuantizationDebugOptions()
    with warnings.catch_warnings():
        # TensorFlow's own debugger still calls the interpreter that TensorFlow deprecates.
        warnings.filterwarnings("ignore", r"\s*Warning: tf.lite.Interpreter is deprecated", UserWarning)
        debugger = tf.lite.experimental.QuantizationDebugger(
            converter=converter, debug_dataset=images, debug_options=options
        )
    options.denylisted_nodes = _names_behind_features(debugger.calibrated_model)
    return debugger


def _names_behind_features(flatbuffer: bytes) -> list[str]:
    """The names of the tensors that the decision computes: those of its scope and all that follow from them."""
    graph = schema.ModelT.InitFromPackedBuf(flatbuffer, 0).subgraphs[0]
    found: set[int] = set()
    for operator in graph.operators:  # in the order of execution
        names = [graph.tensors[index].name.decode() for index in operator.outputs]
        if found & set(operator.inputs) or any(f"{_DECISION_SCOPE}/" in name for name in names):
            found.update(operator.outputs)
    return [graph.tensors[index].name.decode() for index in sorted(found)]


def _finish(flatbuffer: bytes, description: dict[str, Any]) -> bytes:
    """Name and order inputs and outputs, put the description inside, and halve what int8 left in float."""
    model = schema.ModelT.InitFromPackedBuf(flatbuffer, 0)
    (graph,) = model.subgraphs
    if any(tensor.type == schema.TensorType.INT8 for tensor in graph.tensors):
        _widen_depthwise_kernels(model, graph)
        _store_large_floats_as_float16(model, graph)
    model.description = "deepfake-tf: uint8 RGB 0..255 -> probability that the image was generated"
    entry, buffer = schema.MetadataT(), schema.BufferT()
    entry.name, entry.buffer = METADATA_NAME, len(model.buffers)
    buffer.data = np.frombuffer(json.dumps(description).encode(), np.uint8)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    return finish(model, OUTPUTS)


def _widen_depthwise_kernels(model: schema.ModelT, graph: schema.SubGraphT) -> None:
    """Store the weights of depthwise convolutions as float32 again, in `dynamic_int8`.

    They are few, and XNNPACK runs such convolutions in float or in full int8 alone; TFLite's own kernel is slow.
    """
    replaced = set()
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        if max(code.builtinCode, code.deprecatedBuiltinCode) != schema.BuiltinOperator.DEPTHWISE_CONV_2D:
            continue
        images, kernel = (graph.tensors[index] for index in operator.inputs[:2])
        if (images.type, kernel.type) != (schema.TensorType.FLOAT32, schema.TensorType.INT8):
            continue
        steps = np.asarray(kernel.quantization.scale, np.float32)  # one a channel, the last axis
        values = model.buffers[kernel.buffer].data.view(np.int8).reshape(kernel.shape) * steps
        replaced.add(kernel.buffer)
        kernel.type, kernel.quantization, kernel.buffer = schema.TensorType.FLOAT32, None, len(model.buffers)
        model.buffers.append(schema.BufferT())
        model.buffers[-1].data = values.astype(np.float32).ravel().view(np.uint8)
    for index in replaced - {tensor.buffer for tensor in graph.tensors}:
        model.buffers[index].data = None


def _store_large_floats_as_float16(model: schema.ModelT, graph: schema.SubGraphT) -> None:
    """As the float16 variant stores them: the whitening matrix alone would be 1 MB of 12."""
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
    code.version = 3  # the first that reads float16
    model.operatorCodes.append(code)
    for index, tensor in enumerate(list(graph.tensors)):
        data = model.buffers[tensor.buffer].data
        if tensor.type != schema.TensorType.FLOAT32 or np.size(data) < _LARGE_CONSTANT_BYTES:
            continue
        stored = schema.TensorT()
        stored.name, stored.shape = tensor.name + b"/float16", tensor.shape
        stored.type, stored.buffer = schema.TensorType.FLOAT16, tensor.buffer
        model.buffers[tensor.buffer].data = data.view(np.float32).astype(np.float16).view(np.uint8)
        tensor.buffer = 0  # the empty buffer: no longer a constant, but what DEQUANTIZE computes
        operator = schema.OperatorT()
        operator.opcodeIndex = len(model.operatorCodes) - 1
        operator.inputs, operator.outputs = [len(graph.tensors)], [index]
        graph.tensors.append(stored)
        graph.operators.insert(0, operator)


def _describe(decision: Decision, card: dict[str, Any], variant: str) -> dict[str, Any]:
    return {
        "detector": SPEC.name,
        "variant": variant,
        "labels": {name: label for label, name in enumerate(LABEL_NAMES)},
        "view": {
            "side": SPEC.view_side,
            "type": "uint8",
            "colours": "RGB",
            "range": [0, 255],
            "what": "the whole image, antialiased bilinear, aspect ratio not kept, rounded to whole grey levels",
        },
        "outputs": {
            "probability": "float32 [1, 1], 0..1: P(FAKE) after calibration",
            "heatmap": "float32 [1, h, w], 0..1: Grad-CAM of the label",
            "logit": "float32 [1, 1]: before calibration",
            "distance": "float32 [1, 1]: from the training data, by features (Mahalanobis) or by roughness, the larger",
        },
        **decision.to_description(),
        "card": card,
    }
