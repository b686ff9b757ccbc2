"""What the engines of a light model share: reading images by Pillow, deciding by NumPy; TensorFlow is not imported.

They differ in what runs a `.tflite` file: `engines.litert` and `engines.openvino`.
"""

from __future__ import annotations

import abc
import dataclasses
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from deepfake_tf.contract import Rows
from deepfake_tf.decision.known_image import check_known_image
from deepfake_tf.decision.verdict import decide
from deepfake_tf.detectors.bundle import read_bundle
from deepfake_tf.reading.pillow_reader import read_image

OUTPUTS = frozenset(("heatmap", "logit", "distance"))  # of the last file
MOST_THREADS = 4  # more help networks of this size little

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Network:
    """One `.tflite` file, loaded.

    Attributes:
        inputs: name -> what it takes but for the batch, such as "uint8 [224, 224, 3]".
        outputs: names.
        run: arrays [1, ...] by the names of the inputs -> arrays [1, ...] by those of the outputs; one call at a time.
    """

    inputs: Mapping[str, str]
    outputs: Sequence[str]
    run: Callable[[Arrays], Arrays]


class Chain:
    """Networks that are run one after the other, each on outputs of those before it; one call at a time."""

    def __init__(self, networks: Sequence[Network]):
        self._networks = networks

    def run(self, pixels: np.ndarray) -> Arrays:
        """uint8 [1, side, side, 3] -> the outputs of the last network."""
        found: Arrays = {"pixels": pixels}
        for network in self._networks:
            outputs = network.run({name: found[name] for name in network.inputs})
            found |= outputs
        return outputs


class TFLiteEngine(abc.ABC):
    """Holds the light model of a bundle and answers like `SavedModelEngine`.

    Attributes:
        bundle: Bundle. What its description says.
        LIBRARY: str. What runs the network, with its version.
        LOGIT_TOLERANCE: float. What the known image's logit may be off by.
        REMEDY: str. What to do where it is off by more.

    Raises:
        FileNotFoundError: a file, or the description, is missing.
        ValueError: a file is damaged, no LiteRT model, or not one of ours; or the library computes it wrongly on this
            machine.
    """

    LIBRARY: str
    LOGIT_TOLERANCE: float
    REMEDY: str

    def __init__(self, model: str | os.PathLike[str], num_threads: int | None = None):
        """Load a light model.

        Args:
            model: path of a bundle, or of a `.tflite` with its `.json` beside it.
            num_threads: int. None takes as many as there are processors, at most `MOST_THREADS`.
        """
        model = Path(model)
        self.bundle = read_bundle(model)
        side = self.bundle.spec.view_side
        self.pixels_shape = (side, side, 3)  # of one image that the network reads
        self._view = self.bundle.spec.pillow_view
        self._lock = threading.Lock()  # a network serves one caller at a time
        self._load(self.bundle.light, num_threads or min(os.cpu_count() or 1, MOST_THREADS))
        batch_sizes = (1, 2 * self._side_by_side())  # images side by side take another way than one
        score = lambda images: self.predict(images)["logit"]
        known = self.bundle.known_logit
        check_known_image(score, known, self.LOGIT_TOLERANCE, batch_sizes, self.LIBRARY, model, self.REMEDY)

    def predict(self, encoded: list[bytes]) -> Rows:
        """N encoded images -> the rows of the score contract, an array [N] each; strings are bytes."""
        rows = self._score(encoded)
        del rows["heatmap"]
        return rows

    def explain(self, encoded: list[bytes]) -> Rows:
        """The same, and `heatmap` float32 [N, h, w], 0..1."""
        return self._score(encoded)

    def run(self, pixels: np.ndarray) -> Arrays:
        """The network alone.

        Args:
            pixels: uint8 [N, side, side, 3], RGB 0..255.

        Returns:
            `logit` and `distance`, float32 [N, 1], and `heatmap`, float32 [N, h, w]; and what else the file returns.

        Raises:
            ValueError: another shape or type.
        """
        if pixels.dtype != np.uint8 or pixels.shape[1:] != self.pixels_shape:
            raise ValueError(
                f"pixels must be uint8 [N, {', '.join(map(str, self.pixels_shape))}]. "
                f"Received: {pixels.dtype} {list(pixels.shape)}"
            )
        return self._run(pixels)

    @abc.abstractmethod
    def _load(self, files: Sequence[Path], num_threads: int) -> None:
        """Prepare `_run`."""

    @abc.abstractmethod
    def _run(self, pixels: np.ndarray) -> Arrays:
        """`run`, of pixels that were checked; may be called by several threads at once."""

    def _side_by_side(self) -> int:
        """How many images are computed at the same time."""
        return 1

    def _chain(self, files: Sequence[Path], open_file: Callable[[Path], Network]) -> Chain:
        """Load files that are run one after the other.

        Raises:
            ValueError: one is no model, or not one that fits here.
        """
        networks: list[Network] = []
        known = {"pixels": f"uint8 {list(self.pixels_shape)}"}
        for file in files:
            try:
                network = open_file(file)
            except (ValueError, RuntimeError) as error:
                raise ValueError(f"{file} is no LiteRT model: {' '.join(str(error).split())}") from error
            is_last = file == files[-1]
            first_wrong = not networks and network.inputs != known
            if (
                first_wrong
                or not set(network.inputs) <= set(known)
                or (is_last and not set(network.outputs) >= OUTPUTS)
            ):
                wanted = " and ".join(f"{name} {kind}".rstrip() for name, kind in known.items())
                inputs = ", ".join(f"{name} {kind}" for name, kind in network.inputs.items())
                returns = f" and return {', '.join(sorted(OUTPUTS))}" if is_last else ""
                raise ValueError(
                    f"{file} is not a model of deepfake-tf export: it must read {wanted}{returns}. "
                    f"Received: {inputs or 'no inputs'} -> {', '.join(network.outputs) or 'no signature'}"
                )
            known |= dict.fromkeys(network.outputs, "")
            networks.append(network)
        return Chain(networks)

    def _score(self, encoded: list[bytes]) -> Rows:
        images = [read_image(image_bytes, self._view, self.bundle.spec.upright) for image_bytes in encoded]
        blank = np.zeros(self.pixels_shape, np.uint8)
        # An image without pixels keeps its row; so does an empty request, cut off again.
        pixels = [blank if image.pixels is None else image.pixels for image in images] or [blank]
        outputs = {name: output[: len(images)] for name, output in self.run(np.stack(pixels)).items()}
        rows = decide(
            outputs["logit"][:, 0],
            outputs["distance"][:, 0],
            np.array([image.width for image in images], np.int32),
            np.array([image.height for image in images], np.int32),
            [image.error for image in images],
            self.bundle.decision,
        )
        is_valid = np.array([not image.error for image in images], np.float32)
        return {**rows, "heatmap": outputs["heatmap"] * is_valid[:, None, None]}


def concatenated(results: Sequence[Arrays]) -> Arrays:
    """Outputs for one image each -> those for all, in their order."""
    return {name: np.concatenate([result[name] for result in results]) for name in results[0]}
