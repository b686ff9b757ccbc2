"""What the web does to images, as training augmentation: JPEG, blur, noise, scaling, loss of colour.

A detector trained on clean images reads the finest traces, which the first re-compression destroys;
shown damaged images, it learns the ones that stay (Wang et al., "CNN-generated images are surprisingly
easy to spot... for now", https://arxiv.org/abs/1912.11035, section 4).

Everything is a batch operation in `keras.ops`, each image with its own strength: it runs in tf.data as well
as on an accelerator, under any backend. Blur and scaling are linear and separable, so each is a matrix for
the rows and one for the columns.
"""

from __future__ import annotations

import math

import numpy as np
from keras import ops

DRAWS_PER_IMAGE = 3  # whether, which, how strongly

# Kind -> (share of the degraded images, range of its strength).
KINDS: dict[str, tuple[float, tuple[float, float]]] = {
    "jpeg": (0.24, (95.0, 25.0)),  # quality
    "blur": (0.26, (0.3, 2.2)),  # sigma, pixels
    "noise": (0.20, (1.0, 18.0)),  # sigma, grey levels of 255
    "resize": (0.20, (0.95, 0.4)),  # factor of the sides, and back
    "greyscale": (0.10, (0.0, 1.0)),  # no strength
}

# ITU-T T.81, tables K.1 and K.2: quantisation of luminance and chrominance at quality 50.
_LUMINANCE = """16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"""
_CHROMINANCE = """17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99"""
_TABLES = [np.array(table.split(), np.float32).reshape(8, 8) for table in (_LUMINANCE, _CHROMINANCE)]
_DCT = np.array(
    [[math.sqrt((2 if k else 1) / 8) * math.cos((2 * x + 1) * k * math.pi / 16) for x in range(8)] for k in range(8)],
    np.float32,
)
# JFIF: RGB -> Y, Cb, Cr (without their offset of 128) and back.
_TO_YCC = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
).T.copy()
_TO_RGB = np.array([[1.0, 0.0, 1.402], [1.0, -0.344136, -0.714136], [1.0, 1.772, 0.0]], np.float32).T.copy()


def degrade(pixels, draws, noise, share: float):
    """Damage a share of the images, each in one of `KINDS`.

    Args:
        pixels: float32 [N, H, W, 3], 0..255, at the images' own size; H and W are static.
        draws: float32 [N, DRAWS_PER_IMAGE], uniform in 0..1.
        noise: float32 [N, H, W, 3], standard normal.
        share: float, 0..1. The share of the images that is damaged.

    Returns:
        float32 [N, H, W, 3], 0..255, rounded to whole grey levels.
    """
    whether, which, strength = (draws[:, i] for i in range(DRAWS_PER_IMAGE))
    _, height, width, _ = pixels.shape
    chosen, strengths, start = {}, {}, 0.0
    for kind, (part, (weakest, strongest)) in KINDS.items():
        inside = ops.logical_and(which >= start, which < start + part)
        chosen[kind] = ops.logical_and(whether < share, inside)
        strengths[kind] = weakest + strength * (strongest - weakest)
        start += part

    def operator(side):
        matrices = ops.broadcast_to(ops.eye(side, dtype="float32"), (*ops.shape(whether), side, side))
        for kind, matrix in (("blur", blur_matrix), ("resize", resize_matrix)):
            matrices = ops.where(chosen[kind][:, None, None], matrix(side, strengths[kind]), matrices)
        return matrices

    def select(kind, changed, otherwise):
        return ops.where(chosen[kind][:, None, None, None], changed, otherwise)

    pixels = ops.einsum("nij,njwc->niwc", operator(height), pixels)
    pixels = ops.einsum("nij,nhjc->nhic", operator(width), pixels)
    pixels = select("noise", pixels + noise * strengths["noise"][:, None, None, None], pixels)
    pixels = select("greyscale", ops.repeat(ops.tensordot(pixels, _TO_YCC[:, :1], 1), 3, axis=-1), pixels)
    pixels = ops.clip(ops.round(pixels), 0.0, 255.0)
    return select("jpeg", jpeg(pixels, strengths["jpeg"]), pixels)


