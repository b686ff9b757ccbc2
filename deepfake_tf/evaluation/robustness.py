"""Does the model stay right when images are changed the way the web changes them?

    robustness.json     a row a condition, the mean drop and the worst condition
    robustness.png      accuracy under each condition

The changes are made at the image's own resolution, before the network's resize, and the threshold stays
the deployed one: a detector in use is not tuned to each degradation.
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from scipy.ndimage import gaussian_filter

from deepfake_tf.evaluation.report import COLOURS, compute_metrics, load_scorer, pixel_batches, whole_file
from deepfake_tf.output.progress import progress_bar

if TYPE_CHECKING:
    from deepfake_tf.data.pipeline import DecodedImages

CLEAN = "clean"
BOOTSTRAP_SAMPLES = 200  # of each row's interval
BATCH_SIZE = 64  # images at once, where all share a size


def compress_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """JPEG at this quality (Pillow's scale, 4:2:0 chroma) and back: uint8 [H, W, 3] -> the same."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur, `sigma` in pixels: uint8 [H, W, 3] -> the same."""
    return _to_uint8(gaussian_filter(image.astype(np.float32), (sigma, sigma, 0)))


def add_noise(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian noise of each value, `sigma` in grey levels of 255: uint8 [H, W, 3] -> the same.

    The noise is seeded by the image itself, so that it does not depend on the order of the images.
    """
    generator = np.random.default_rng(zlib.crc32(image.tobytes()))
    return _to_uint8(image + generator.normal(0, sigma, image.shape))


def resize_and_back(image: np.ndarray, factor: float) -> np.ndarray:
    """Bicubic, antialiased, to `factor` of the sides and back: uint8 [H, W, 3] -> the same."""
    height, width, _ = image.shape
    small = (max(1, round(width * factor)), max(1, round(height * factor)))
    resized = Image.fromarray(image).resize(small, Image.Resampling.BICUBIC)
    return np.asarray(resized.resize((width, height), Image.Resampling.BICUBIC))


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


def make_grey(image: np.ndarray) -> np.ndarray:
    """Luma (ITU-R 601) in all three channels: uint8 [H, W, 3] -> the same."""
    return np.asarray(ImageOps.grayscale(Image.fromarray(image)).convert("RGB"))


def flip(image: np.ndarray) -> np.ndarray:
    """Left-right: uint8 [H, W, 3] -> the same."""
    return image[:, ::-1]


# Each: uint8 [H, W, 3] -> uint8 [H', W', 3]; images of one size come out at one size.
CONDITIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    **{f"JPEG quality {quality}": partial(compress_jpeg, quality=quality) for quality in (90, 70, 50, 30)},
    **{f"blur sigma {sigma:g}": partial(blur, sigma=sigma) for sigma in (0.5, 1.0, 2.0)},
    **{f"noise {sigma}/255": partial(add_noise, sigma=sigma) for sigma in (2, 8, 16)},
    **{f"resize {factor} and back": partial(resize_and_back, factor=factor) for factor in (0.75, 0.5)},
    "centre crop 80 %": partial(crop_centre, share=0.8),
    "brightness -20 %": partial(change_brightness, factor=0.8),
    "brightness +20 %": partial(change_brightness, factor=1.2),
    "contrast -20 %": partial(change_contrast, factor=0.8),
    "contrast +20 %": partial(change_contrast, factor=1.2),
    "greyscale": make_grey,
    "horizontal flip": flip,
}


def evaluate_robustness(
    model_path: str | Path, images: DecodedImages, output_dir: str | Path, threshold: float = 0.5
) -> list[dict[str, Any]]:
    """Score the images clean and under every condition; write robustness.json and robustness.png.

    Args:
        model_path: str or Path. A run directory or a SavedModel; see `evaluation.load_scorer`.
        images: DecodedImages of both classes.
        output_dir: str or Path. Made where it is missing.
        threshold: float, 0..1. FAKE at this probability and above, under every condition.

    Returns:
        JSON-able rows, "clean" first: `condition`; `accuracy` with the ends of its 95 % interval,
        `accuracy_low` and `accuracy_high`; `auc`; `tpr_at_1_percent_fpr`, all 0..1; `drop_points`, the
        accuracy lost against clean in percentage points.

    Raises:
        ValueError: as `evaluation.load_scorer` and `evaluation.compute_metrics`.
    """
    probabilities_of = load_scorer(model_path)
    rows: list[dict[str, Any]] = []
    with progress_bar((1 + len(CONDITIONS)) * len(images), CLEAN, "image") as bar:
        for name, change in [(CLEAN, lambda image: image), *CONDITIONS.items()]:
            bar.set_description(name)
            probabilities = []
            for pixels in pixel_batches(images, BATCH_SIZE):
                probabilities.append(probabilities_of(np.stack([change(image) for image in pixels])))
                bar.update(len(pixels))
            labels = images.examples.labels
            metrics = compute_metrics(labels, np.concatenate(probabilities), threshold, BOOTSTRAP_SAMPLES)
            accuracy = metrics["accuracy"]
            rows.append(
                {
                    "condition": name,
                    "accuracy": accuracy["value"],
                    "accuracy_low": accuracy["low"],
                    "accuracy_high": accuracy["high"],
                    "auc": metrics["roc_auc"]["value"],
                    "tpr_at_1_percent_fpr": metrics["tpr_at_1_percent_fpr"]["value"],
                    "drop_points": 100 * (rows[0]["accuracy"] - accuracy["value"]) if rows else 0.0,
                }
            )
    changed = rows[1:]
    report = {
        "model": str(model_path),
        "images": len(images),
        "threshold": threshold,
        "mean_drop_points": float(np.mean([row["drop_points"] for row in changed])),
        "worst_condition": max(changed, key=lambda row: row["drop_points"])["condition"],
        "conditions": rows,
    }
    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    plot_robustness(rows, output_dir / "robustness.png")
    with whole_file(output_dir / "robustness.json") as path:
        path.write_text(json.dumps(report, indent=2) + "\n")
    return rows


def plot_robustness(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Accuracy under each condition as horizontal bars, clean accuracy as a line.

    Args:
        rows: of `evaluate_robustness`.
        path: Path of the PNG.
    """
    from matplotlib.figure import Figure

    clean, changed = rows[0], rows[1:]
    names = [row["condition"] for row in changed]
    values, lows, highs = (
        np.array([100 * row[key] for row in changed]) for key in ("accuracy", "accuracy_low", "accuracy_high")
    )
    figure = Figure(figsize=(7.0, 1.2 + 0.25 * len(changed)), layout="constrained")
    axes = figure.subplots()
    errors = np.maximum([values - lows, highs - values], 0)
    axes.barh(names, values, xerr=errors, color=COLOURS[0], height=0.7, error_kw={"ecolor": "black", "capsize": 2})
    clean_accuracy = 100 * clean["accuracy"]
    axes.axvline(clean_accuracy, color=COLOURS[1], linestyle="--", label=f"clean: {clean_accuracy:.2f} %")
    # Near the top, where the differences are; the numbers at the right keep the cut axis honest.
    left = max(0.0, 5 * np.floor((min(lows.min(), clean_accuracy) - 2) / 5))
    axes.set(xlim=(left, 100), xlabel="accuracy in percent, with its 95 % interval (the axis is cut)")
    for position, value in enumerate(values):
        axes.text(1.01, position, f"{value:.2f}", va="center", fontsize=9, transform=axes.get_yaxis_transform())
    mean_drop = np.mean([row["drop_points"] for row in changed])
    axes.set_title(f"Accuracy of changed images: {mean_drop:.2f} points lost on average", fontsize=11)
    axes.set_ylim(len(changed) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower right", fontsize=9)
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _to_uint8(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
