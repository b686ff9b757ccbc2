"""From a run directory to the SavedModel that ships: calibrate, know the domain, write the card."""

from __future__ import annotations

import dataclasses
import datetime
import json
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import deepfake_tf
from deepfake_tf.contract import FAKE, LABEL_NAMES, MAX_BATCH_SIZE, Rows
from deepfake_tf.data.examples import Examples, select_split
from deepfake_tf.data.pipeline import DecodedImages, evaluation_batches
from deepfake_tf.decision.calibration import BAND_ACCURACY, FOLDS, Calibration, cross_fit, fit_calibration
from deepfake_tf.decision.domain import DOMAIN_PERCENTILE, Domain, fit_domain, roughness
from deepfake_tf.decision.known_image import KNOWN_LOGIT
from deepfake_tf.detectors.bundle import read_card
from deepfake_tf.detectors.cifake import IMAGE_SIZE, PIXEL_MEAN, PIXEL_STD, SPEC
from deepfake_tf.detectors.cifake.config import TrainingConfig
from deepfake_tf.evaluation.metrics import compute_metrics
from deepfake_tf.evaluation.scoring import score_batches
from deepfake_tf.export.folding import fold_batch_norm
from deepfake_tf.export.litert import export_litert, square_pixels, write_light_model
from deepfake_tf.export.savedmodel import exported_of, freeze, read_exported, write_savedmodel
from deepfake_tf.networks import flip_averaged, with_features
from deepfake_tf.networks.batch_normalization import input_axes
from deepfake_tf.samples import encoded_squares
from deepfake_tf.text import plural, printable
from deepfake_tf.training.averaging import AVERAGE_FILE
from deepfake_tf.training.run_directory import SPLIT_FILES, load_network, read_names

DOMAIN_TRAINING_IMAGES = 5_000  # of the training split, for the class means and the covariance
REPRESENTATIVE_IMAGES = 200  # of those, for the ranges of full-integer int8
KERNEL_BITS = 12  # and the sign; 8 would move the logits of an EfficientNet-Lite0 by up to 8


Network = Callable[[tf.Tensor], dict[str, tf.Tensor]]  # float32 [N, S, S, 3] -> "logit" [N, 1], "features" [N, h, w, C]


def export_run(
    run_dir: str | Path,
    examples: Examples,
    output: str | Path,
    litert: str | Path | None = None,
    flip_averaging: bool = False,
    precision: str = "float32",
) -> dict:
    """Export the best weights of a run.

    Args:
        run_dir: str or Path. Filled by `deepfake_tf.training.loop.train`.
        examples: Examples. The source that the run was trained on.
        output: str or Path. The SavedModel's folder. A numbered one, such as `saved_model/deepfake/1`, is a version in
            a bundle, whose light model and description are written too.
        litert: str, Path or None. A folder for `.tflite` files too, in four variants; see `export_litert`.
        flip_averaging: bool. Average over each image and its mirror image, at twice the cost; see `flip_averaged`.
        precision: "float32", or "bfloat16": half the size, and faster on processors with bfloat16 arithmetic. The
            card then states what that costs against float32; the `.tflite` files stay as they are.

    Returns:
        The model card.

    Raises:
        ValueError: the run's files are not in `examples`, or `precision` is unknown or none of its network.
    """
    run_dir = Path(run_dir)
    config, model = load_network(run_dir)
    model = _to_ship(model, flip_averaging)
    network = freeze(with_features(model), precision)
    training, validation = read_split(run_dir, examples, config)
    sample_images = _sample(training, config.seed)
    validation_images = DecodedImages(validation, IMAGE_SIZE, "reading validation images")
    on_sample = _run_network(network, sample_images, "measuring training images")
    on_validation = _run_network(network, validation_images, "measuring validation images")
    labels = validation_images.examples.labels
    logits = on_validation["logits"]
    calibration = fit_calibration(labels, logits)
    domain = fit_domain(
        on_sample["features"],
        sample_images.examples.labels,
        on_validation["features"],
        sample_images.sizes,
        on_validation["roughness"],
    )
    card = _model_card(config, calibration, domain, logits, training, validation_images)
    card["input"]["flip_averaging"] = flip_averaging
    card["precision"] = precision
    if (run_dir / AVERAGE_FILE).is_file():
        card["averaged"] = json.loads((run_dir / AVERAGE_FILE).read_text())  # run directory -> its share of the weights
    if precision != "float32":
        exact = _run_network(freeze(with_features(model)), validation_images, "measuring in float32")
        card["against_float32"] = _compare(labels, logits, exact["logits"], calibration)
    write_savedmodel(exported_of(model, domain, precision), calibration, card, output, encoded_squares())
    exported = exported_of(model, domain)  # in float32, of which the light files are made
    if is_version(output):
        write_light_model(exported, calibration, card, Path(output).parent)
    if litert is not None:
        representative = sample_images.take(_spread(len(sample_images)))
        export_litert(exported, calibration, card, square_pixels(representative), litert)
    return card


