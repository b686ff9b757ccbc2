"""Random training views of a photograph: the one law, the same for real and generated images.

The law takes no notice of the label, and each draw depends on the image's name and the copy's number alone, so a cache
of features can be continued, or built again, with the same views.
"""

from __future__ import annotations

import hashlib
import io

import numpy as np
from PIL import Image, ImageFilter

from deepfake_tf.detectors.photograph.views import central_view

LAW = 2  # its number: a cache made under another one is refused
CROP_SHARE = (0.65, 1.0)  # side of the square crop, of the short side
SMALLEST_SIDE = 192  # pixels that a crop is scaled to at least; at most it keeps its own size
FILTERS = (
    Image.Resampling.BOX,
    Image.Resampling.BILINEAR,
    Image.Resampling.HAMMING,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
)
BLUR_SHARE, BLUR_SIGMA = 0.15, (0.3, 1.6)  # pixels; with twice as many, more blurred photographs were accused
NOISE_SHARE, NOISE_SIGMA = 0.35, (1.0, 16.0)  # grey levels of 255; with half as many, noisy ones were accused
JPEG_SHARE, JPEG_QUALITY = 0.65, (30, 97)
WEBP_SHARE, WEBP_QUALITY = 0.2, (50, 95)
FLIP_SHARE = 0.5


def random_view(pixels: np.ndarray, name: str, copy: int) -> np.ndarray:
    """One random view: crop, scale, blur or noise, compression, flip, and then the view that prediction uses.

    Args:
        pixels: uint8 [H, W, 3], RGB, any size.
        name: str. The image's name within its data set; it seeds the draws.
        copy: int, 1 or more. Which of the image's random views.

    Returns:
        uint8 [224, 224, 3].
    """
    digest = hashlib.sha256(f"{copy}/{name}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    height, width, _ = pixels.shape
    side = max(1, round(min(height, width) * generator.uniform(*CROP_SHARE)))
    top, left = generator.integers(0, height - side + 1), generator.integers(0, width - side + 1)
    image = Image.fromarray(np.ascontiguousarray(pixels[top : top + side, left : left + side]))
    scaled = round(np.exp(generator.uniform(np.log(SMALLEST_SIDE), np.log(max(SMALLEST_SIDE, side)))))
    image = image.resize((scaled, scaled), FILTERS[generator.integers(len(FILTERS))])
    image = _damage(image, generator)
    image = _compress(image, generator)
    if generator.random() < FLIP_SHARE:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return central_view(np.asarray(image))


def _damage(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    draw = generator.random()
    if draw < BLUR_SHARE:
        return image.filter(ImageFilter.GaussianBlur(generator.uniform(*BLUR_SIGMA)))
    if draw < BLUR_SHARE + NOISE_SHARE:
        pixels = np.asarray(image, np.float32)
        noisy = pixels + generator.normal(0, generator.uniform(*NOISE_SIGMA), pixels.shape)
        return Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
    return image


def _compress(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    draw = generator.random()
    buffer = io.BytesIO()
    if draw < JPEG_SHARE:
        quality = int(generator.integers(JPEG_QUALITY[0], JPEG_QUALITY[1] + 1))
        image.save(buffer, "JPEG", quality=quality, subsampling=int(generator.choice([0, 2, 2])))
    elif draw < JPEG_SHARE + WEBP_SHARE:
        quality = int(generator.integers(WEBP_QUALITY[0], WEBP_QUALITY[1] + 1))
        image.save(buffer, "WEBP", quality=quality, method=2)
    else:
        return image
    return Image.open(buffer).convert("RGB")
