"""The photograph detector as a SavedModel, made from its light files: encoded images in, rows out.

The same three signatures as of `export.savedmodel`. The kernels of the dense layers are variables of a plain
`tf.Module`, which loading the TF1 way keeps; the rest is constant.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from deepfake_tf.contract import (
    LABEL_INVALID,
    LABEL_NAMES,
    REASON_UNLIKE,
    VERDICT_GENERATED,
    VERDICT_REAL,
    VERDICT_UNCERTAIN,
)
from deepfake_tf.detectors.photograph.head_graph import directions, head_outputs
from deepfake_tf.detectors.photograph.tensorflow_views import central_views
from deepfake_tf.detectors.photograph.views import VIEW_SIZE
from deepfake_tf.engines.photograph import BACKBONE, DESCRIPTION, HEAD_ARRAYS
from deepfake_tf.export.photograph_litert import read_arrays
from deepfake_tf.export.savedmodel import MODEL_CARD
from deepfake_tf.export.warmup import write_warmup_requests
from deepfake_tf.networks.vit_b16_inference import compute_features, dense_layer_names
from deepfake_tf.reading.tensorflow_batches import read_images

PRECISIONS = ("float32", "bfloat16")


def export_savedmodel(
    bundle: str | Path, output: str | Path, warmup_images: list[bytes], precision: str = "bfloat16"
) -> Path:
    """Write the SavedModel of a bundle.

    Args:
        bundle: str or Path. The folder with `backbone.tflite`, `head.npz` and `detector.json`.
        output: str or Path. The version's folder, such as `saved_model/photograph/1`; a SavedModel there is replaced.
        warmup_images: encoded images for the warm-up requests.
        precision: "float32" or "bfloat16", of the dense layers and the attention. The kernels are the same whole
            numbers in both, and the file is twice as large with the first.

    Returns:
        The path written. It appears whole or not at all.

    Raises:
        ValueError: `output` exists and is no SavedModel, or `precision` is unknown.
        FileNotFoundError: the bundle lacks a file.
    """
    bundle, output = Path(bundle), Path(output)
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}. Received: precision={precision!r}")
    if output.exists() and not (output / "saved_model.pb").is_file():
        raise ValueError(f"{output} exists and is no SavedModel: it is not replaced. Name another --output.")
    for name in (BACKBONE, HEAD_ARRAYS, DESCRIPTION):
        if not (bundle / name).is_file():
            raise FileNotFoundError(f"A bundle of the photograph detector holds {name}. Received: {str(bundle)!r}")
    with np.load(bundle / HEAD_ARRAYS) as archive:
        head = dict(archive)
    description = json.loads((bundle / DESCRIPTION).read_text(encoding="utf-8"))
    output.parent.mkdir(parents=True, exist_ok=True)
    # Beside the version folders, a server that watches them must not take this one for a version.
    temporary = output.parent / f".{output.name}.exporting"
    shutil.rmtree(temporary, ignore_errors=True)
    card_file = output.parent / f".{output.name}.cards" / MODEL_CARD
    card_file.parent.mkdir(exist_ok=True)
    card_file.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    module = PhotographModule(read_arrays(bundle / BACKBONE), head, description, card_file, precision)
    tf.saved_model.save(module, str(temporary), signatures=module.signatures())
    shutil.rmtree(card_file.parent)
    write_warmup_requests(temporary, warmup_images)
    if output.exists():
        shutil.rmtree(output)
    os.replace(temporary, output)
    return output


class PhotographModule(tf.Module):
    """The way of a photograph as one graph."""

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray],
        head: Mapping[str, np.ndarray],
        description: Mapping[str, Any],
        card_file: Path,
        precision: str = "bfloat16",
    ):
        """Of the network's arrays, those of `head_graph`, and the bundle's description."""
        super().__init__()
        self.card = tf.saved_model.Asset(str(card_file))
        self._description = description
        dtype, towards = tf.as_dtype(precision), directions(head, arrays)
        # Variables, unlike constants, are held once however many signatures run, and no optimiser copies them.
        kernel = lambda name: tf.Variable(tf.cast(arrays[f"{name}.weight"], dtype), trainable=False)
        self._kernels = {name: kernel(name) for name in dense_layer_names(arrays)}

        def dense(x, name):
            # Whole numbers up to 127 are exact in bfloat16; the scales are not, so they go behind the product.
            product = tf.matmul(tf.cast(x, dtype), self._kernels[name])
            return tf.cast(product, tf.float32) * arrays[f"{name}.scale"] + arrays[f"{name}.bias"]

        def run(pixels):
            return head_outputs(head, description["decision"], towards, compute_features(arrays, pixels, dense, dtype))

        views = tf.TensorSpec([None, VIEW_SIZE, VIEW_SIZE, 3], tf.uint8, "pixels")
        self._network = tf.function(run).get_concrete_function(views)

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
        rows = self.explain(image_bytes)
        del rows["heatmap"]
        return rows

    def explain(self, image_bytes):
        """string [N] -> the same, and `heatmap` float32 [N, h, w], 0..1."""
        return self._score(*read_images(image_bytes, central_views, VIEW_SIZE))

    def from_pixels(self, pixels):
        """uint8 [N, H, W, 3] -> the same as `serving_default`."""
        count, height, width = tf.shape(pixels)[0], tf.shape(pixels)[1], tf.shape(pixels)[2]
        has_pixels = (height > 0) & (width > 0)
        padded = tf.cond(has_pixels, lambda: pixels, lambda: tf.zeros([count, 1, 1, 3], tf.uint8))
        status = tf.fill([count], tf.where(has_pixels, OK, EMPTY))
        rows = self._score(central_views(padded), status, tf.fill([count], width), tf.fill([count], height))
        del rows["heatmap"]
        return rows

    def _score(self, pixels, status, width, height):
        count = tf.shape(pixels)[0]
        # The convolution refuses an empty batch: it travels as one black image, cut off again.
        pixels = tf.pad(pixels, [[0, tf.cast(count == 0, tf.int32)], [0, 0], [0, 0], [0, 0]])
        outputs = {name: values[:count] for name, values in self._network(pixels).items()}
        probability, logit = outputs["probability"][:, 0], outputs["logit"][:, 0]
        decision, domain = self._description["decision"], self._description["domain"]
        is_valid = status == OK
        reason = self._reason(outputs["distance"][:, 0], width, height, domain)
        in_domain = is_valid & (reason == "")
        is_fake = probability >= decision["threshold"]
        real, fake = LABEL_NAMES
        low, high = decision["uncertain_band"]
        verdict = tf.where(is_fake, VERDICT_GENERATED, VERDICT_REAL)
        verdict = tf.where((probability > low) & (probability < high), VERDICT_UNCERTAIN, verdict)
        return {
            "label": tf.where(is_valid, tf.where(is_fake, fake, real), LABEL_INVALID),
            "verdict": tf.where(in_domain, verdict, VERDICT_UNCERTAIN),
            "reason": tf.where(is_valid, reason, ""),
            "error": tf.gather(tf.constant(ERRORS), status),
            "confidence": tf.where(is_valid, tf.where(is_fake, probability, 1.0 - probability), 0.0),
            "probability": tf.where(is_valid, probability, -1.0),
            "logit": tf.where(is_valid, logit, 0.0),
            "in_domain": in_domain,
            "width": width,
            "height": height,
            "heatmap": outputs["heatmap"] * tf.cast(is_valid, tf.float32)[:, None, None],
        }

    def _reason(self, distance, width, height, domain):
        """string [N]: why an image is out of domain, or empty."""
        low, high = domain["sides_accepted"]
        wrong_size = (tf.minimum(width, height) < low) | (tf.maximum(width, height) > high)
        min_side, max_side = domain["sides_seen_in_training"]
        seen = f"{min_side}" if min_side == max_side else f"{min_side} to {max_side}"
        size = tf.strings.join([tf.strings.as_string(width), " x ", tf.strings.as_string(height)])
        size_reason = tf.strings.join([size, f" pixels: the model was trained and measured on sides of {seen} pixels"])
        is_unlike = distance > domain["mahalanobis_threshold"]
        return tf.where(wrong_size, size_reason, tf.where(is_unlike, REASON_UNLIKE, ""))
