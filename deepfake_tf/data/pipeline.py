"""The tf.data pipeline: encoded images in, augmented batches out.

Order, and why: decode once to uint8 and keep that, at the images' own size where all share one (100,000 CIFAKE images
are 307 MB; as float32 at 224 px they would be 60 GB), else as the network's square; shuffle positions, not pictures;
gather a batch; degrade it at the size that is kept; resize the whole batch at once; augment it; normalise; prefetch.
Images of several sizes are thus resized before they are degraded: the damage is that of small images, and for
full-size photographs, which must be damaged before they are resized, this is not the pipeline. Every
random number follows from the seed, the epoch and the position, so a run gives the same batches again, and
a resumed one goes on where it was cut.
"""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from deepfake_tf.data import augmentation, degradation
from deepfake_tf.data.examples import Examples
from deepfake_tf.detectors.cifake import IMAGE_SIZE
from deepfake_tf.detectors.cifake.config import TrainingConfig
from deepfake_tf.progress import progress_bar
from deepfake_tf.reading import tensorflow_reader

DRAWS_PER_IMAGE = augmentation.DRAWS_PER_IMAGE + degradation.DRAWS_PER_IMAGE
_NODE_NAME = re.compile(r"\[*\{\{\w+ [^{}]*\}\}\]*\s*")  # where in the graph, as TensorFlow's messages say it
CACHE_BYTES = 4 * 1024**3  # decoded pixels are kept in memory up to this size


class DecodedImages:
    """The pixels of `Examples`, decoded once.

    Images that share a size are kept as one array at that size, images of several sizes as the
    network's square. Where neither fits `CACHE_BYTES` they are decoded anew in each epoch.

    Attributes:
        examples: Examples. The readable ones, in their order.
        digests: one SHA-256 digest an image, of its decoded pixels and their shape.
        sizes: int32 [N, 2]. Width and height as stored.
        errors: dict, name -> why the image could not be read.
        pixels: uint8 [N, H, W, 3], or None where they do not fit.
        image_size: int. Side of the network's square, in pixels.
    """

    def __init__(self, examples: Examples, image_size: int = IMAGE_SIZE, description: str = "decoding"):
        self.image_size = image_size
        self.digests: list[bytes] = []
        self.errors: dict[str, str] = {}
        sizes, readable, squared = [], [], False
        pixels: list[np.ndarray] | None = []
        with progress_bar(len(examples), description, "image") as bar:
            for index, image in _decode_each(examples):
                bar.update(index + 1 - bar.n)
                height, width, _ = image.shape
                readable.append(index)
                sizes.append((width, height))
                self.digests.append(hashlib.sha256(b"%dx%d:" % (width, height) + image.tobytes()).digest())
                if pixels is not None:
                    if pixels and not squared and image.shape != pixels[0].shape:  # the first of another size
                        squared = True
                        pixels = [self._to_square(earlier) for earlier in pixels]
                    if squared:
                        image = self._to_square(image)
                    pixels.append(image)
                    if len(pixels) * pixels[0].nbytes > CACHE_BYTES:
                        pixels = None
        for index in sorted(set(range(len(examples))) - set(readable)):
            self.errors[examples.names[index]] = _why_unreadable(examples.files[index])
        self.examples = examples.take(np.array(readable, np.int64)) if self.errors else examples
        self.sizes = np.array(sizes, np.int32).reshape(-1, 2)
        self.pixels = np.stack(pixels) if pixels else None

    def _to_square(self, image: np.ndarray) -> np.ndarray:
        return tensorflow_reader.resize(tf.constant(image), self.image_size).numpy()

    def take(self, indices: np.ndarray) -> DecodedImages:
        """The images at these positions, in this order."""
        part = copy.copy(self)
        part.examples = self.examples.take(indices)
        part.digests = [self.digests[i] for i in indices]
        part.sizes = self.sizes[indices]
        part.errors = {}
        part.pixels = None if self.pixels is None else self.pixels[indices]
        return part

    def __len__(self) -> int:
        return len(self.examples)

    def _load(self):
        """A function, usable in tf.data: positions int64 [B] -> uint8 [B, H, W, 3].

        H and W are the images' own where all share a size, else `image_size`.
        """
        if self.pixels is not None:
            pixels = tf.constant(self.pixels)
            return lambda positions: tf.gather(pixels, positions)
        files, is_path = _files_tensor(self.examples)

        def load_one(position):
            image = tensorflow_reader.decode(_read(files[position], is_path[position]))
            return tensorflow_reader.resize(image, self.image_size)

        signature = tf.TensorSpec([self.image_size, self.image_size, 3], tf.uint8)
        return lambda positions: tf.map_fn(load_one, positions, fn_output_signature=signature)


