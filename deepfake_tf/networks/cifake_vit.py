"""A ViT-B/16 for CIFAKE's small images: the teacher. CLIP's first eight blocks, adapted by LoRA, in pure Keras 3.

docs/training.md tells what it reached and how it was trained.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from deepfake_tf.detectors.cifake import PIXEL_MEAN, PIXEL_STD
from deepfake_tf.detectors.cifake.config import TrainingConfig
from deepfake_tf.networks.clip_weights import load_clip_weights
from deepfake_tf.networks.vit_b16 import LAYER_NORM_EPSILON, build_vit_b16

IMAGE_SIZE = 96  # pixels: 32 enlarged threefold, 36 patches
BLOCKS = 8
ADAPTER_RANK = 64
TEACHER = "teacher.npz"  # of `save_teacher`; the config.json beside it names CLIP's weights


@keras.saving.register_keras_serializable("deepfake_tf")
class PatchFeatures(keras.layers.Layer):
    """The class token beside each patch's, normalised: [N, 1 + h * w, C] -> [N, h, w, 2 C], h = w.

    Statistics are those of the class token beside the patches' mean, so the mean of the map is that vector's layer
    norm; and what is linear in it can be taken apart by patches.
    """

    def build(self, input_shape):
        width = 2 * input_shape[-1]
        self.gamma = self.add_weight(name="gamma", shape=(width,), initializer="ones")
        self.beta = self.add_weight(name="beta", shape=(width,), initializer="zeros")

    def call(self, tokens):
        patches = tokens[:, 1:]
        both = keras.ops.concatenate([keras.ops.broadcast_to(tokens[:, :1], keras.ops.shape(patches)), patches], -1)
        mean, variance = keras.ops.moments(keras.ops.mean(both, 1, keepdims=True), -1, keepdims=True)
        normed = (both - mean) * keras.ops.rsqrt(variance + LAYER_NORM_EPSILON) * self.gamma + self.beta
        return keras.ops.reshape(normed, (-1, *self.compute_output_shape(tokens.shape)[1:]))

    def compute_output_shape(self, input_shape):
        batch, tokens, width = input_shape
        side = round((tokens - 1) ** 0.5)
        return batch, side, side, 2 * width


def build_cifake_vit(image_size: int = IMAGE_SIZE, dropout: float = 0.0, dtype: str | None = None) -> keras.Model:
    """The network with fresh weights, for squares of a multiple of 16 pixels: see `build_model` and `load_teacher`.

    The head reads the class token beside the mean of the others, both from the residual stream. `dtype` is that of the
    dense layers.
    """
    images = keras.Input((image_size, image_size, 3), name="images")
    scale, offset = 255 * PIXEL_STD, 255 * PIXEL_MEAN
    pixels = keras.layers.Rescaling(scale, offset, name="pixels", dtype="float32")(images)
    tokens = build_vit_b16(image_size, BLOCKS, dtype, ADAPTER_RANK)(pixels)["tokens"]
    x = PatchFeatures(name="head_norm", dtype="float32")(tokens)
    x = keras.layers.Activation("linear", name="features", dtype="float32")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool", dtype="float32")(x)
    if dropout:
        x = keras.layers.Dropout(dropout, name="head_dropout")(x)
    logit = keras.layers.Dense(1, name="fc", dtype="float32")(x)
    return keras.Model(images, logit, name="cifake_vit")


def load_teacher(model: keras.Model, teacher: str | Path) -> None:
    """Put CLIP's weights and what was trained on top of them into a network of `build_cifake_vit`, in place.

    Args:
        model: keras.Model, for 96 pixels.
        teacher: str or Path. An `.npz` that `save_teacher` wrote. Beside it lies the config.json of its training, whose
            `weights`, relative to that folder, are CLIP's.

    Raises:
        FileNotFoundError, ValueError: no such file, or arrays of another network.
    """
    folder = Path(teacher).parent
    load_clip_weights(model.get_layer("vit_b16"), folder / TrainingConfig.from_file(folder / "config.json").weights)
    with np.load(teacher) as archive:
        arrays = dict(archive)
    names = {weight.path for weight in model.trainable_weights}
    if names != set(arrays):
        raise ValueError(f"{teacher} holds other weights. Received: {len(names ^ set(arrays))} names that differ")
    for weight in model.trainable_weights:
        weight.assign(arrays[weight.path].astype(np.float32))


def save_teacher(model: keras.Model, path: str | Path) -> None:
    """Write the trained weights alone, float16, by name: some 11 MB. CLIP's own are not in it.

    Those of the adapters are rounded to six significant bits, which packs them to two thirds.
    """
    arrays = {}
    for weight in model.trainable_weights:
        array = keras.ops.convert_to_numpy(weight).astype(np.float16)
        if weight.path.endswith(("_down/kernel", "_up/kernel")):
            array = ((array.view(np.uint16) + 16) & 0xFFE0).view(np.float16)
        arrays[weight.path] = array
    np.savez_compressed(path, **arrays)
