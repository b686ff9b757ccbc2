"""Whether an explanation carries: what happens to the logit when the patches that it shows are taken away.

Deletion: Petsiuk et al., "RISE", https://arxiv.org/abs/1806.07421, here in one step and against chance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from deepfake_tf.reading.admission import admit
from deepfake_tf.reading.pillow_reader import read_image

if TYPE_CHECKING:
    from deepfake_tf.engines.tflite import TFLiteEngine

SHARE = 0.2  # of the patches are deleted


@dataclasses.dataclass(frozen=True)
class Deletion:
    """The logit's change by deletion, image by image.

    Attributes:
        shown: float32 [N]. Change towards the other label when the patches with the highest heat are deleted.
        at_random: float32 [N]. The same for as many patches drawn at random.
    """

    shown: np.ndarray
    at_random: np.ndarray

    @property
    def share_moved_more(self) -> float:
        """Of the images, in which the shown patches move the logit further, in whichever direction."""
        return float(np.mean(np.abs(self.shown) > np.abs(self.at_random)))

    @property
    def share_moved_away(self) -> float:
        """Of the images, in which they move it further towards the other label."""
        return float(np.mean(self.shown > self.at_random))


def measure_deletion(run: Callable[[np.ndarray], dict[str, np.ndarray]], views: np.ndarray, seed: int = 0) -> Deletion:
    """Delete the top fifth of the patches, and a random fifth: each takes the image's mean colour.

    Args:
        run: uint8 [N, S, S, 3] -> dict with `logit` [N, 1] and `heatmap` [N, h, w], such as `TFLiteEngine.run`.
        views: uint8 [N, S, S, 3]; h and w divide S.
        seed: int, of the random patches.
    """
    generator = np.random.default_rng(seed)
    changes: list[list[float]] = [[], []]
    for view in views:
        outputs = run(view[None])
        logit, heat = outputs["logit"][0, 0], outputs["heatmap"][0]
        for scores, change in zip((heat, generator.random(heat.shape)), changes):
            deleted = run(_delete(view, scores)[None])["logit"][0, 0]
            change.append((logit - deleted) * (1 if logit > 0 else -1))
    return Deletion(*(np.array(change, np.float32) for change in changes))


def _delete(view: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The view with the highest scored patches in its mean colour."""
    flat = scores.ravel()
    chosen = np.zeros(len(flat), bool)
    chosen[np.argsort(-flat, kind="stable")[: round(SHARE * len(flat))]] = True
    mask = np.kron(chosen.reshape(scores.shape), np.ones((len(view) // len(scores),) * 2, bool))
    return np.where(mask[:, :, None], np.rint(view.mean(axis=(0, 1))).astype(np.uint8), view)


def measure_deletion_of_files(engine: TFLiteEngine, encoded: Iterable[bytes]) -> Deletion:
    """`measure_deletion` on the images that the engine's detector accepts; the others are left out.

    Args:
        engine: a light engine.
        encoded: encoded images.

    Raises:
        ValueError: it accepts none.
    """
    spec = engine.bundle.spec
    images = [read_image(admit(image)[0], spec.pillow_view, spec.upright) for image in encoded]
    views = [i.pixels for i in images if i.pixels is not None and spec.accepts(i.width, i.height)]
    if not views:
        raise ValueError(f"none of the images is one that the detector {spec.name} judges: {spec.judges}")
    return measure_deletion(engine.run, np.stack(views))
