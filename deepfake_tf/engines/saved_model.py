"""The engine that runs the SavedModel in this process, through TensorFlow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

SIGNATURES = ("serving_default", "explain")


class SavedModelEngine:
    """Holds a loaded SavedModel that follows the score contract.

    Raises:
        ValueError: the folder holds no readable SavedModel, or not one of ours.
    """

    def __init__(self, model_dir: Path):
        try:
            self._model = tf.saved_model.load(str(model_dir))
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise ValueError(f"{model_dir} holds no readable SavedModel: {error}") from error
        if missing := [name for name in SIGNATURES if name not in self._model.signatures]:
            raise ValueError(
                f"{model_dir} lacks the signatures {missing}: it was not made by deepfake-tf export. "
                f"Received: {sorted(self._model.signatures)}"
            )

    def predict(self, encoded: list[bytes]) -> dict[str, np.ndarray]:
        """N encoded images -> the outputs of `serving_default`, an array [N] each; strings are bytes."""
        return self._call("serving_default", encoded)

    def explain(self, encoded: list[bytes]) -> dict[str, np.ndarray]:
        """The same, and `heatmap` float32 [N, h, w], 0..1."""
        return self._call("explain", encoded)

    def _call(self, signature: str, encoded: list[bytes]) -> dict[str, np.ndarray]:
        outputs = self._model.signatures[signature](image_bytes=tf.constant(encoded, tf.string))
        return {name: output.numpy() for name, output in outputs.items()}