def _to_ship(model: keras.Model, flip_averaging: bool) -> keras.Model:
    """The network as it ships. Nothing changes its weights afterwards, so the card describes what ships."""
    model = fold_batch_norm(model)  # before rounding, which it would undo
    _round_kernels(model)
    return flip_averaged(model) if flip_averaging else model


def _sample(training: Examples, seed: int) -> DecodedImages:
    """The training images that the domain is fitted to, in their order."""
    sample = np.random.default_rng(seed).permutation(len(training))[:DOMAIN_TRAINING_IMAGES]
    return DecodedImages(training.take(np.sort(sample)), IMAGE_SIZE, "reading training images")


def recalibrate(model_dir: str | Path, examples: Examples, output: str | Path) -> dict:
    """Export a SavedModel anew: the same network and domain, calibrated by this version, without the run.

    Args:
        model_dir: str or Path. Written by `export_run`.
        examples: Examples. The source that it was trained on: its validation split, as the model card states it, is
            what is measured.
        output: str or Path. As of `export_run`; may be `model_dir`. The light model of a bundle follows where
            the network is stored in float32.

    Returns:
        The model card.

    Raises:
        ValueError: the card does not say how the data were split, or the data have another validation split.
    """
    model_dir = Path(model_dir)
    card = read_card(model_dir)
    if missing := [key for key in ("training", "data", "domain") if key not in card]:
        raise ValueError(f"{model_dir} has no model card with {missing}: it was not made by deepfake-tf export")
    split = card["training"]["validation_fraction"], card["training"]["split_seed"]
    images = DecodedImages(examples, IMAGE_SIZE, "reading images")
    validation = select_split(images, "validation", *split)
    if validation.examples.counts() != card["data"]["validation"]:
        raise ValueError(
            f"These are not the data that {model_dir} was trained on: its validation split has "
            f"{card['data']['validation']}. Received: {validation.examples.counts()}"
        )
    exported = read_exported(model_dir)
    logits = _run_network(exported.network, validation, "measuring validation images")["logits"]
    calibration = fit_calibration(validation.examples.labels, logits)
    card = {"detector": SPEC.name, **card, **_measured(calibration, logits, validation), **_provenance()}
    card.pop(KNOWN_LOGIT, None)
    write_savedmodel(exported, calibration, card, output, encoded_squares())
    if is_version(output) and card.get("precision", "float32") == "float32":
        write_light_model(exported, calibration, card, Path(output).parent)
    return card


def is_version(output: str | Path) -> bool:
    """Whether a SavedModel's folder is a numbered version, so that the folder around it is a bundle."""
    return Path(output).absolute().name.isdigit()


def export_variants(model_dir: str | Path, examples: Examples, output: str | Path) -> dict[str, Path]:
    """Write the `.tflite` files of a SavedModel, in four variants.

    Args:
        model_dir: str or Path. Written by `export_run`, in float32.
        examples: Examples. Images of the kind that it was trained on: some of them set int8's ranges.
        output: str or Path. A folder.

    Returns:
        variant -> path of the `.tflite`.
    """
    exported, card = read_exported(Path(model_dir)), read_card(Path(model_dir))
    rules = card["decision"]
    band, intercept = tuple(rules["uncertain_band"]), rules.get("intercept", 0.0)
    calibration = Calibration(rules["temperature"], rules["threshold"], band, intercept)
    card.pop(KNOWN_LOGIT, None)  # which is that of each variant
    images = DecodedImages(examples.take(_spread(len(examples))), IMAGE_SIZE, "reading images")
    return export_litert(exported, calibration, card, square_pixels(images), output)


def _spread(count: int) -> np.ndarray:
    """Positions of the representative images."""
    return np.linspace(0, count - 1, min(REPRESENTATIVE_IMAGES, count)).astype(int)


def read_split(run_dir: Path, examples: Examples, config: TrainingConfig) -> tuple[Examples, Examples]:
    """The training and the validation images of a run, as its file lists name them, or else its configuration."""
    if not (run_dir / SPLIT_FILES[0]).is_file():
        images = DecodedImages(examples, description="reading images")
        split = config.validation_fraction, config.split_seed
        training, validation = (select_split(images, part, *split).examples for part in ("training", "validation"))
        return training, validation
    position = {printable(name): index for index, name in enumerate(examples.names)}
    parts = []
    for file in SPLIT_FILES:
        names = read_names(run_dir / file)
        if missing := [name for name in names if name not in position]:
            raise ValueError(
                f"Of {plural(len(names), 'image')} in {run_dir / file} the data given lack {len(missing):,}, such as "
                f"{missing[0]!r}. Give the --data that the run was trained on; it holds names such as "
                f"{examples.names[0]!r}."
            )
        parts.append(examples.take(np.array([position[name] for name in names])))
    return parts[0], parts[1]


