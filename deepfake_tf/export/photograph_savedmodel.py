"""The photograph detector as a SavedModel, made from its light files: encoded images in, rows out.

The same three signatures as of `export.savedmodel`. The kernels of the dense layers are variables of a plain
`tf.Module`, which loading the TF1 way keeps; the rest is constant.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from deepfake_tf.decision.verdict import Decision
from deepfake_tf.detectors.bundle import read_bundle
from deepfake_tf.detectors.photograph import SPEC
from deepfake_tf.export.photograph_bundle import BACKBONE, HEAD_ARRAYS
from deepfake_tf.export.photograph_head import directions, head_outputs
from deepfake_tf.export.scoring_module import ScoringModule, checked_output
from deepfake_tf.networks.clip_weights import read_backbone
from deepfake_tf.networks.vit_b16_inference import compute_features, dense_layer_names

PRECISIONS = ("float32", "bfloat16")


def export_photograph_savedmodel(
    bundle: str | Path, output: str | Path, warmup_images: list[bytes], precision: str = "bfloat16"
) -> Path:
    """Write the SavedModel of a bundle.

    Args:
        bundle: str or Path. The folder that `write_photograph_bundle` filled.
        output: str or Path. The version's folder, such as `saved_model/photograph/1`; a SavedModel there is replaced.
        warmup_images: encoded images for the warm-up requests.
        precision: "float32" or "bfloat16", of the dense layers and the attention. The kernels are the same whole
            numbers in both, and the file is twice as large with the first.

    Returns:
        The path written. It appears whole or not at all.

    Raises:
        ValueError: `output` exists and is no SavedModel, `precision` is unknown, or a file is damaged.
        FileNotFoundError: the bundle lacks a file.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}. Received: precision={precision!r}")
    output, folder = checked_output(output), Path(bundle)
    read = read_bundle(folder)
    if not (folder / HEAD_ARRAYS).is_file():
        raise FileNotFoundError(f"A bundle of the photograph detector holds {HEAD_ARRAYS}. Received: {str(folder)!r}")
    with np.load(folder / HEAD_ARRAYS) as archive:
        head = dict(archive)
    module = PhotographModule(read_backbone(folder / BACKBONE), head, read.decision, precision)
    card = {"detector": SPEC.name, **read.card, **read.decision.to_description(), "precision": precision}
    return module.save(output, card, warmup_images)


class PhotographModule(ScoringModule):
    """The way of a photograph as one graph."""

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray],
        head: Mapping[str, np.ndarray],
        decision: Decision,
        precision: str = "bfloat16",
    ):
        """Of the network's arrays and the head's, see `export.photograph_head`."""
        super().__init__(SPEC, decision)
        dtype, towards = tf.as_dtype(precision), directions(head, arrays)
        # Variables, unlike constants, are held once however many signatures run, and no optimiser copies them.
        kernel = lambda name: tf.Variable(tf.cast(arrays[f"{name}.weight"], dtype), trainable=False)
        self._kernels = {name: kernel(name) for name in dense_layer_names(arrays)}

        def dense(x, name):
            # Whole numbers up to 127 are exact in bfloat16; the scales are not, so they go behind the product.
            product = tf.matmul(tf.cast(x, dtype), self._kernels[name])
            return tf.cast(product, tf.float32) * arrays[f"{name}.scale"] + arrays[f"{name}.bias"]

        def run(pixels):
            return head_outputs(head, decision, towards, compute_features(arrays, pixels, dense, dtype))

        views = tf.TensorSpec([None, SPEC.view_side, SPEC.view_side, 3], tf.uint8, "pixels")
        self._network = tf.function(run).get_concrete_function(views)

    def _outputs(self, pixels):
        outputs = self._network(pixels)
        return {**outputs, "logit": outputs["logit"][:, 0], "distance": outputs["distance"][:, 0]}

    def _heatmap(self, outputs, is_fake):
        return outputs["heatmap"]  # of the label: the head has the same decision
