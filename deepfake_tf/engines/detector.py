"""`Detector`: images in, predictions of the score contract out."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import itertools
import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from deepfake_tf.contract import (
    ERROR_DAMAGED,
    LABEL_INVALID,
    MAX_BATCH_SIZE,
    MAX_FILE_BYTES,
    VERDICT_UNCERTAIN,
    unexpected,
)
from deepfake_tf.reading.files import read_file, reason_of, too_large
from deepfake_tf.shipped import shipped_folder

if TYPE_CHECKING:
    import PIL.Image

    from deepfake_tf import provenance

    Image = str | os.PathLike[str] | bytes | BinaryIO | PIL.Image.Image | np.ndarray

BATCH_BYTES = 128 * 2**20  # of encoded images that an engine gets at once, one larger image but for itself
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

    An image is

    - a path (str or path-like), an encoded image (bytes) or a file object of one, open in binary mode: JPEG, PNG, GIF,
      BMP, WebP, TIFF, AVIF, and HEIC where pillow-heif is installed;
    - a `PIL.Image.Image` of any mode; see `deepfake_tf.reading.pictures.to_rgb`;
    - a NumPy array [H, W, 3] RGB, [H, W, 4] RGB and alpha, [H, W, 1] or [H, W] grey: uint8, 0..255; uint16, 0..65535;
      or float, 0..1. An array [N, H, W, 1, 3 or 4] is N images, as a list of them is.

    Alpha is dropped. A file or a PIL image that cannot be scored gives a prediction with `error`, whatever went wrong
    with it; a wrong argument raises.

    It may be used from several threads, and pickled: what is unpickled loads the model anew. In a process that was
    forked it raises, because the threads of its engine stay behind: start processes by `spawn`.
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
                leaves a choice, TensorFlow if it is installed. An installed wheel ships the `.tflite` alone.

        Raises:
            FileNotFoundError, ValueError: no model there, or not one of ours; says what was tried.
            ImportError: what the engine needs is not installed.
            RuntimeError: a SavedModel, in a process that was forked from one that had loaded one.
        """
        self._engine: Any
        self._arguments: dict[str, Any]  # with which a copy in another process is made
        self._process = os.getpid()
        self.model_dir: Path | None = None
        if url is not None:
            from deepfake_tf.engines.tf_serving import connect

            self._arguments = {"url": url, "version": version, "label": label}
            self._engine = connect(url, version=version, label=label)
        else:
            self.model_dir = find_model(model, engine)
            self._arguments = {"model": self.model_dir.absolute(), "engine": engine}
            self._engine = _load(self.model_dir, engine)

    def __reduce__(self):
        return functools.partial(type(self), **self._arguments), ()

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
            RuntimeError: in a process that was forked after the Detector was made.
        """
        predictions = list(self.predict_iter(_as_list(images)))
        return predictions if _are_many(images) else predictions[0]

    def predict_iter(self, images: Iterable[Image], batch_size: int = MAX_BATCH_SIZE) -> Iterator[Prediction]:
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
            for rows, batch in self._run(_as_list(images), MAX_BATCH_SIZE, explain=True)
            for index, (file, error) in enumerate(batch)
        ]
        return explanations if _are_many(images) else explanations[0]

    @staticmethod
    def inspect(image: str | Path | bytes, **options: Any) -> provenance.Report:
        """What the file says of its own origin; see `deepfake_tf.provenance.inspect`."""
        from deepfake_tf import provenance

        return provenance.inspect(image, **options)

    def _run(self, images, batch_size: int, explain: bool):
        """Yields, a batch at a time: the engine's arrays, and (file, error) of each image."""
        _check_not_forked(self._process)
        engine_call = self._engine.explain if explain else self._engine.predict

        def score(batch):
            read = [self._read(image) for image in batch]
            rows, errors = self._call(engine_call, [encoded for encoded, _, _ in read])
            return rows, [(file, error or other) for (_, file, error), other in zip(read, errors)]

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

    def _read(self, image: Image) -> tuple[bytes, str, str]:
        """(image that the engine takes, file, error). Where there is an error, the image is empty."""
        encoded, file, error = _encode(image)
        if not error:
            encoded, error = self._admit(encoded)
        return (b"" if error else encoded), file, error

    def _admit(self, encoded: bytes) -> tuple[bytes, str]:
        from deepfake_tf.reading import admission

        try:
            return admission.admit(encoded, well_formed=not getattr(self._engine, "ADMITS", False))
        except Exception as error:
            return b"", unexpected(error)

    def _call(self, engine_call: Any, encoded: list[bytes]) -> tuple[dict[str, np.ndarray], list[str]]:
        """The engine's arrays, and for each image the error that it alone could not be scored for."""
        parts = [self._call_once(engine_call, batch) for batch in _split(encoded)]
        if len(parts) == 1:
            return parts[0]
        rows = {name: np.concatenate([rows[name] for rows, _ in parts]) for name in parts[0][0]}
        return rows, [error for _, errors in parts for error in errors]

    def _call_once(self, engine_call: Any, encoded: list[bytes]) -> tuple[dict[str, np.ndarray], list[str]]:
        try:
            return engine_call(encoded), [""] * len(encoded)
        except Exception as error:
            if self.model_dir is None:  # a server's word is about the request, or nobody answers
                raise
            if len(encoded) == 1:
                return engine_call([b""]), [unexpected(error)]  # which raises where the engine itself is broken
        return self._call_one_by_one(engine_call, encoded)

    def _call_one_by_one(self, engine_call: Any, encoded: list[bytes]) -> tuple[dict[str, np.ndarray], list[str]]:
        parts = [self._call_once(engine_call, [image]) for image in encoded]
        rows = {name: np.concatenate([rows[name] for rows, _ in parts]) for name in parts[0][0]}
        return rows, [error for _, errors in parts for error in errors]


