"""Tiny SavedModels that the server tests serve."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from deepfake_tf.contract import ERROR_EMPTY, ERROR_TOO_LARGE, ERROR_UNKNOWN

JPEG = b"\xff\xd8\xff\xe0" + bytes(range(176)) * 4  # 708 bytes, so 944 characters of base64, like the recorded one
PNG = b"\x89PNG\r\n\x1a\n" + bytes(148)
BUCKETS = 997


def write_recorded_models(folder: Path) -> tuple[dict[int, Path], Path]:
    """The models that the answers were recorded from, as far as JSON can tell: `img` 1 and 2, and `naming`."""
    versions = {}
    for number, label, confidence in ((1, "bright", 0.891584575), (2, "mid", 0.856651366)):
        versions[number] = folder / "img" / str(number)
        _save_img(versions[number], label, confidence)
    naming = folder / "naming" / "1"
    _save_naming(naming)
    return versions, naming


def write_contract_model(folder: Path) -> Path:
    """A model with our signatures, whose probability is a hash of the bytes: a wrong row shows."""

    def score(image_bytes):
        count = tf.size(image_bytes)
        is_image = tf.strings.substr(image_bytes, 0, 3) == b"\xff\xd8\xff"
        bucket = tf.strings.to_hash_bucket_fast(image_bytes, BUCKETS)
        probability = tf.cast(bucket, tf.float32) / float(BUCKETS)
        is_fake = probability >= 0.5
        error = tf.where(tf.strings.length(image_bytes) == 0, ERROR_EMPTY, ERROR_UNKNOWN)
        error = tf.where(tf.strings.regex_full_match(image_bytes, "(?s)huge.*"), ERROR_TOO_LARGE, error)
        return {
            "label": tf.where(is_image, tf.where(is_fake, "FAKE", "REAL"), "INVALID"),
            "verdict": tf.where(is_image, tf.where(is_fake, "likely generated", "likely real"), "uncertain"),
            "reason": tf.fill([count], ""),
            "error": tf.where(is_image, "", error),
            "confidence": tf.where(is_image, tf.where(is_fake, probability, 1.0 - probability), 0.0),
            "probability": tf.where(is_image, probability, -1.0),
            "logit": tf.where(is_image, probability * 8.0 - 4.0, 0.0),
            "in_domain": is_image,
            "width": tf.where(is_image, 32, 0),
            "height": tf.where(is_image, 32, 0),
        }

    module = tf.Module()
    encoded = tf.TensorSpec([None], tf.string, name="image_bytes")
    module.score = tf.function(score, input_signature=[encoded])
    module.explain = tf.function(
        lambda image_bytes: {**score(image_bytes), "heatmap": tf.fill([tf.size(image_bytes), 7, 7], 0.25)},
        input_signature=[encoded],
    )
    signatures = {"serving_default": module.score, "explain": module.explain}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return folder


def expected_probability(encoded: bytes) -> float:
    return float(tf.strings.to_hash_bucket_fast(encoded, BUCKETS)) / BUCKETS


def _save_img(folder: Path, label: str, confidence: float) -> None:
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def serve(image_bytes):
        is_dark = tf.strings.substr(image_bytes, 1, 3) == "PNG"
        return {
            "label": tf.where(is_dark, "dark", label),
            "confidence": tf.where(is_dark, 0.909145772, tf.constant(confidence, tf.float32)),
        }

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def raw(x):
        return {"y": x / 2.0}

    module.serve, module.raw = serve, raw
    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve, "raw": raw})


def _save_naming(folder: Path) -> None:
    module = tf.Module()
    string = lambda name, shape: tf.TensorSpec(shape, tf.string, name=name)
    functions = {
        "noname": tf.function(
            lambda image: {"length": tf.strings.length(image)}, input_signature=[string("image", [None])]
        ),
        "single": tf.function(
            lambda image_bytes: {"length": tf.strings.length(image_bytes)},
            input_signature=[string("image_bytes", [None])],
        ),
        "echo": tf.function(
            lambda image_bytes: {"a_bytes": tf.identity(image_bytes), "b": tf.identity(image_bytes)},
            input_signature=[string("image_bytes", [None])],
        ),
        "decode": tf.function(
            lambda image_bytes: {"size": tf.reshape(tf.size(tf.io.decode_png(image_bytes[0])), [1])},
            input_signature=[string("image_bytes", [None])],
        ),
        "scalar": tf.function(
            lambda image_bytes: {"length": tf.strings.length(image_bytes)},
            input_signature=[string("image_bytes", None)],
        ),
        "floats": tf.function(
            lambda x: {"y": tf.math.log(x)}, input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")]
        ),
        "two": tf.function(
            lambda x, image_bytes: {"s": tf.reduce_sum(x, axis=1), "length": tf.strings.length(image_bytes)},
            input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x"), string("image_bytes", [None])],
        ),
    }
    for name, function in functions.items():
        setattr(module, name, function)
    tf.saved_model.save(module, str(folder), signatures=functions)
