"""`Detector`: images in, predictions of the score contract out."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import itertools
import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepfake_tf.config import LABEL_INVALID, MAX_FILE_BYTES, VERDICT_UNCERTAIN

if TYPE_CHECKING:
    import PIL.Image

    from deepfake_tf import provenance

    Image = str | os.PathLike[str] | bytes | PIL.Image.Image | np.ndarray

BATCH_SIZE = 32
BATCHES_AT_ONCE = 2
_ENGINE_CLASSES = {  # engine -> what it needs, the extra that brings that, its module and class
    "saved_model": ("tensorflow", "full", "saved_model", "SavedModelEngine"),
    "litert": ("ai_edge_litert", "lite", "litert", "LiteRTEngine"),
    "openvino": ("openvino", "openvino", "openvino", "OpenVINOEngine"),
}
ENGINES = ("auto", *_ENGINE_CLASSES)
LITERT_SUFFIX = ".tflite"
MODEL_CARD = "assets/model_card.json"  # inside a SavedModel


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What the model says of one image.

    Attributes:
        file: the path, or "" where the image came without one.
        label: "FAKE", "REAL", or "INVALID" where there is no score.
        confidence: probability of the label, 0..1; 0 where there is no score.
        probability: P(FAKE) after calibration, 0..1; -1 where there is no score.
        logit: the network's output before calibration.
        in_domain: whether the image is like those that the model was trained and measured on.
        verdict: "likely generated", "likely real" or "uncertain"; out of domain it is "uncertain".
        reason: why the image is out of domain, else "".
        width, height: pixels, as the file's header states them; 0 where it could not be read.
        error: why there is no score, else "".
    """

    file: str
    label: str
    confidence: float
    probability: float
    logit: float
    in_domain: bool
    verdict: str
    reason: str
    width: int
    height: int
    error: str

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Explanation:
    """A prediction, and where in the image the evidence for its label lies.

    Attributes:
        prediction: Prediction.
        heatmap: float32 [h, w], 0..1. Grad-CAM of the label; all 0 where there is no score.
    """

    prediction: Prediction
    heatmap: np.ndarray


