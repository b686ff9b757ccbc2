"""A training by KERAS_BACKEND=jax in its own process: `python -m tests.training.jax_training RUN_DIR OPTIONS_JSON`.

Options: `per_class`, images to make; `config`, fields of TrainingConfig; `strategy`; `resume`; `die_in_epoch`, counted
from 0, in whose middle the process ends as by a power cut; `logits`, a file for what the network says of `make_probe`.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
CONFIG = {
    "weights": "none",
    "image_size": 32,
    "epochs": 3,
    "batch_size": 64,
    "learning_rate": 1e-2,
    "optimizer": "adamw",
    "schedule": "cosine",
    "dropout": 0.5,
    "validation_fraction": 0.25,
    "degradation": 0.5,
    "zoom": 0.2,
    "shift": 0.1,
    "seed": 3,
}


def start(run_dir: Path, options: dict, **environment: str) -> subprocess.Popen:
    """Begin a training on one CPU device; what it prints comes by `communicate`."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.training.jax_training", str(run_dir), json.dumps(options)],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def make_examples(per_class: int):
    """Reddish noise is REAL, bluish noise is FAKE: JPEG and PNG, 8 x 8 pixels."""
    from deepfake_tf.data.examples import Examples

    generator = np.random.default_rng(0)
    files = []
    for index in range(2 * per_class):
        pixels = generator.integers(0, 128, (8, 8, 3), np.uint8)
        pixels[:, :, 0 if index < per_class else 2] += np.uint8(100)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG" if index % 2 else "PNG")
        files.append(stream.getvalue())
    labels = np.array([0] * per_class + [1] * per_class)
    return Examples([str(index) for index in range(len(files))], labels, files, [""] * len(files))


def keep_own_files(examples):
    """Of several workers, each has the files of its own shard, every second one for instance, and no others."""
    if "TF_CONFIG" not in os.environ:
        return examples
    config = json.loads(os.environ["TF_CONFIG"])
    count, index = len(config["cluster"]["worker"]), config["task"]["index"]
    files = [file if i % count == index else "of another worker.png" for i, file in enumerate(examples.files)]
    return dataclasses.replace(examples, files=files)


def build_tiny_network(name, image_size, dropout=0.0, dtype=None):
    """One convolution with all that replicas have to agree on: batch norm, dropout, a head."""
    import keras

    images = keras.Input((image_size, image_size, 3))
    x = keras.layers.Conv2D(8, 5, strides=2, use_bias=False, name="conv1", dtype=dtype)(images)
    x = keras.layers.BatchNormalization(momentum=0.5, name="bn1", dtype=dtype)(x)
    x = keras.layers.ReLU(name="relu", dtype=dtype)(x)
    x = keras.layers.GlobalAveragePooling2D(name="avgpool", dtype="float32")(x)
    x = keras.layers.Dropout(dropout, name="dropout", dtype="float32")(x)
    return keras.Model(images, keras.layers.Dense(1, name="fc", dtype="float32")(x), name=name)


def main(run_dir: str, options: dict) -> None:
    sys.modules["tensorflow"] = None  # type: ignore[assignment]  # whoever imports it fails
    import keras

    from deepfake_tf.config import TrainingConfig
    from deepfake_tf.training import loop

    loop.build_model = build_tiny_network

    class Die(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self._epoch = epoch

        def on_train_batch_end(self, batch, logs=None):
            if (self._epoch, batch) == (options.get("die_in_epoch"), 1):
                while not Path(run_dir, "checkpoint.json").exists():  # the chief is still saving
                    time.sleep(0.05)
                os.kill(os.getpid(), signal.SIGKILL)

    fit = keras.Model.fit
    keras.Model.fit = lambda model, *args, callbacks, **named: fit(model, *args, callbacks=[*callbacks, Die()], **named)
    loop.train(
        keep_own_files(make_examples(options["per_class"])),
        TrainingConfig(**{**CONFIG, **options.get("config", {})}),
        run_dir,
        options.get("resume", False),
        strategy=options.get("strategy", "none"),
    )
    if options.get("logits"):
        np.save(options["logits"], np.asarray(load_network(run_dir)(make_probe(), training=False)))


def load_network(run_dir):
    """The best network of a run, under whichever backend is in force."""
    network = build_tiny_network("resnet18", CONFIG["image_size"], CONFIG["dropout"], None)
    network.load_weights(Path(run_dir, "best.weights.h5"))
    return network


def make_probe() -> np.ndarray:
    """float32 [4, 32, 32, 3], -1..1."""
    return np.random.default_rng(1).uniform(-1, 1, (4, 32, 32, 3)).astype(np.float32)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
