"""What the web does to images, one change a function, at the image's own resolution."""

from __future__ import annotations

import io
import zlib

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from scipy.ndimage import gaussian_filter


def compress_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """JPEG at this quality (Pillow's scale, 4:2:0 chroma) and back: uint8 [H, W, 3] -> the same."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def compress_webp(image: np.ndarray, quality: int) -> np.ndarray:
    """Lossy WebP at this quality (Pillow's scale) and back, sides up to 16,383: uint8 [H, W, 3] -> the same."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "WEBP", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur, `sigma` in pixels: uint8 [H, W, 3] -> the same."""
    return _to_uint8(gaussian_filter(image.astype(np.float32), (sigma, sigma, 0)))


def add_noise(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian noise of each value, `sigma` in grey levels of 255: uint8 [H, W, 3] -> the same.

    The noise is seeded by the image itself, so that it does not depend on the order of the images.
    """
    generator = np.random.default_rng(zlib.crc32(image.tobytes()))
    return _to_uint8(image + generator.normal(0, sigma, image.shape))


def resize(image: np.ndarray, factor: float) -> np.ndarray:
    """Bicubic, antialiased, to `factor` of the sides: uint8 [H, W, 3] -> uint8 [factor H, factor W, 3]."""
    height, width, _ = image.shape
    return _resize_to(image, max(1, round(width * factor)), max(1, round(height * factor)))


def resize_and_back(image: np.ndarray, factor: float) -> np.ndarray:
    """Bicubic, antialiased, to `factor` of the sides and back: uint8 [H, W, 3] -> the same."""
    height, width, _ = image.shape
    return _resize_to(resize(image, factor), width, height)


def screenshot(image: np.ndarray, width: int, height: int, quality: int) -> np.ndarray:
    """What is left of an image that was shown whole on a screen, captured and sent on.

    Scaled to fit the screen, smaller images enlarged; kept as a PNG, which changes no pixel, then as a JPEG.

    Args:
        image: uint8 [H, W, 3].
        width: int, pixels of the screen.
        height: int, pixels of the screen.
        quality: int. Of the JPEG, Pillow's scale.

    Returns:
        uint8 [H', W', 3], H' = height or W' = width.
    """
    return compress_jpeg(resize(image, min(width / image.shape[1], height / image.shape[0])), quality)


def crop_centre(image: np.ndarray, share: float) -> np.ndarray:
    """The middle `share` of both sides: uint8 [H, W, 3] -> uint8 [share H, share W, 3]."""
    height, width = (max(1, round(side * share)) for side in image.shape[:2])
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def change_brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Every value times `factor`: uint8 [H, W, 3] -> the same."""
    return np.asarray(ImageEnhance.Brightness(Image.fromarray(image)).enhance(factor))


def change_contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Every value's distance to the mean grey level times `factor`: uint8 [H, W, 3] -> the same."""
    return np.asarray(ImageEnhance.Contrast(Image.fromarray(image)).enhance(factor))


def change_saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """Every value's distance to its pixel's luma times `factor`: uint8 [H, W, 3] -> the same."""
    return np.asarray(ImageEnhance.Color(Image.fromarray(image)).enhance(factor))


def turn_hue(image: np.ndarray, degrees: float) -> np.ndarray:
    """Hue moved on HSV's circle of 360 degrees, which 256 steps divide here: uint8 [H, W, 3] -> the same."""
    hsv = np.array(Image.fromarray(image).convert("HSV"))
    hsv[:, :, 0] += np.uint8(round(degrees / 360 * 256) % 256)
    return np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"))


def make_grey(image: np.ndarray) -> np.ndarray:
    """Luma (ITU-R 601) in all three channels: uint8 [H, W, 3] -> the same."""
    return np.asarray(ImageOps.grayscale(Image.fromarray(image)).convert("RGB"))


def flip(image: np.ndarray) -> np.ndarray:
    """Left-right: uint8 [H, W, 3] -> the same."""
    return image[:, ::-1]


def _resize_to(image: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def _to_uint8(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