def find_model(model: str | os.PathLike[str] | None = None, engine: str = "saved_model") -> Path:
    """The folder of the SavedModel, or the `.tflite` file, to load; see `Detector.__init__`."""
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}. Received: engine={engine!r}")
    root = Path(model or os.environ.get("DEEPFAKE_TF_MODEL") or shipped_folder() / "deepfake")
    is_file = root.suffix == LITERT_SUFFIX
    file = root if is_file else root.with_name(root.name + LITERT_SUFFIX)
    saved_model = None if is_file else _find_saved_model(root)
    if engine == "auto":
        runs_saved_model = saved_model is not None and _is_installed("tensorflow")
        engine = "litert" if is_file or (file.is_file() and not runs_saved_model) else "saved_model"
    if engine in ("litert", "openvino"):
        if not file.is_file():
            raise FileNotFoundError(
                f"No LiteRT model {file}. Name one with --model or DEEPFAKE_TF_MODEL, or make one with: deepfake-tf "
                f"export RUN_DIR --output DIR --litert DIR"
            )
        return file
    if saved_model is None:
        light = f"; the light model {file} is there, which this does not take" if file.is_file() else ""
        raise FileNotFoundError(
            f"No SavedModel in {root} (neither saved_model.pb nor numbered version folders{light}). Name one with "
            f"--model or DEEPFAKE_TF_MODEL, or make one with: deepfake-tf export RUN_DIR --output DIR"
        )
    return saved_model


def _find_saved_model(root: Path) -> Path | None:
    """The folder itself, or its highest version."""
    if (root / "saved_model.pb").is_file():
        return root
    versions = [path for path in root.glob("*") if path.name.isdigit() and (path / "saved_model.pb").is_file()]
    return max(versions, key=lambda path: int(path.name), default=None)


def read_card(model_dir: Path) -> dict[str, Any]:
    """The model card that travels in a SavedModel or beside a `.tflite`; empty where there is none."""
    if model_dir.suffix == LITERT_SUFFIX:
        from deepfake_tf.engines.tflite import read_description

        return read_description(model_dir).get("card", {})
    file = model_dir / MODEL_CARD
    return json.loads(file.read_text()) if file.is_file() else {}


def engine_class(engine: str) -> Any:
    """The class that runs a SavedModel's folder ("saved_model"), or a `.tflite` ("litert", "openvino").

    Raises:
        ImportError: what it needs is not installed.
    """
    check_engine(engine)
    _, _, module, name = _ENGINE_CLASSES[engine]
    return getattr(importlib.import_module(f"deepfake_tf.engines.{module}"), name)


def check_engine(engine: str) -> None:
    """Whether what an engine needs is installed; nothing is loaded.

    Raises:
        ImportError: it is not. The message names the remedy.
    """
    package, extra, _, _ = _ENGINE_CLASSES[engine]
    if not _is_installed(package):
        raise ImportError(
            f"The engine {engine} needs {package}, which is not installed: pip install 'deepfake-tf[{extra}]'"
        )


def engine_of(model: Path, engine: str = "auto") -> str:
    """The engine that runs what `find_model` found for `engine`."""
    if model.suffix != LITERT_SUFFIX:
        return "saved_model"
    return "openvino" if engine == "openvino" else "litert"


def _load(model: Path, engine: str) -> Any:
    engine = engine_of(model, engine)
    if engine == "saved_model":
        _check_not_forked(_process_of_tensorflow())
    return engine_class(engine)(model)


@functools.cache
def _process_of_tensorflow() -> int:
    """The process in which the first SavedModel was loaded; a forked one remembers it. TensorFlow then hangs there."""
    return os.getpid()


