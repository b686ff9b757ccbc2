"""The one place where labelled images are scored: by run directories, SavedModels, or any function.

What is measured here is the network on pixels that were decoded once, at the images' own sizes, so that a run that was
never exported can be judged, and so that twenty changes of an image need not be encoded. Files as a user gives them
go through `Detector.predict_iter`; see `by_source` and `photograph_robustness`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit, logit

from deepfake_tf.contract import Rows
from deepfake_tf.progress import progress_bar
from deepfake_tf.training.run_directory import CONFIG_FILE, WEIGHTS_FILES, load_network

if TYPE_CHECKING:
    from deepfake_tf.data.pipeline import DecodedImages

SURE = 1e-7  # of an ensemble: no model counts as surer than that

Scorer = Callable[[np.ndarray], np.ndarray]  # uint8 [N, H, W, 3], images of one size -> float64 [N], P(FAKE)


def score(models: str | Path | Sequence[str | Path], images: DecodedImages, batch_size: int = 64) -> np.ndarray:
    """P(FAKE) of every image, in order.

    Args:
        models: as of `load_scorer`.
        images: DecodedImages. Read at their own sizes: their `image_size` plays no part.
        batch_size: int. Images at once, where all share a size.

    Returns:
        float64 [N], 0..1.

    Raises:
        ValueError: there are no images, or as `load_scorer`.
    """
    if not len(images):
        raise ValueError("There are no images to score.")
    scorer = load_scorer(models)
    return score_pixels(scorer, pixel_batches(images, batch_size), len(images), "scoring")


def score_pixels(scorer: Scorer, batches: Iterable[np.ndarray], count: int, description: str) -> np.ndarray:
    """P(FAKE), float64 [N], of `count` images in batches; see `score_batches`."""
    return score_batches(lambda pixels: {"probability": scorer(pixels)}, batches, count, description)["probability"]


def score_batches(run: Callable[[Any], Rows], batches: Iterable[Any], count: int, description: str) -> Rows:
    """What a network says of images, a batch after the other, as one array an output.

    Args:
        run: a batch of B images -> arrays by name, the first dimension of each B.
        batches: what `run` takes; at least one.
        count: int. Images in all, for the progress bar.
        description: str. For the progress bar.

    Returns:
        Arrays by name, the first dimension of each `count`.
    """
    parts: list[Rows] = []
    with progress_bar(count, description, "image") as bar:
        for batch in batches:
            parts.append(run(batch))
            bar.update(len(batch))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def load_scorer(models: str | Path | Sequence[str | Path]) -> Scorer:
    """The function that scores images by a model, or by several: an ensemble, whose logit is the mean of theirs.

    Args:
        models: str or Path, or several. A run directory (its best weights, in float32, at the image size it was
            trained at, before calibration), or a SavedModel of `deepfake-tf export`.

    Returns:
        A function: uint8 [N, H, W, 3], images of one size, any size -> float64 [N], P(FAKE).

    Raises:
        ValueError: a path is neither. The message says what was looked for.
    """
    paths = _paths(models)
    for path in paths:
        check_model(path)
    scorers = [_savedmodel_scorer(path) if (path / "saved_model.pb").is_file() else _run_scorer(path) for path in paths]
    return scorers[0] if len(scorers) == 1 else lambda pixels: _mean_of_logits([scorer(pixels) for scorer in scorers])


def _mean_of_logits(probabilities: Sequence[np.ndarray]) -> np.ndarray:
    bounded = np.clip(probabilities, SURE, 1 - SURE)  # the logit of 0 or 1 would drown all others
    return expit(logit(bounded).mean(0))


def describe_models(models: str | Path | Sequence[str | Path]) -> str:
    """The models of `load_scorer` as reports name them: `runs/a`, or `runs/a + runs/b`."""
    return " + ".join(map(str, _paths(models)))


def _paths(models: str | Path | Sequence[str | Path]) -> list[Path]:
    return [Path(model) for model in ([models] if isinstance(models, (str, Path)) else models)]


def check_model(model_path: str | Path) -> None:
    """Whether `load_scorer` takes a path; nothing is loaded.

    Raises:
        ValueError: as `load_scorer`.
    """
    path = Path(model_path)
    is_run = (path / CONFIG_FILE).is_file() and any((path / file).is_file() for file in WEIGHTS_FILES)
    if not is_run and not (path / "saved_model.pb").is_file():
        raise ValueError(
            f"Not a model: a run directory holds config.json and best.weights.h5, a SavedModel holds saved_model.pb. "
            f"Received: {model_path}, {'which holds neither' if path.is_dir() else 'which is no folder'}."
        )


def pixel_batches(images: DecodedImages, batch_size: int) -> Iterator[np.ndarray]:
    """The images at their own sizes, in order: uint8 [B, H, W, 3], one at a time where sizes differ."""
    pixels = images.pixels
    if pixels is not None and (images.sizes == (pixels.shape[2], pixels.shape[1])).all():
        for start in range(0, len(images), batch_size):
            yield pixels[start : start + batch_size]
        return
    import tensorflow as tf

    from deepfake_tf.reading import tensorflow_reader

    for file in images.examples.files:
        encoded = tf.io.read_file(file) if isinstance(file, str) else tf.constant(file)
        yield tensorflow_reader.decode(encoded).numpy()[None]


def _savedmodel_scorer(path: Path) -> Scorer:
    import tensorflow as tf

    from deepfake_tf.engines.saved_model import check_saved_model

    loaded = tf.saved_model.load(str(path))
    if "from_pixels" not in loaded.signatures:
        raise ValueError(
            f"{path} lacks the signature from_pixels: it was not made by deepfake-tf export. "
            f"Received: {sorted(loaded.signatures)}"
        )
    check_saved_model(loaded, path)

    def probabilities_of(pixels: np.ndarray) -> np.ndarray:
        rows = loaded.signatures["from_pixels"](pixels=tf.constant(pixels))
        return rows["probability"].numpy().astype(np.float64)

    return probabilities_of


def _run_scorer(run_dir: Path) -> Scorer:
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ValueError(f"Scoring needs TensorFlow: unset KERAS_BACKEND. Received: {keras.backend.backend()}")
    import tensorflow as tf

    from deepfake_tf.reading import tensorflow_reader

    config, model = load_network(run_dir)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)])
    def run(pixels):
        logits = model(tensorflow_reader.normalise(tensorflow_reader.resize(pixels, config.image_size)), training=False)
        return tf.sigmoid(tf.cast(logits[:, 0], tf.float64))

    return lambda pixels: run(tf.constant(pixels)).numpy()
