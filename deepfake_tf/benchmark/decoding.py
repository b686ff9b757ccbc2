"""How fast images are read: header check, decoding, resizing; and what the graph's guard around it costs."""

from __future__ import annotations

from functools import partial

import tensorflow as tf

from deepfake_tf.benchmark.measuring import Row, row, time_in_turns
from deepfake_tf.benchmark.pictures import encoded_pictures
from deepfake_tf.detectors.cifake import SPEC
from deepfake_tf.reading import tensorflow_reader
from deepfake_tf.reading.tensorflow_batches import read_images

# Side or (width, height) in pixels, format, how many in a batch: fewer of the large ones.
CASES = (
    (32, 32, "PNG", 256),
    (32, 32, "JPEG", 256),
    (256, 256, "JPEG", 64),
    (256, 256, "PNG", 64),
    (256, 256, "WEBP", 64),
    (1024, 768, "JPEG", 16),
    (2448, 1632, "JPEG", 6),  # 4 megapixels
)


def measure_reading(rounds: int, cases=CASES) -> list[Row]:
    """Images a second of the exported graph's reader, all cores; and the guard's milliseconds a batch of one."""
    read = tf.function(
        lambda image_bytes: read_images(image_bytes, SPEC.tensorflow_view, SPEC.view_side),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    rows = []
    for width, height, image_format, count in cases:
        batch = tf.constant(encoded_pictures(count, width, height, image_format))
        seconds = time_in_turns({"read": partial(_wait, read, batch)}, rounds)["read"]
        rows.append(row("reading", f"{image_format} {width} x {height}", "images/s", count / seconds))
    return [*rows, _measure_guard(read, rounds)]


def _measure_guard(read, rounds: int) -> Row:
    """What the dataset that isolates broken images adds to one image."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def bare(image_bytes):
        image_format, width, height = tensorflow_reader.read_header(image_bytes[0])
        return tensorflow_reader.resize(tensorflow_reader.decode(image_bytes[0], image_format)), width, height

    one = tf.constant(encoded_pictures(1, 32, 32, "PNG"))
    functions = {"guarded": partial(_wait, read, one), "bare": partial(_wait, bare, one)}
    seconds = time_in_turns(functions, 20 * rounds, warm_up=10)
    return row(
        "reading", "guard against broken images, batch of 1", "ms", 1000 * (seconds["guarded"] - seconds["bare"])
    )


def _wait(function, batch: tf.Tensor) -> None:
    """Until the pixels are there."""
    function(batch)[0].numpy()
