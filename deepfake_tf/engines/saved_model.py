"""The engine that runs the SavedModel in this process, through TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from deepfake_tf.decision.known_image import KNOWN_LOGIT, check_known_image
from deepfake_tf.detectors.bundle import read_card
from deepfake_tf.engines.tensorflow_messages import without_node_names

LOGIT_TOLERANCES = {"float32": 0.1, "bfloat16": 0.5}  # of the known image, by what the network is stored in
SIGNATURES = ("serving_default", "explain")


class SavedModelEngine:
    """Holds a loaded SavedModel that follows the score contract.

    Raises:
        ValueError: the folder holds no readable SavedModel, or not one of ours; or TensorFlow computes it wrongly on
            this machine.
    """

    def __init__(self, model_dir: Path):
        try:
            self._model = tf.saved_model.load(str(model_dir))
        except (OSError, ValueError, tf.errors.OpError) as error:
            reason = without_node_names(str(error))
            raise ValueError(f"{model_dir} holds no readable SavedModel: {reason}") from error
        if missing := [name for name in SIGNATURES if name not in self._model.signatures]:
            raise ValueError(
                f"{model_dir} lacks the signatures {missing}: it was not made by deepfake-tf export. "
                f"Received: {sorted(self._model.signatures)}"
            )
        check_saved_model(self._model, model_dir)

    def predict(self, encoded: list[bytes]) -> dict[str, np.ndarray]:
        """N encoded images -> the outputs of `serving_default`, an array [N] each; strings are bytes."""
        return self._call("serving_default", encoded)

    def explain(self, encoded: list[bytes]) -> dict[str, np.ndarray]:
        """The same, and `heatmap` float32 [N, h, w], 0..1."""
        return self._call("explain", encoded)

    def _call(self, signature: str, encoded: list[bytes]) -> dict[str, np.ndarray]:
        outputs = self._model.signatures[signature](image_bytes=tf.constant(encoded, tf.string))
        return {name: output.numpy() for name, output in outputs.items()}


def check_saved_model(model: Any, model_dir: Path) -> None:
    """Check a loaded SavedModel by the known image, if its model card states that image's logit.

    Args:
        model: what `tf.saved_model.load` gave.
        model_dir: Path. Where from.

    Raises:
        ValueError: TensorFlow computes it wrongly on this machine.
    """
    card = read_card(model_dir)
    score = lambda images: model.signatures["serving_default"](image_bytes=tf.constant(images))["logit"].numpy()
    tolerance = LOGIT_TOLERANCES[card.get("precision", "float32")]
    library, remedy = f"TensorFlow {tf.__version__}", "Use another engine: --engine litert."
    # One image is read in another way than several.
    check_known_image(score, card.get(KNOWN_LOGIT), tolerance, (1, 2), library, model_dir, remedy)