class Detector:
    """Tells photographs from generated images.

        detector = Detector()
        detector.predict("photo.jpg").verdict
        detector.predict(["a.png", "b.png"])

    An image is a path (str or path-like), an encoded image (bytes), a `PIL.Image.Image`, or a NumPy array
    uint8 [H, W, 3] RGB or [H, W] grey, 0..255. A file that cannot be scored gives a prediction with
    `error`; a wrong argument raises.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        url: str | None = None,
        version: int | None = None,
        label: str | None = None,
        engine: str = "auto",
    ):
        """Load a model, or connect to a server that has one.

        Args:
            model: path of a SavedModel, or of a folder of numbered versions (the highest is taken).
                Or a `.tflite` of `deepfake-tf export --litert`, with its `.json` beside it. None takes
                DEEPFAKE_TF_MODEL from the environment, else the model that ships.
            url: score there instead: "http://HOST:8501" (REST) or "grpc://HOST:8500", of TensorFlow
                Serving or of `deepfake-tf serve`.
            version: with `url`, the number of the version to ask for; None takes the highest.
            label: with `url`, the label of the version to ask for, such as "stable".
            engine: without `url`, what runs the model: "saved_model" (TensorFlow); "litert" or "openvino" (the
                `.tflite`; neither loads TensorFlow); or "auto": TensorFlow or LiteRT, as `model` is for; where that
                leaves a choice, TensorFlow if it is installed.

        Raises:
            FileNotFoundError, ValueError: no model there, or not one of ours; says what was tried.
            ImportError: what the engine needs is not installed.
        """
        self._engine: Any
        self.model_dir: Path | None = None
        if url is not None:
            from deepfake_tf.engines.tf_serving import connect

            self._engine = connect(url, version=version, label=label)
        else:
            self.model_dir = find_model(model, engine)
            self._engine = _load(self.model_dir, engine)

    @property
    def card(self) -> dict[str, Any]:
        """The model card: data, split, metrics, threshold, temperature, band; empty behind a `url`."""
        return read_card(self.model_dir) if self.model_dir else {}

    def predict(self, images: Image | Sequence[Image]) -> Any:
        """Score one image, or a list of them.

        Returns:
            A `Prediction`, or a list of them in the order of the images.

        Raises:
            TypeError, ValueError: an argument is no image. Echoes what was received.
        """
        predictions = list(self.predict_iter(_as_list(images)))
        return predictions if isinstance(images, (list, tuple)) else predictions[0]

    def predict_iter(self, images: Iterable[Image], batch_size: int = BATCH_SIZE) -> Iterator[Prediction]:
        """Score any number of images as they come, `batch_size` at a time."""
        for rows, batch in self._run(images, batch_size, explain=False):
            for index, (file, error) in enumerate(batch):
                yield _prediction(rows, index, file, error)

    def explain(self, images: Image | Sequence[Image]) -> Any:
        """Score like `predict`, with a Grad-CAM heat map each.

        Returns:
            An `Explanation`, or a list of them in the order of the images.
        """
        explanations = [
            Explanation(_prediction(rows, index, file, error), rows["heatmap"][index])
            for rows, batch in self._run(_as_list(images), BATCH_SIZE, explain=True)
            for index, (file, error) in enumerate(batch)
        ]
        return explanations if isinstance(images, (list, tuple)) else explanations[0]

    @staticmethod
    def inspect(image: str | Path | bytes, **options: Any) -> provenance.Report:
        """What the file says of its own origin; see `deepfake_tf.provenance.inspect`."""
        from deepfake_tf import provenance

        return provenance.inspect(image, **options)

    def _run(self, images, batch_size: int, explain: bool):
        """Yields, a batch at a time: the engine's arrays, and (file, error) of each image."""
        engine_call = self._engine.explain if explain else self._engine.predict

        def score(batch):
            read = [_encode(image) for image in batch]
            return engine_call([encoded for encoded, _, _ in read]), [rest for _, *rest in read]

        if isinstance(images, Sequence) and len(images) <= batch_size:
            if images:
                yield score(images)
            return
        iterator = iter(images)
        batches = iter(lambda: list(itertools.islice(iterator, batch_size)), [])
        # Two at once: while the network runs on one batch, the files of the next are read and decoded.
        with ThreadPoolExecutor(BATCHES_AT_ONCE, "batch") as executor:
            running: deque[Future] = deque()
            try:
                for batch in batches:
                    running.append(executor.submit(score, batch))
                    if len(running) > BATCHES_AT_ONCE:
                        yield running.popleft().result()
                while running:
                    yield running.popleft().result()
            finally:
                for future in running:
                    future.cancel()


def find_model(model: str | os.PathLike[str] | None = None, engine: str = "saved_model") -> Path:
    """The folder of the SavedModel, or the `.tflite` file, to load; see `Detector.__init__`."""
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}. Received: engine={engine!r}")
    checkout = Path(__file__).parents[2] / "saved_model" / "deepfake"
    root = Path(model or os.environ.get("DEEPFAKE_TF_MODEL") or checkout)
    is_file = root.suffix == LITERT_SUFFIX
    file = root if is_file else root.with_name(root.name + LITERT_SUFFIX)
    if engine == "auto":
        prefers_file = is_file or (file.is_file() and not _is_installed("tensorflow"))
        engine = "litert" if prefers_file else "saved_model"
    if engine in ("litert", "openvino"):
        if not file.is_file():
            raise FileNotFoundError(
                f"No LiteRT model {file}. Name one with --model or DEEPFAKE_TF_MODEL, or make one with: deepfake-tf "
                f"export RUN_DIR --output DIR --litert DIR"
            )
        return file
    if (root / "saved_model.pb").is_file():
        return root
    versions = [path for path in root.glob("*") if path.name.isdigit() and (path / "saved_model.pb").is_file()]
    if not versions:
        raise FileNotFoundError(
            f"No SavedModel in {root} (neither saved_model.pb nor numbered version folders). Name one with "
            f"--model or DEEPFAKE_TF_MODEL, or make one with: deepfake-tf export RUN_DIR --output DIR"
        )
    return max(versions, key=lambda path: int(path.name))