def _round_kernels(model: keras.Model) -> None:
    """Round each convolution's kernel to whole multiples of a power of two, at most 2^`KERNEL_BITS` of them a channel.

    The file then packs to 0.6 of its size, in a repository or a container image; the numbers stay float32, and move by
    less than int8 moves them.
    """
    for layer in model.layers:
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)):
            kernel = keras.ops.convert_to_numpy(layer.kernel)
            largest = np.abs(kernel).max(axis=input_axes(layer), keepdims=True)
            step = 2.0 ** (np.ceil(np.log2(np.maximum(largest, np.finfo(np.float32).tiny))) - KERNEL_BITS)
            layer.kernel.assign(np.round(kernel / step) * step)


def _run_network(network: Network, images: DecodedImages, description: str) -> Rows:
    """What the network says of N images, before calibration: `evaluation.scoring` knows no features.

    Returns:
        float32: `logits` [N]; `features` [N, C], pooled; `roughness` [N], 0..2, see `decision.domain.roughness`.
    """

    def run(pixels: tf.Tensor) -> Rows:
        outputs = network(pixels)
        return {
            "logits": outputs["logit"].numpy()[:, 0],
            "features": tf.reduce_mean(outputs["features"], axis=[1, 2]).numpy(),
            "roughness": roughness(pixels).numpy(),
        }

    batches = (pixels for pixels, _ in evaluation_batches(images, MAX_BATCH_SIZE))
    return score_batches(run, batches, len(images), description)


def _compare(labels: np.ndarray, logits: np.ndarray, exact: np.ndarray, calibration: Calibration) -> dict:
    """What a variant's logits cost against those of float32, both under the variant's calibration."""
    scores, reference = map(calibration.probabilities, (logits, exact))
    is_fake, reference_is_fake = scores >= calibration.threshold, reference >= calibration.threshold
    accuracy = [float(np.mean(decision == (labels == FAKE))) for decision in (is_fake, reference_is_fake)]
    return {
        "accuracy": accuracy[0],
        "accuracy_in_float32": accuracy[1],
        "same_label": float(np.mean(is_fake == reference_is_fake)),
        "probability_difference_max": float(np.abs(scores - reference).max()),
        "probability_difference_mean": float(np.abs(scores - reference).mean()),
    }


def _model_card(
    config: TrainingConfig,
    calibration: Calibration,
    domain: Domain,
    logits: np.ndarray,
    training: Examples,
    validation: DecodedImages,
) -> dict:
    return {
        "detector": SPEC.name,
        "model": config.model,
        "labels": {name: label for label, name in enumerate(LABEL_NAMES)},
        "input": {
            "size": [IMAGE_SIZE, IMAGE_SIZE],
            "network_side": config.image_size,  # to which the input is scaled; see `freeze`
            "resize": "antialiased bilinear, aspect ratio not kept",
            "mean": PIXEL_MEAN,
            "std": PIXEL_STD,
        },
        "domain": {
            "sides_seen_in_training": [domain.min_side, domain.max_side],
            "sides_accepted": list(domain.accepted_sides),
            "mahalanobis_threshold": domain.threshold,
            "roughness_limit": domain.roughness_limit,
            "validation_percentile": DOMAIN_PERCENTILE,
        },
        "data": {
            "training": training.counts(),
            "validation": validation.examples.counts(),
            "notes": list(validation.examples.notes),
            "split": "stratified by class; images with equal pixels on one side",
        },
        "training": dataclasses.asdict(config),
        **_measured(calibration, logits, validation),
        **_provenance(),
    }


def _measured(calibration: Calibration, logits: np.ndarray, validation: DecodedImages) -> dict:
    """The card's `decision` and `validation_metrics`: cross-fitted, so of images that calibration did not see."""
    labels = validation.examples.labels
    probabilities, in_band = cross_fit(labels, logits, calibration.threshold, validation.digests)
    right = (probabilities >= calibration.threshold) == (labels == FAKE)
    return {
        "decision": {
            "threshold": calibration.threshold,
            "temperature": calibration.temperature,
            "intercept": calibration.intercept,
            "uncertain_band": list(calibration.band),
            "band_accuracy_aimed_at": BAND_ACCURACY,
            "validation_accuracy_outside_band": float(right[~in_band].mean()) if (~in_band).any() else None,
            "validation_share_in_band": float(in_band.mean()),
            "measured": f"cross-fitted: each of {FOLDS} parts by a calibration that was fitted on the others",
        },
        "validation_metrics": compute_metrics(labels, probabilities, calibration.threshold),
    }


def _provenance() -> dict:
    return {
        "versions": {
            "deepfake_tf": deepfake_tf.__version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "python": platform.python_version(),
        },
        "git_commit": _git_commit(),
        "exported": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _git_commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None  # installed without its repository