def training_batches(
    images: DecodedImages, config: TrainingConfig, first_step: int = 0, targets: np.ndarray | None = None
) -> tf.data.Dataset:
    """Shuffled, augmented batches without end, from training step `first_step` on.

    Args:
        images: DecodedImages of the training split.
        config: TrainingConfig. Batch size, augmentation, seed.
        first_step: int. How many batches an earlier part of the run has used.
        targets: float32 [N], 0..1, in place of the labels; see `soft_labels`.

    Returns:
        A dataset of (float32 [B, S, S, 3] in -1..1, float32 [B, 1] in {0, 1} or of `targets`). An epoch is
        ceil(N / batch_size) batches, the last one smaller.
    """
    count = len(images)
    steps_per_epoch = -(-count // config.batch_size)
    labels = tf.constant(images.examples.labels if targets is None else targets)
    load = images._load()

    def one_epoch(epoch):
        seed = tf.stack([tf.constant(config.seed, tf.int64), epoch])
        order = tf.random.experimental.stateless_shuffle(tf.range(count, dtype=tf.int64), seed)
        draws = tf.random.stateless_uniform([count, DRAWS_PER_IMAGE], seed)
        batches = tf.data.Dataset.from_tensor_slices((order, draws)).batch(config.batch_size)
        first_epoch, offset = divmod(first_step, steps_per_epoch)
        return batches.skip(tf.where(epoch == first_epoch, tf.constant(offset, tf.int64), 0))

    def make_batch(positions, draws):
        pixels = load(positions)
        geometry, damage = tf.split(draws, [augmentation.DRAWS_PER_IMAGE, degradation.DRAWS_PER_IMAGE], axis=1)
        if config.degradation:
            pixels = _degrade(pixels, damage, config.degradation)
        pixels = tf.cast(tensorflow_reader.resize(pixels, images.image_size), tf.float32)
        pixels = augmentation.augment(pixels, geometry, config)
        pixels = tf.ensure_shape(pixels, [None, images.image_size, images.image_size, 3])
        return tensorflow_reader.normalise(pixels), _as_targets(tf.gather(labels, positions))

    epochs = tf.data.Dataset.range(first_step // steps_per_epoch, np.iinfo(np.int64).max)
    return epochs.flat_map(one_epoch).map(make_batch, tf.data.AUTOTUNE).prefetch(2)


def evaluation_batches(images: DecodedImages, batch_size: int) -> tf.data.Dataset:
    """Every image once, in order, unchanged.

    Returns:
        A dataset of (float32 [B, S, S, 3] in -1..1, float32 [B, 1] in {0, 1}).
    """
    labels = tf.constant(images.examples.labels)
    load = images._load()

    def make_batch(positions):
        pixels = tensorflow_reader.resize(load(positions), images.image_size)
        pixels = tf.ensure_shape(pixels, [None, images.image_size, images.image_size, 3])
        return tensorflow_reader.normalise(pixels), _as_targets(tf.gather(labels, positions))

    positions = tf.data.Dataset.range(len(images)).batch(batch_size)
    return positions.map(make_batch, tf.data.AUTOTUNE).prefetch(2)


def _degrade(pixels: tf.Tensor, draws: tf.Tensor, share: float) -> tf.Tensor:
    """uint8 [B, H, W, 3] -> the same, a share of it damaged; the noise follows from the draws."""
    seed = tf.cast(draws[0, :2] * 2.0**31, tf.int32)
    noise = tf.random.stateless_normal(tf.shape(pixels), seed)
    return tf.cast(degradation.degrade(tf.cast(pixels, tf.float32), draws, noise, share), tf.uint8)


def _as_targets(labels: tf.Tensor) -> tf.Tensor:
    return tf.cast(labels, tf.float32)[:, None]


def _files_tensor(examples: Examples) -> tuple[tf.Tensor, tf.Tensor]:
    is_path = [isinstance(file, str) for file in examples.files]
    return tf.constant(list(examples.files), tf.string), tf.constant(is_path, tf.bool)


def _read(file: tf.Tensor, is_path: tf.Tensor) -> tf.Tensor:
    return tf.cond(is_path, lambda: tf.io.read_file(file), lambda: file)


def _decode_each(examples: Examples) -> Iterator[tuple[int, np.ndarray]]:
    """(position, uint8 [H, W, 3]) of every readable image, in order; the others are left out."""
    dataset = tf.data.Dataset.from_tensor_slices(_files_tensor(examples)).enumerate()
    dataset = dataset.map(
        lambda index, file: (index, tensorflow_reader.decode(_read(*file))), tf.data.AUTOTUNE, deterministic=True
    )
    for index, image in dataset.ignore_errors().prefetch(tf.data.AUTOTUNE).as_numpy_iterator():
        yield int(index), image


def _why_unreadable(file: str | bytes) -> str:
    try:
        tensorflow_reader.decode(tf.io.read_file(file) if isinstance(file, str) else tf.constant(file))
    except tf.errors.OpError as error:
        return _NODE_NAME.sub("", error.message.split("[Op:")[0]).strip()
    return "could not be read"