def read_card(model_dir: Path) -> dict[str, Any]:
    """The model card that travels in a SavedModel or beside a `.tflite`; empty where there is none."""
    if model_dir.suffix == LITERT_SUFFIX:
        return json.loads(model_dir.with_suffix(".json").read_text(encoding="utf-8")).get("card", {})
    file = model_dir / MODEL_CARD
    return json.loads(file.read_text()) if file.is_file() else {}


def engine_class(engine: str) -> Any:
    """The class that runs a SavedModel's folder ("saved_model"), or a `.tflite` ("litert", "openvino").

    Raises:
        ImportError: what it needs is not installed.
    """
    package, extra, module, name = _ENGINE_CLASSES[engine]
    if not _is_installed(package):
        raise ImportError(
            f"The engine {engine} needs {package}, which is not installed: pip install 'deepfake-tf[{extra}]'"
        )
    return getattr(importlib.import_module(f"deepfake_tf.engines.{module}"), name)


def _load(model: Path, engine: str) -> Any:
    """The engine for what `find_model` found."""
    if model.suffix != LITERT_SUFFIX:
        engine = "saved_model"
    elif engine != "openvino":
        engine = "litert"
    return engine_class(engine)(model)


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _prediction(rows: dict[str, np.ndarray], index: int, file: str, error: str) -> Prediction:
    text = lambda name: rows[name][index].decode()
    return Prediction(
        file=file,
        label=text("label") if not error else LABEL_INVALID,
        confidence=float(rows["confidence"][index]),
        probability=float(rows["probability"][index]),
        logit=float(rows["logit"][index]),
        in_domain=bool(rows["in_domain"][index]),
        verdict=text("verdict") if not error else VERDICT_UNCERTAIN,
        reason=text("reason"),
        width=int(rows["width"][index]),
        height=int(rows["height"][index]),
        error=error or text("error"),
    )


def _as_list(images: Any) -> list[Image]:
    return list(images) if isinstance(images, (list, tuple)) else [images]


def _encode(image: Image) -> tuple[bytes, str, str]:
    """(encoded image, file, error). Where there is an error, the encoded image is empty."""
    if isinstance(image, bytes):
        return (b"", "", _too_large(len(image))) if len(image) > MAX_FILE_BYTES else (image, "", "")
    if isinstance(image, (str, os.PathLike)):
        return _read_file(Path(image))
    if isinstance(image, np.ndarray):
        return _encode_array(image), "", ""
    if hasattr(image, "convert"):  # a PIL image, recognised without importing Pillow
        return _encode_array(np.asarray(image.convert("RGB"))), "", ""
    raise TypeError(
        f"An image is a path, bytes, a PIL image or a NumPy array uint8 [H, W, 3]. Received: {type(image).__name__}"
    )


def _read_file(path: Path) -> tuple[bytes, str, str]:
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            return b"", str(path), _too_large(size)
        return path.read_bytes(), str(path), ""
    except OSError as error:
        return b"", str(path), (error.strerror or str(error)).lower()


def _too_large(size: int) -> str:
    return f"file too large: {size / 2**20:.0f} MiB, at most {MAX_FILE_BYTES // 2**20} MiB are accepted"


def _encode_array(pixels: np.ndarray) -> bytes:
    """As a BMP: the one lossless form that costs a copy and no compression."""
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)) or not pixels.size:
        raise ValueError(
            f"An array must be uint8 [H, W, 3] RGB or [H, W] grey, 0..255, not empty. "
            f"Received: {pixels.dtype} {list(pixels.shape)}"
        )
    import io

    import PIL.Image

    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).convert("RGB").save(buffer, "BMP")
    return buffer.getvalue()