def _check_not_forked(process: int) -> None:
    """
    Raises:
        RuntimeError: this process is a copy, made by fork, of the one given. Without the engine's threads it would wait
            for ever.
    """
    if os.getpid() != process:
        raise RuntimeError(
            f"This process, {os.getpid()}, was forked from process {process}, in which a Detector had been loaded; its "
            f"threads were not copied. Start processes by spawn, multiprocessing.get_context('spawn') or "
            f"DataLoader(..., multiprocessing_context='spawn'), or make the first Detector after the fork"
        )


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
        width=max(0, int(rows["width"][index])),  # models of earlier versions say what a broken header states
        height=max(0, int(rows["height"][index])),
        error=error or text("error"),
    )


def _are_many(images: Any) -> bool:
    return isinstance(images, (list, tuple)) or (isinstance(images, np.ndarray) and images.ndim == 4)


def _as_list(images: Any) -> list[Image]:
    return list(images) if _are_many(images) else [images]


def _split(encoded: list[bytes]) -> Iterator[list[bytes]]:
    """In order, no more than BATCH_BYTES at a time."""
    batch: list[bytes] = []
    size = 0
    for image in encoded:
        if batch and size + len(image) > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(image)
        size += len(image)
    yield batch


def _encode(image: Image) -> tuple[bytes, str, str]:
    """(encoded image, file, error). Where there is an error, the encoded image is empty."""
    if isinstance(image, (bytes, bytearray, memoryview)):
        return _checked(bytes(image), "")
    if isinstance(image, (str, os.PathLike)):
        return _read_file(os.fspath(image))
    if isinstance(image, np.ndarray):
        return encode_array(image), "", ""
    if hasattr(image, "convert"):  # a PIL image, recognised without importing Pillow
        return _encode_pillow(cast("PIL.Image.Image", image))
    if hasattr(image, "read"):
        return _read_stream(image)
    raise TypeError(
        f"An image is a path, bytes, a file object, a PIL image or a NumPy array. Received: {type(image).__name__}"
    )


def _read_file(path: str) -> tuple[bytes, str, str]:
    file = str(Path(path))
    try:
        return read_file(path), file, ""
    except OSError as error:
        return b"", file, reason_of(error)
    except Exception as error:
        return b"", file, unexpected(error)


def _read_stream(stream: Any) -> tuple[bytes, str, str]:
    name = getattr(stream, "name", "")
    file = name if isinstance(name, str) else ""
    try:
        data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        return b"", file, reason_of(error)
    if not isinstance(data, (bytes, bytearray)):
        raise TypeError(
            f"A file object must give bytes: open it in binary mode. Received: {type(stream).__name__}, which gives "
            f"{type(data).__name__}"
        )
    return _checked(bytes(data), file)


def _checked(encoded: bytes, file: str) -> tuple[bytes, str, str]:
    return (b"", file, too_large(len(encoded))) if len(encoded) > MAX_FILE_BYTES else (encoded, file, "")


def _encode_pillow(image: PIL.Image.Image) -> tuple[bytes, str, str]:
    from deepfake_tf.reading.admission import check_size
    from deepfake_tf.reading.pictures import encode_bmp, to_rgb

    if error := check_size(*image.size):
        return b"", "", error
    try:
        return encode_bmp(to_rgb(image)), "", ""
    except ValueError as error:  # values outside of every known range
        return b"", "", str(error)
    except (OSError, SyntaxError):  # it may be decoded only now, from a damaged file
        return b"", "", ERROR_DAMAGED
    except Exception as error:
        return b"", "", unexpected(error)


def encode_array(pixels: np.ndarray) -> bytes:
    """An array of pixels as an image file: a BMP, the one lossless form that costs a copy and no compression.

    Raises:
        ValueError: another shape, type or range. Echoes what was received.
    """
    received = f"Received: {pixels.dtype} {list(pixels.shape)}"
    is_float = np.issubdtype(pixels.dtype, np.floating)
    has_shape = pixels.ndim in (2, 3) and pixels.shape[2:] in ((), (1,), (3,), (4,)) and pixels.size
    if not has_shape or not (is_float or pixels.dtype in (np.uint8, np.uint16)):
        raise ValueError(
            f"An array must be [H, W, 3] RGB, [H, W, 4] RGB and alpha, [H, W, 1] or [H, W] grey, not empty; uint8, "
            f"uint16 or float in 0..1. {received}"
        )
    if pixels.ndim == 3:
        pixels = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels[:, :, :3]
    if is_float:
        low, high = float(pixels.min()), float(pixels.max())
        if not 0 <= low <= high <= 1:
            raise ValueError(
                f"An array of floats must lie in 0..1; divide by 255, or convert it to uint8. {received} with values "
                f"from {low:g} to {high:g}"
            )
        pixels = np.rint(pixels * 255)
    elif pixels.dtype == np.uint16:
        pixels = pixels >> 8

    import PIL.Image

    from deepfake_tf.reading.pictures import encode_bmp

    return encode_bmp(PIL.Image.fromarray(np.ascontiguousarray(pixels, np.uint8)).convert("RGB"))