def blur_matrix(side: int, sigma):
    """Gaussian blur of a row of `side` pixels, mirrored at its ends: sigma [N] -> float32 [N, side, side]."""
    positions = np.arange(side, dtype=np.float32)
    # A pixel is met up to three times: itself, and its mirror image beyond either end.
    distances = np.stack(
        [positions[:, None] - mirror for mirror in (positions, -1 - positions, 2 * side - 1 - positions)]
    )
    weights = ops.exp(-0.5 * ops.square(ops.divide(distances, sigma[:, None, None, None])))
    return _normalise_rows(ops.sum(weights, axis=1))


def resize_matrix(side: int, factor):
    """Bicubic, antialiased, to round(factor * side) pixels and back: factor [N] -> float32 [N, side, side]."""
    centres = ops.arange(side, dtype="float32") + 0.5
    small = ops.round(factor * side)[:, None, None]  # pixels of the small row; the matrices keep room for `side`
    step = side / small
    exists = ops.cast(centres < small, "float32")
    down = _normalise_rows(_cubic((centres[:, None] * step - centres) / step))
    up = _normalise_rows(_cubic(centres[:, None] / step - centres) * exists)
    return ops.matmul(up, down)


def jpeg(pixels, quality):
    """JPEG at this quality (libjpeg's scale) with 4:2:0 chroma, and back.

    Args:
        pixels: float32 [N, H, W, 3], 0..255; H and W are static.
        quality: float32 [N], 1..100.

    Returns:
        float32 [N, H, W, 3], 0..255, whole grey levels.
    """
    _, height, width, _ = pixels.shape
    padded = ops.pad(pixels, [[0, 0], [0, -height % 16], [0, -width % 16], [0, 0]], mode="symmetric")
    ycc = ops.tensordot(padded, _TO_YCC, 1)
    luminance, chrominance = ycc[..., :1] - 128.0, ops.average_pool(ycc[..., 1:], 2, 2, data_format="channels_last")
    scale = ops.floor(ops.where(quality < 50.0, 5000.0 / quality, 200.0 - 2.0 * quality))
    luminance = _quantise(luminance, _TABLES[0], scale) + 128.0
    chrominance = _quantise(chrominance, _TABLES[1], scale)
    chrominance = ops.repeat(ops.repeat(chrominance, 2, axis=1), 2, axis=2)
    rgb = ops.tensordot(ops.concatenate([luminance, chrominance], axis=-1), _TO_RGB, 1)
    return ops.clip(ops.round(rgb[:, :height, :width]), 0.0, 255.0)


def _quantise(planes, table, scale):
    """Through the quantised 8 x 8 DCT and back: planes [N, H, W, C]."""
    _, height, width, channels = planes.shape
    steps = ops.clip(ops.floor((ops.multiply(table, scale[:, None, None]) + 50.0) / 100.0), 1.0, 255.0)[:, None]
    blocks = ops.reshape(planes, (-1, height // 8, 8, width // 8, 8, channels))
    blocks = ops.reshape(ops.transpose(blocks, (0, 1, 3, 5, 2, 4)), (-1, height * width * channels // 64, 8, 8))
    coefficients = ops.matmul(ops.matmul(_DCT, blocks), _DCT.T)
    coefficients = ops.round(coefficients / steps) * steps
    blocks = ops.matmul(ops.matmul(_DCT.T, coefficients), _DCT)
    blocks = ops.reshape(blocks, (-1, height // 8, width // 8, channels, 8, 8))
    return ops.reshape(ops.transpose(blocks, (0, 1, 4, 2, 5, 3)), (-1, height, width, channels))


def _cubic(distance):
    """The bicubic kernel with a = -0.5, Pillow's: nonzero within two pixels."""
    x = ops.abs(distance)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return ops.where(x < 1.0, near, ops.where(x < 2.0, far, 0.0))


def _normalise_rows(weights):
    total = ops.sum(weights, axis=-1, keepdims=True)
    return weights / ops.where(total == 0.0, 1.0, total)  # rows beyond a small image are zero
