"""A batch of encoded images in which any may be broken, as a graph: pixels, and a code for each."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from deepfake_tf.contract import ERROR_TEXTS, MAX_PIXELS, ErrorCode
from deepfake_tf.reading import tensorflow_reader
from deepfake_tf.reading.tensorflow_reader import read_orientation, turn_upright

_LOST = -1  # in place of a format: reading failed


def texts_of(codes: tf.Tensor) -> tf.Tensor:
    """int32 [N], of `ErrorCode` -> string [N]: a row's `error`."""
    return tf.gather(tf.constant(ERROR_TEXTS), codes)


def read_images(
    image_bytes: tf.Tensor, view: Callable[[tf.Tensor], tf.Tensor], size: int, upright: bool = False
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Decode a batch in which any image may be broken.

    Args:
        image_bytes: string [N].
        view: what the network sees of an image: uint8 [H, W, 3] -> uint8 [size, size, 3].
        size: int, pixels.
        upright: bool. Whether that is turned as a JPEG's EXIF says.

    Returns:
        pixels uint8 [N, size, size, 3]; codes int32 [N], of `ErrorCode`; width int32 [N]; height int32 [N].
    """
    count = tf.shape(image_bytes)[0]
    no_pixels = tf.zeros([size, size, 3], tf.uint8)

    def read(index, encoded):
        image_format, width, height = tensorflow_reader.read_header(encoded)
        has_pixels = (width > 0) & (height > 0) & _is_small_enough(width, height)

        def seen():
            pixels = view(tensorflow_reader.decode(encoded, image_format))
            return turn_upright(pixels, read_orientation(encoded)) if upright else pixels

        return index, tf.cond(has_pixels, seen, lambda: no_pixels), image_format, width, height

    def read_all(parallel_calls):
        # tf.map_fn would fail the whole batch on one damaged image, and with the server's batching other
        # callers' requests too. A dataset drops that element alone. One more at the end stands for what was lost.
        images = tf.data.Dataset.from_tensor_slices((tf.range(count), image_bytes))
        images = images.map(read, parallel_calls, deterministic=False if parallel_calls else None).ignore_errors()
        return images.concatenate(tf.data.Dataset.from_tensors((count, no_pixels, _LOST, 0, 0)))

    def read_one():  # no threads, no copies: half a millisecond less
        _, *found = read_all(None).take(1).get_single_element()
        return [values[None] for values in found]

    def read_many():
        found = read_all(tf.data.AUTOTUNE).batch(tf.cast(count, tf.int64) + 1).get_single_element()
        index, *found = (tf.ensure_shape(values, [None, *values.shape[1:]]) for values in found)
        fill = lambda values, start: tf.fill(tf.concat([[count + 1], tf.shape(values)[1:]], axis=0), start)
        starts = (tf.cast(0, tf.uint8), _LOST, 0, 0)
        return [
            tf.tensor_scatter_nd_update(fill(values, start), index[:, None], values)[:count]  # back into their order
            for values, start in zip(found, starts)
        ]

    pixels, image_format, width, height = tf.cond(count == 1, read_one, read_many)
    code = tf.where(_is_small_enough(width, height), ErrorCode.OK, ErrorCode.TOO_LARGE)
    has_size = (width > 0) & (height > 0)
    code = tf.where(has_size, code, ErrorCode.NO_SIZE)
    width, height = tf.where(has_size, width, 0), tf.where(has_size, height, 0)
    code = tf.where(image_format == tensorflow_reader.UNKNOWN, ErrorCode.UNKNOWN, code)
    code = tf.where(image_format == _LOST, ErrorCode.DAMAGED, code)
    code = tf.where(tf.strings.length(image_bytes) == 0, ErrorCode.EMPTY, code)
    return tf.ensure_shape(pixels, [None, size, size, 3]), code, width, height


def _is_small_enough(width, height):
    return tf.cast(width, tf.int64) * tf.cast(height, tf.int64) <= MAX_PIXELS
