"""The exported graph: encoded images in, the rows of the score contract out.

Weights are frozen to constants. TensorFlow Serving loads graphs the TF1 way, in which a module that
merely holds a Keras model loses its variables (tensorflow/tensorflow#72963); constants cannot be lost.
Batch norm is folded before: the graph optimiser then makes one oneDNN call of padding, convolution, bias and ReLU.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from deepfake_tf.decision import tensorflow_verdict
from deepfake_tf.decision.calibration import Calibration
from deepfake_tf.decision.domain import Domain, decision_of, distance_of
from deepfake_tf.detectors.bundle import read_card
from deepfake_tf.detectors.cifake import IMAGE_SIZE, SPEC
from deepfake_tf.export.folding import fold_batch_norm
from deepfake_tf.export.scoring_module import ARRAYS, ScoringModule, checked_output
from deepfake_tf.networks import HEAD_LAYER, with_features
from deepfake_tf.reading import tensorflow_reader


@dataclasses.dataclass(frozen=True)
class Exported:
    """What an exported SavedModel is made of, but for its calibration.

    Attributes:
        network: float32 [N, 224, 224, 3], -1..1 -> dict of `logit` [N, 1] and `features` [N, h, w, C].
        head_kernel: float32 [C]. Of the dense unit that makes the logit of the pooled features.
        head_bias: float32 [1].
        domain: Domain.
    """

    network: Callable[[tf.Tensor], dict[str, tf.Tensor]]
    head_kernel: np.ndarray
    head_bias: np.ndarray
    domain: Domain


def exported_of(model: keras.Model, domain: Domain, precision: str = "float32") -> Exported:
    """A network of `build_model`, frozen; see `freeze`."""
    kernel, bias = model.get_layer(HEAD_LAYER).get_weights()
    return Exported(freeze(with_features(model), precision), kernel[:, 0], bias, domain)


def read_exported(model_dir: Path) -> Exported:
    """What `write_savedmodel` was given, from the files that it wrote.

    Raises:
        ValueError: the SavedModel was not written by it.
    """
    limits, file = read_card(model_dir).get("domain"), model_dir / "assets" / ARRAYS
    if limits is None or not file.is_file():
        raise ValueError(f"{model_dir} has no model card with a domain: it was not made by deepfake-tf export")
    loaded = tf.saved_model.load(str(model_dir))
    with np.load(file) as archive:
        means, whitening, kernel, bias = (archive[name] for name in ("means", "whitening", "head_kernel", "head_bias"))
    smallest, largest = limits["sides_seen_in_training"]
    domain = Domain(smallest, largest, means, whitening, limits["mahalanobis_threshold"], limits["roughness_limit"])
    return Exported(loaded.network, kernel, bias, domain)


def write_savedmodel(
    exported: Exported, calibration: Calibration, card: dict[str, Any], output: str | Path, warmup_images: list[bytes]
) -> Path:
    """Write a SavedModel with the signatures `serving_default`, `explain` and `from_pixels`.

    Args:
        exported: Exported.
        calibration: Calibration.
        card: JSON-able dict. Becomes the asset `model_card.json`.
        output: str or Path. The version's folder, such as `saved_model/deepfake/1`; replaced if there.
        warmup_images: encoded images for the warm-up requests.

    Returns:
        The path written. It appears whole or not at all.

    Raises:
        ValueError: `output` exists and is no SavedModel.
    """
    output = checked_output(output)
    domain = exported.domain
    arrays = {
        "means": domain.means,
        "whitening": domain.whitening,
        "head_kernel": exported.head_kernel,
        "head_bias": exported.head_bias,
    }
    module = DetectorModule(exported.network, exported.head_kernel, calibration, domain)
    return module.save(output, card, warmup_images, arrays)


class DetectorModule(ScoringModule):
    """The CIFAKE detector as one graph."""

    def __init__(self, network: Callable, head_kernel: np.ndarray, calibration: Calibration, domain: Domain):
        """Of a network, float32 [N, 224, 224, 3] -> dict of `logit` [N, 1], `features` [N, h, w, C]; its head, [C]."""
        super().__init__(SPEC, decision_of(calibration, domain))
        # Wrapped: as an attribute, the function itself would be saved once more beside the signatures. With shapes:
        # else each signature would hold a copy.
        images_shape = tf.TensorSpec([None, SPEC.view_side, SPEC.view_side, 3], tf.float32)
        pooled_shape = tf.TensorSpec([None, len(head_kernel)], tf.float32)
        self.network = tf.function(lambda images: network(images), input_signature=[images_shape])
        self.distance = tf.function(
            lambda pooled, images: distance_of(pooled, images, domain), input_signature=[pooled_shape, images_shape]
        )
        self._head_kernel = head_kernel

    def _outputs(self, pixels):
        images = tensorflow_reader.normalise(pixels)
        outputs = self.network(images)
        features = outputs["features"]
        distance = self.distance(tf.reduce_mean(features, axis=[1, 2]), images)
        return {"logit": outputs["logit"][:, 0], "distance": distance, "features": features}

    def _heatmap(self, outputs, is_fake):
        # Grad-CAM (https://arxiv.org/abs/1610.02391) in closed form: behind global average pooling and one
        # dense unit the gradient of the logit is the unit's kernel, everywhere on the map.
        evidence = tf.linalg.matvec(outputs["features"], tf.constant(self._head_kernel))
        return tensorflow_verdict.heatmap_of(evidence, is_fake)


def freeze(model: keras.Model, precision: str = "float32"):
    """A function with batch norm folded and the weights as constants: float32 [N, 224, 224, 3] in -1..1 -> outputs.

    A network trained on smaller squares reads the 224 px input at the resolution that it knows: run on four times as
    many pixels it would be close to guessing. Where its side divides 224 they are averaged, else interpolated, which
    loses nothing of images of 16 to 64 pixels, enlarged as they are.

    Args:
        model: keras.Model of `with_features`.
        precision: "float32" or "bfloat16"; see `fold_batch_norm`. What comes out is float32.

    Raises:
        ValueError: `precision` is unknown, or none of this network.
    """
    side = model.input_shape[1]
    factor, rest = divmod(IMAGE_SIZE, side)
    spec = tf.TensorSpec([None, IMAGE_SIZE, IMAGE_SIZE, 3], tf.float32)
    names = sorted(model.output)
    folded = fold_batch_norm(model, precision)

    @tf.function
    def run(images):
        if rest:
            images = tf.image.resize(images, (side, side))
        elif factor > 1:
            images = tf.nn.avg_pool2d(images, factor, factor, "VALID")
        outputs = folded(images, training=False)
        return [outputs[name] for name in names]

    frozen = convert_variables_to_constants_v2(run.get_concrete_function(spec))
    return lambda images: dict(zip(names, frozen(images), strict=True))
