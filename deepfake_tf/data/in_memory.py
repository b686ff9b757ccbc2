"""Batches without TensorFlow: every image as uint8 on the device, resized, augmented and normalised there, by JAX.

The counterpart of `pipeline` for KERAS_BACKEND=jax, with the same names. 100,000 CIFAKE images are 307 MB: they are
decoded once by Pillow and sent to the accelerator once; from then on a step needs no more from the host than the
positions of its images and some random numbers. As there, every random number follows from the seed, the epoch and
the position.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import keras
import numpy as np
from keras import ops

from deepfake_tf.data import augmentation, degradation
from deepfake_tf.data.examples import Examples
from deepfake_tf.data.workers import ALONE, Workers
from deepfake_tf.detectors.cifake import IMAGE_SIZE, PIXEL_MEAN, PIXEL_STD
from deepfake_tf.detectors.cifake.config import TrainingConfig
from deepfake_tf.progress import progress_bar
from deepfake_tf.reading import pillow_reader

DRAWS_PER_IMAGE = augmentation.DRAWS_PER_IMAGE + degradation.DRAWS_PER_IMAGE
MEMORY_BYTES = 16 * 1024**3  # of decoded pixels


class DecodedImages:
    """The pixels of `Examples`, decoded once, as `pipeline.DecodedImages` decodes them.

    Of several workers each reads and decodes its own files only, every `workers.count`-th one; then they tell each
    other what they have read. So all know the same images, in the same order, and split and batches are those of one
    process.

    Attributes:
        examples: Examples. The readable ones, in their order.
        digests: one SHA-256 digest an image, of its decoded pixels and their shape: the split rests on them.
        errors: dict, name -> why the image could not be read.
        pixels: uint8 [N, H, W, 3]: the images' own size where all share it, else the network's square.
        image_size: int. Side of the network's square, in pixels.

    Raises:
        ValueError: the pixels do not fit into `MEMORY_BYTES`.
    """

    def __init__(
        self,
        examples: Examples,
        image_size: int = IMAGE_SIZE,
        description: str = "decoding",
        workers: Workers = ALONE,
    ):
        self.image_size = image_size
        mine = range(workers.index, len(examples), workers.count)
        digests, errors, pixels = _decode_files(examples, mine, image_size, description, MEMORY_BYTES // workers.count)
        shape = pixels[0].shape if pixels else None
        told = [json.loads(message) for message in workers.exchange(json.dumps([digests, errors, shape]).encode())]
        shapes = {tuple(other) for *_, other in told if other}
        if len(shapes) > 1:  # the workers' images differ in size, though one worker's may not
            pixels = [pillow_reader.resize(image, image_size) for image in pixels]
            shapes = {(image_size, image_size, 3)}
        parts = [np.frombuffer(part, np.uint8) for part in workers.exchange(b"".join(image.data for image in pixels))]
        readable = [int(index) for part, *_ in told for index in part]  # JSON's keys are strings
        order = np.argsort(readable)
        all_digests = [bytes.fromhex(digest) for part, *_ in told for digest in part.values()]
        self.digests = [all_digests[i] for i in order]
        self.errors = {examples.names[int(index)]: error for _, part, _ in told for index, error in part.items()}
        self.examples = examples.take(np.array(readable, np.int64)[order]) if self.errors else examples
        shape = shapes.pop() if shapes else (image_size, image_size, 3)
        self.pixels = np.concatenate(parts).reshape(-1, *shape)[order]

    def take(self, indices: np.ndarray) -> DecodedImages:
        """The images at these positions, in this order."""
        part = copy.copy(self)
        part.examples = self.examples.take(indices)
        part.digests = [self.digests[i] for i in indices]
        part.errors = {}
        part.pixels = self.pixels[indices]
        return part

    def __len__(self) -> int:
        return len(self.examples)


def training_batches(
    images: DecodedImages,
    config: TrainingConfig,
    first_step: int = 0,
    targets: np.ndarray | None = None,
    workers: Workers = ALONE,
) -> keras.utils.PyDataset:
    """Shuffled, augmented batches without end, from training step `first_step` on.

    Args:
        images: DecodedImages of the training split.
        config: TrainingConfig. Batch size (of all workers together), augmentation, seed.
        first_step: int. How many batches an earlier part of the run has used.
        targets: float32 [N], 0..1, in place of the labels; see `soft_labels`.
        workers: Workers. This process gets its part of each batch; together they are the batch of one process.

    Returns:
        A PyDataset of (float32 [B, S, S, 3] in -1..1, float32 [B, 1], labels or targets), JAX arrays. The last batch
        of an epoch is smaller; up to `workers.devices - 1` images of each epoch are left out so that it can be divided.
    """
    labels = images.examples.labels if targets is None else targets
    return _TrainingBatches(images, labels, config, first_step, workers)


def evaluation_batches(images: DecodedImages, batch_size: int, workers: Workers = ALONE) -> keras.utils.PyDataset:
    """Every image once, in order, unchanged, but for the last `len(images) % workers.devices`.

    Returns:
        A PyDataset of (float32 [B, S, S, 3] in -1..1, float32 [B, 1] in {0, 1}), JAX arrays.
    """
    return _EvaluationBatches(images, batch_size, workers)


class _TrainingBatches(keras.utils.PyDataset):
    def __init__(
        self, images: DecodedImages, labels: np.ndarray, config: TrainingConfig, first_step: int, workers: Workers
    ):
        super().__init__()
        self._pixels, self._labels = jnp.asarray(images.pixels), jnp.asarray(labels)
        self._config, self._image_size = config, images.image_size
        self._first_step, self._processes = first_step, workers
        self._count = len(images) - len(images) % workers.devices

    @property
    def num_batches(self):
        return None  # without end

    def __getitem__(self, index: int):
        epoch, batch = divmod(self._first_step + index, math.ceil(self._count / self._config.batch_size))
        order, draws, noise_keys = self._epoch(epoch)
        mine = self._processes.rows(batch * self._config.batch_size, self._config.batch_size, self._count)
        return _make_training_batch(
            *(self._pixels, self._labels, order[mine], draws[mine], noise_keys[mine]),
            config=self._config,
            image_size=self._image_size,
        )

    @functools.lru_cache(maxsize=1)  # noqa: B019  (one a run; both live as long)
    def _epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        generator = np.random.default_rng([self._config.seed, epoch])
        order = generator.permutation(len(self._labels))[: self._count]
        draws = generator.random((self._count, DRAWS_PER_IMAGE), np.float32)
        # A key an image, not a batch: the noise is the same however the batch is divided among workers.
        return order, draws, generator.integers(0, 2**32, (self._count, 2), np.uint32)


class _EvaluationBatches(keras.utils.PyDataset):
    def __init__(self, images: DecodedImages, batch_size: int, workers: Workers):
        super().__init__()
        self._pixels, self._labels = jnp.asarray(images.pixels), jnp.asarray(images.examples.labels)
        self._batch_size, self._image_size, self._processes = batch_size, images.image_size, workers
        self._count = len(images) - len(images) % workers.devices

    def __len__(self) -> int:
        return math.ceil(self._count / self._batch_size)

    def __getitem__(self, index: int):
        mine = self._processes.rows(index * self._batch_size, self._batch_size, self._count)
        return _make_evaluation_batch(
            self._pixels, self._labels, np.arange(mine.start, mine.stop), image_size=self._image_size
        )


@functools.partial(jax.jit, static_argnames=("config", "image_size"))
def _make_training_batch(all_pixels, all_labels, positions, draws, noise_keys, config: TrainingConfig, image_size: int):
    pixels = ops.cast(all_pixels[positions], "float32")
    # Coordinates and weights need all their digits: by default GPUs multiply matrices with 10 bits of them.
    with jax.default_matmul_precision("highest"):
        if config.degradation:
            noise = jax.vmap(lambda key: jax.random.normal(jax.random.wrap_key_data(key), pixels.shape[1:]))(noise_keys)
            pixels = degradation.degrade(pixels, draws[:, augmentation.DRAWS_PER_IMAGE :], noise, config.degradation)
        pixels = resize(pixels, image_size)
        pixels = augmentation.augment(pixels, draws[:, : augmentation.DRAWS_PER_IMAGE], config)
    return normalise(pixels), ops.cast(all_labels[positions], "float32")[:, None]


@functools.partial(jax.jit, static_argnames="image_size")
def _make_evaluation_batch(all_pixels, all_labels, positions, image_size: int):
    pixels = resize(ops.cast(all_pixels[positions], "float32"), image_size)
    return normalise(pixels), ops.cast(all_labels[positions], "float32")[:, None]


def resize(pixels, size: int):
    """`tensorflow_reader.resize` on the device: float32 [N, H, W, 3], 0..255 -> [N, size, size, 3], whole numbers."""
    resized = ops.image.resize(
        pixels, (size, size), interpolation="bilinear", antialias=True, data_format="channels_last"
    )
    return ops.clip(ops.round(resized), 0.0, 255.0)


def normalise(pixels):
    """As `tensorflow_reader.normalise`: float32, 0..255 -> -1..1."""
    return (pixels / 255.0 - PIXEL_MEAN) / PIXEL_STD


def _decode_files(
    examples: Examples, positions: Sequence[int], image_size: int, description: str, memory_bytes: int
) -> tuple[dict[int, str], dict[int, str], list[np.ndarray]]:
    """Digests (hexadecimal) and errors by position, and the pixels of those without an error."""
    digests, errors = {}, {}
    pixels: list[np.ndarray] = []
    first_shape = None
    resized = False  # whether the images differ in size
    for index in progress_bar(len(positions), description, "image", positions):
        try:
            file = examples.files[index]
            image = pillow_reader.decode(Path(file).read_bytes() if isinstance(file, str) else file)
        except Exception as error:  # Pillow's parsers raise whatever a damaged file makes them trip over
            errors[index] = str(error) or "could not be read"
            continue
        height, width, _ = image.shape
        digests[index] = hashlib.sha256(b"%dx%d:" % (width, height) + image.tobytes()).hexdigest()
        first_shape = first_shape or image.shape
        if not resized and image.shape != first_shape:
            resized = True
            pixels = [pillow_reader.resize(earlier, image_size) for earlier in pixels]
        pixels.append(pillow_reader.resize(image, image_size) if resized else image)
        if len(pixels) * pixels[0].nbytes > memory_bytes:
            raise ValueError(
                f"The images do not fit into {MEMORY_BYTES / 1024**3:g} GiB, where this way of training keeps "
                f"them all. Received: {len(examples)} images, {pixels[0].shape} each. Unset KERAS_BACKEND to "
                f"train by TensorFlow, which reads them from the disk, or shrink them first."
            )
    return digests, errors, pixels
