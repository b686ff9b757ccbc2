"""The exported graph: encoded images in, the rows of the score contract out.

Weights are frozen to constants. TensorFlow Serving loads graphs the TF1 way, in which a module that
merely holds a Keras model loses its variables (tensorflow/tensorflow#72963); constants cannot be lost.
Batch norm is folded before: the graph optimiser then makes one oneDNN call of padding, convolution, bias and ReLU.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from deepfake_tf.contract import (
    FAKE,
    LABEL_INVALID,
    LABEL_NAMES,
    MAX_PIXELS,
    VERDICT_GENERATED,
    VERDICT_REAL,
    VERDICT_UNCERTAIN,
)
from deepfake_tf.decision.calibration import Calibration, Domain
from deepfake_tf.decision.known_image import KNOWN_LOGIT, known_image
from deepfake_tf.detectors.cifake import IMAGE_SIZE
from deepfake_tf.engines.detector import read_card
from deepfake_tf.export.folding import fold_batch_norm
from deepfake_tf.export.graph import network_with_features, read_domain, read_head
from deepfake_tf.export.warmup import write_warmup_requests
from deepfake_tf.networks import HEAD_LAYER, with_features
from deepfake_tf.reading import tensorflow_reader
from deepfake_tf.writing import replace_folder, restore_folder

MODEL_CARD = "model_card.json"

_OK, _EMPTY, _UNKNOWN, _NO_SIZE, _TOO_LARGE, _DAMAGED = range(6)
_ERRORS = [
    "",
    "empty file",
    "not an image in a supported format (JPEG, PNG, GIF, BMP, WebP)",
    "the image header is damaged or cut off",
    f"too many pixels: at most {MAX_PIXELS // 1_000_000} million are accepted",
    "the image is damaged, cut off, or in a variant of its format that is not supported",
]
_LOST = -1  # in place of a format: reading failed


def export_savedmodel(
    model: keras.Model,
    calibration: Calibration,
    domain: Domain,
    card: dict[str, Any],
    output: str | Path,
    warmup_images: list[bytes],
    precision: str = "float32",
) -> Path:
    """Write a SavedModel with the signatures `serving_default`, `explain` and `from_pixels`.

    Args:
        model: keras.Model of `build_model`; its input side is 224 px or divides it (see `freeze`).
        calibration: Calibration.
        domain: Domain.
        card: JSON-able dict. Becomes the asset `model_card.json`.
        output: str or Path. The version's folder, such as `saved_model/deepfake/1`; replaced if there.
        warmup_images: encoded images for the warm-up requests.
        precision: "float32", or "bfloat16" for the network; see `fold_batch_norm`.

    Returns:
        The path written. It appears whole or not at all.

    Raises:
        ValueError: `output` exists and is no SavedModel, the network's side does not divide 224, or `precision`
            is unknown.
    """
    output = _checked_output(output)
    head_kernel = model.get_layer(HEAD_LAYER).get_weights()[0][:, 0]
    module = DetectorModule(freeze(with_features(model), precision), head_kernel, calibration, domain)
    return _write(module, card, output, warmup_images)


def export_recalibrated(
    model_dir: str | Path,
    calibration: Calibration,
    card: dict[str, Any],
    output: str | Path,
    warmup_images: list[bytes],
) -> Path:
    """Write a SavedModel of an exported one's network, to the last bit, and of its domain, with another calibration.

    Args:
        model_dir: str or Path. Written by `export_savedmodel`.
        calibration: Calibration.
        card: JSON-able dict. As of `export_savedmodel`.
        output: str or Path. As of `export_savedmodel`; may be `model_dir`.
        warmup_images: as of `export_savedmodel`.

    Returns:
        The path written. It appears whole or not at all.

    Raises:
        ValueError: `output` exists and is no SavedModel, or `model_dir` was not written by `export_savedmodel`.
    """
    output, model_dir = _checked_output(output), Path(model_dir)
    network, head_kernel = network_with_features(model_dir), read_head(model_dir)[0]
    # A lambda: as an attribute, the function itself would be saved once more beside the signatures.
    module = DetectorModule(lambda images: network(images), head_kernel, calibration, domain_of_savedmodel(model_dir))
    return _write(module, card, output, warmup_images)


def domain_of_savedmodel(model_dir: Path) -> Domain:
    """What `export_savedmodel` was given, from the graph and the model card.

    Raises:
        ValueError: the SavedModel was not written by `export_savedmodel`.
    """
    limits = read_card(model_dir).get("domain")
    if limits is None:
        raise ValueError(f"{model_dir} has no model card with a domain: it was not made by deepfake-tf export")
    means, whitening = read_domain(model_dir)
    shortest, longest = limits["sides_seen_in_training"]
    return Domain(shortest, longest, means, whitening, limits["mahalanobis_threshold"], limits["roughness_limit"])


def _checked_output(output: str | Path) -> Path:
    output = Path(output)
    if output.is_symlink():  # what it links to is replaced, not the link
        output = output.resolve()
    restore_folder(output)
    if output.exists() and not (output / "saved_model.pb").is_file():
        raise ValueError(f"{output} exists and is no SavedModel: it is not replaced. Name another --output.")
    return output


def _write(module: DetectorModule, card: dict[str, Any], output: Path, warmup_images: list[bytes]) -> Path:
    output.parent.mkdir(parents=True, exist_ok=True)
    # Beside the version folders, a server that watches them must not take this one for a version.
    temporary, cards = (output.with_name(f".{output.name}.{purpose}") for purpose in ("exporting", "cards"))
    for leftover in (temporary, cards):  # of an export that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    cards.mkdir()
    logit = float(module.serving_default(tf.constant([known_image()]))["logit"][0])
    (cards / MODEL_CARD).write_text(json.dumps({**card, KNOWN_LOGIT: logit}, indent=2) + "\n")
    module.card = tf.saved_model.Asset(str(cards / MODEL_CARD))
    tf.saved_model.save(module, str(temporary), signatures=module.signatures())
    shutil.rmtree(cards)
    write_warmup_requests(temporary, warmup_images)
    replace_folder(temporary, output)
    return output


class DetectorModule(tf.Module):
    """The way of an image as one graph; see `deepfake_tf.reading.tensorflow_reader` and `calibration`."""

    def __init__(self, network: Callable, head_kernel: np.ndarray, calibration: Calibration, domain: Domain):
        """Of a network, float32 [N, 224, 224, 3] -> dict of `logit` [N, 1], `features` [N, h, w, C]; its head, [C]."""
        super().__init__()
        self._network = network
        self._head_kernel = head_kernel
        self._calibration = calibration
        self._domain = domain

    def signatures(self) -> dict[str, Any]:
        encoded = tf.TensorSpec([None], tf.string, name="image_bytes")
        pixels = tf.TensorSpec([None, None, None, 3], tf.uint8, name="pixels")
        return {
            "serving_default": tf.function(self.serving_default).get_concrete_function(encoded),
            "explain": tf.function(self.explain).get_concrete_function(encoded),
            "from_pixels": tf.function(self.from_pixels).get_concrete_function(pixels),
        }

    def serving_default(self, image_bytes):
        """string [N] -> dict of [N]: the fields of the score contract."""
        return self._score(*read_images(image_bytes))[0]

    def explain(self, image_bytes):
        """string [N] -> the same, and `heatmap` float32 [N, h, w], 0..1."""
        rows, features = self._score(*read_images(image_bytes))
        # Grad-CAM (https://arxiv.org/abs/1610.02391) in closed form: behind global average pooling and one
        # dense unit the gradient of the logit is the unit's kernel, everywhere on the map.
        evidence = tf.linalg.matvec(features, tf.constant(self._head_kernel))
        towards_label = tf.where(rows["label"] == LABEL_NAMES[FAKE], 1.0, -1.0)
        heatmap = tf.nn.relu(evidence * towards_label[:, None, None])
        peak = tf.reduce_max(heatmap, axis=[1, 2], keepdims=True)
        is_valid = tf.cast(rows["error"] == "", tf.float32)[:, None, None]
        return {**rows, "heatmap": tf.math.divide_no_nan(heatmap, peak) * is_valid}

    def from_pixels(self, pixels):
        """uint8 [N, H, W, 3] -> the same as `serving_default`."""
        height, width = tf.shape(pixels)[1], tf.shape(pixels)[2]
        count = tf.shape(pixels)[0]
        has_pixels = (height > 0) & (width > 0)
        padded = tf.cond(has_pixels, lambda: pixels, lambda: tf.zeros([count, 1, 1, 3], tf.uint8))
        status = tf.fill([count], tf.where(has_pixels, _OK, _EMPTY))
        return self._score(tensorflow_reader.resize(padded), status, tf.fill([count], width), tf.fill([count], height))[
            0
        ]

    def _score(self, pixels, status, width, height):
        count = tf.shape(pixels)[0]
        # The fused convolutions refuse an empty batch: it travels as one black image, cut off again.
        pixels = tf.pad(pixels, [[0, tf.cast(count == 0, tf.int32)], [0, 0], [0, 0], [0, 0]])
        images = tensorflow_reader.normalise(pixels)
        outputs = self._network(images)
        images = images[:count]
        outputs = {name: output[:count] for name, output in outputs.items()}
        logit = outputs["logit"][:, 0]
        probability = tf.sigmoid(logit / self._calibration.temperature + self._calibration.intercept)
        is_valid = status == _OK
        reason = self._reason(outputs["features"], roughness(images), width, height)
        in_domain = is_valid & (reason == "")
        is_fake = probability >= self._calibration.threshold
        real, fake = LABEL_NAMES
        low, high = self._calibration.band
        verdict = tf.where(is_fake, VERDICT_GENERATED, VERDICT_REAL)
        verdict = tf.where((probability > low) & (probability < high), VERDICT_UNCERTAIN, verdict)
        rows = {
            "label": tf.where(is_valid, tf.where(is_fake, fake, real), LABEL_INVALID),
            "verdict": tf.where(in_domain, verdict, VERDICT_UNCERTAIN),
            "reason": tf.where(is_valid, reason, ""),
            "error": tf.gather(tf.constant(_ERRORS), status),
            "confidence": tf.where(is_valid, tf.where(is_fake, probability, 1.0 - probability), 0.0),
            "probability": tf.where(is_valid, probability, -1.0),
            "logit": tf.where(is_valid, logit, 0.0),
            "in_domain": in_domain,
            "width": width,
            "height": height,
        }
        return rows, outputs["features"]

    def _reason(self, features, rough, width, height):
        """string [N]: why an image is out of domain, or empty."""
        domain = self._domain
        low, high = domain.accepted_sides
        wrong_size = (tf.minimum(width, height) < low) | (tf.maximum(width, height) > high)
        pooled = tf.reduce_mean(features, axis=[1, 2])
        whitened = tf.matmul(pooled, tf.constant(domain.whitening))
        squared = [tf.reduce_sum(tf.square(whitened - mean @ domain.whitening), axis=1) for mean in domain.means]
        # Noise is what a network that was trained on noisy images no longer sees: its pixels give it away.
        distance = tf.maximum(tf.sqrt(tf.minimum(*squared)), domain.threshold * rough / domain.roughness_limit)
        seen = f"{domain.min_side}" if domain.min_side == domain.max_side else f"{domain.min_side} to {domain.max_side}"
        size = tf.strings.join([tf.strings.as_string(width), " x ", tf.strings.as_string(height)])
        size_reason = tf.strings.join([size, f" pixels: the model was trained and measured on sides of {seen} pixels"])
        looks = "unlike the images that the model was trained and measured on"
        return tf.where(wrong_size, size_reason, tf.where(distance > domain.threshold, looks, ""))


def roughness(images):
    """How unlike neighbours are: the mean difference of pixels a 32nd of the side apart.

    Args:
        images: float32 [N, 224, 224, 3], -1..1.

    Returns:
        float32 [N], 0..2.
    """
    step = IMAGE_SIZE // 32
    across = tf.reduce_mean(tf.abs(images[:, :, step:] - images[:, :, :-step]), axis=[1, 2, 3])
    down = tf.reduce_mean(tf.abs(images[:, step:] - images[:, :-step]), axis=[1, 2, 3])
    return (across + down) / 2.0


def freeze(model: keras.Model, precision: str = "float32"):
    """A function with batch norm folded and the weights as constants: float32 [N, 224, 224, 3] in -1..1 -> outputs.

    A network trained on smaller squares reads the 224 px input through an average pooling, at the
    resolution that it knows: run on four times as many pixels it would be close to guessing.

    Args:
        model: keras.Model of `with_features`.
        precision: "float32" or "bfloat16"; see `fold_batch_norm`. What comes out is float32.

    Raises:
        ValueError: the side of the network's input does not divide 224, or `precision` is unknown.
    """
    side = model.input_shape[1]
    if IMAGE_SIZE % side:
        raise ValueError(
            f"Only a network trained at {IMAGE_SIZE} px, or at a side that divides it (112, 56, 32), can be "
            f"exported. Received: image_size={side}. Train on with --weights RUN_DIR/best.weights.h5 --image-size 112"
        )
    factor = IMAGE_SIZE // side
    spec = tf.TensorSpec([None, IMAGE_SIZE, IMAGE_SIZE, 3], tf.float32)
    names = sorted(model.output)
    folded = fold_batch_norm(model, precision)

    @tf.function
    def run(images):
        pooled = tf.nn.avg_pool2d(images, factor, factor, "VALID") if factor > 1 else images
        outputs = folded(pooled, training=False)
        return [outputs[name] for name in names]

    frozen = convert_variables_to_constants_v2(run.get_concrete_function(spec))
    return lambda images: dict(zip(names, frozen(images), strict=True))


def read_images(image_bytes):
    """Decode a batch in which any image may be broken.

    Args:
        image_bytes: string [N].

    Returns:
        pixels uint8 [N, 224, 224, 3], status int32 [N], width int32 [N], height int32 [N].
    """
    count = tf.shape(image_bytes)[0]
    no_pixels = tf.zeros([IMAGE_SIZE, IMAGE_SIZE, 3], tf.uint8)

    def read(index, encoded):
        image_format, width, height = tensorflow_reader.read_header(encoded)
        has_pixels = (width > 0) & (height > 0) & _is_small_enough(width, height)
        square = lambda: tensorflow_reader.resize(tensorflow_reader.decode(encoded, image_format))
        return index, tf.cond(has_pixels, square, lambda: no_pixels), image_format, width, height

    def read_all(parallel_calls):
        # tf.map_fn would fail the whole batch on one damaged image, and with the server's batching other
        # callers' requests too. A dataset drops that element alone. One more at the end stands for what was lost.
        images = tf.data.Dataset.from_tensor_slices((tf.range(count), image_bytes))
        images = images.map(read, parallel_calls, deterministic=False if parallel_calls else None).ignore_errors()
        return images.concatenate(tf.data.Dataset.from_tensors((count, no_pixels, _LOST, 0, 0)))

    def read_one():  # no threads, no copies: half a millisecond less
        _, *found = read_all(None).take(1).get_single_element()
        return [values[None] for values in found]

    def read_many():
        found = read_all(tf.data.AUTOTUNE).batch(tf.cast(count, tf.int64) + 1).get_single_element()
        index, *found = (tf.ensure_shape(values, [None, *values.shape[1:]]) for values in found)
        fill = lambda values, start: tf.fill(tf.concat([[count + 1], tf.shape(values)[1:]], axis=0), start)
        starts = (tf.cast(0, tf.uint8), _LOST, 0, 0)
        return [
            tf.tensor_scatter_nd_update(fill(values, start), index[:, None], values)[:count]  # back into their order
            for values, start in zip(found, starts)
        ]

    pixels, image_format, width, height = tf.cond(count == 1, read_one, read_many)
    status = tf.where(_is_small_enough(width, height), _OK, _TOO_LARGE)
    has_size = (width > 0) & (height > 0)
    status = tf.where(has_size, status, _NO_SIZE)
    width, height = tf.where(has_size, width, 0), tf.where(has_size, height, 0)
    status = tf.where(image_format == tensorflow_reader.UNKNOWN, _UNKNOWN, status)
    status = tf.where(image_format == _LOST, _DAMAGED, status)
    status = tf.where(tf.strings.length(image_bytes) == 0, _EMPTY, status)
    return tf.ensure_shape(pixels, [None, IMAGE_SIZE, IMAGE_SIZE, 3]), status, width, height


def _is_small_enough(width, height):
    return tf.cast(width, tf.int64) * tf.cast(height, tf.int64) <= MAX_PIXELS
