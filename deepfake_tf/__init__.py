"""deepfake-tf tells photographs from AI-generated images.

    from deepfake_tf import Detector
    print(Detector().predict("photo.jpg"))

Importing the package loads neither TensorFlow nor Keras: they are loaded when they are needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from deepfake_tf.engines.detector import Detector, Prediction

__all__ = ["Detector", "Prediction", "__version__"]


def __getattr__(name: str):
    if name in ("Detector", "Prediction"):
        from deepfake_tf.engines import detector

        return getattr(detector, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
