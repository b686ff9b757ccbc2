"""`Detector`: images in, predictions of the score contract out."""

from __future__ import annotations

import functools
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast, overload

import numpy as np
import PIL.Image

from deepfake_tf.contract import (
    ERROR_DAMAGED,
    LABEL_INVALID,
    MAX_BATCH_SIZE,
    MAX_FILE_BYTES,
    VERDICT_UNCERTAIN,
    Engine,
    Explanation,
    Prediction,
    Rows,
    unexpected,
)
from deepfake_tf.detectors.bundle import read_card
from deepfake_tf.engines.choosing import ChoosingEngine
from deepfake_tf.engines.finding import engine_class, engine_of, find_models, is_saved_model
from deepfake_tf.engines.parts import in_parts
from deepfake_tf.reading import admission
from deepfake_tf.reading.files import read_file, reason_of, too_large
from deepfake_tf.reading.pictures import encode_bmp, to_upright_rgb

if TYPE_CHECKING:
    from deepfake_tf import conclusion, provenance

    Image = str | os.PathLike[str] | bytes | BinaryIO | PIL.Image.Image | np.ndarray

_Call = Callable[[list[bytes]], Rows]

BATCH_BYTES = 128 * 2**20  # of encoded images that an engine gets at once, one larger image but for itself
BATCHES_AT_ONCE = 2


class Detector:
    """Tells photographs from generated images.

        detector = Detector()
        detector.predict("photo.jpg").verdict
        detector.predict(["a.png", "b.png"])

    An image is

    - a path (str or path-like), an encoded image (bytes) or a file object of one, open in binary mode: JPEG, PNG, GIF,
      BMP, WebP, TIFF, AVIF, and HEIC where pillow-heif is installed;
    - a `PIL.Image.Image` of any mode, see `deepfake_tf.reading.pictures.to_rgb`; it is turned as its EXIF says, so turn
      it by `PIL.ImageOps.exif_transpose`, which takes that out, or not at all;
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
            model: path of a bundle, which `deepfake-tf export` writes; of a SavedModel, or of a folder of numbered
                versions (the highest is taken); of a `.tflite` with its `.json` beside it; or of a folder of bundles,
                of which the size of each image chooses one. None takes DEEPFAKE_TF_MODEL from the environment, else
                the models that ship.
            url: score there instead: "http://HOST:8501" (REST) or "grpc://HOST:8500", of TensorFlow
                Serving or of `deepfake-tf serve`.
            version: with `url`, the number of the version to ask for; None takes the highest.
            label: with `url`, the label of the version to ask for, such as "stable".
            engine: without `url`, what runs the model: "saved_model" (TensorFlow); "litert" or "openvino" (the
                `.tflite` files; neither loads TensorFlow); or "auto": TensorFlow or LiteRT, as `model` is for; where
                that leaves a choice, TensorFlow if it is installed. An installed wheel ships the `.tflite` alone.

        Raises:
            FileNotFoundError, ValueError: no model there, or not one of ours; says what was tried.
            ImportError: what the engine needs is not installed.
            RuntimeError: a SavedModel, in a process that was forked from one that had loaded one.
        """
        self._engine: Engine
        self._arguments: dict[str, Any]  # with which a copy in another process is made
        self._process = os.getpid()
        self.model_dir: Path | None = None  # of the first of the detectors at hand
        self._models: dict[str, Path] = {}
        self._admits = False  # whether the engine brings images into the form that all engines take alike by itself
        if url is not None:
            from deepfake_tf.engines.tf_serving import connect

            self._arguments = {"url": url, "version": version, "label": label}
            self._engine = connect(url, version=version, label=label)
        else:
            # The working folder may be another one when they are loaded, or in the process of a copy.
            models = {name: path.absolute() for name, path in find_models(model, engine).items()}
            self.model_dir = next(iter(models.values()))
            self._models = models
            self._arguments = {
                "model": self.model_dir if len(models) == 1 else model and os.path.abspath(model),
                "engine": engine,
            }
            self._admits = all(not is_saved_model(path) for path in models.values())
            choosing = ChoosingEngine({name: functools.partial(_load, path, engine) for name, path in models.items()})
            if len(models) == 1:  # what is wrong with it is told here
                choosing.engine(next(iter(models)))
            self._engine = choosing

    def __reduce__(self):
        return functools.partial(type(self), **self._arguments), ()

    @property
    def card(self) -> dict[str, Any]:
        """The model card: data, split, metrics, threshold, temperature, band; empty behind a `url`.

        Of the first detector, where there are several; see `cards`.
        """
        return read_card(self.model_dir) if self.model_dir else {}

    @property
    def cards(self) -> dict[str, dict[str, Any]]:
        """The model card of each detector by its name; behind a `url`, those that an upload gateway tells."""
        from deepfake_tf.engines.gateway import GatewayEngine

        return self._engine.cards() if isinstance(self._engine, GatewayEngine) else self._own_cards

    @functools.cached_property
    def _own_cards(self) -> dict[str, dict[str, Any]]:
        return {name: read_card(path) for name, path in self._models.items()}  # which checks the models' digests

    @overload
    def predict(self, images: Sequence[Image]) -> list[Prediction]: ...  # type: ignore[overload-overlap]

    @overload
    def predict(self, images: Image) -> Prediction: ...

    def predict(self, images: Image | Sequence[Image]) -> Prediction | list[Prediction]:
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

    @overload
    def explain(self, images: Sequence[Image]) -> list[Explanation]: ...  # type: ignore[overload-overlap]

    @overload
    def explain(self, images: Image) -> Explanation: ...

    def explain(self, images: Image | Sequence[Image]) -> Explanation | list[Explanation]:
        """Score like `predict`, with a heat map each.

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

    def conclude(self, image: str | Path | bytes, **options: Any) -> conclusion.Conclusion:
        """The one answer from all witnesses: the file's own word, the mark in its pixels, and the verdict.

        Args:
            image: a path, or the encoded image.
            options: as of `deepfake_tf.provenance.inspect`.
        """
        from deepfake_tf import conclusion

        prediction = self.predict(image)
        return conclusion.conclude(prediction, self.inspect(image, **options), self.cards.get(prediction.detector))

    def _run(self, images, batch_size: int, explain: bool):
        """Yields, a batch at a time: the engine's arrays, and (file, error) of each image."""
        _check_not_forked(self._process)
        engine_call = self._engine.explain if explain else self._engine.predict

        def score(batch):
            read = [self._read(image) for image in batch]
            encoded = [encoded for encoded, _, _ in read]
            if isinstance(self._engine, ChoosingEngine):  # a model that cannot be loaded is no fault of the images
                self._engine.load_for(encoded)
            rows, errors = self._call(engine_call, encoded)
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
            try:
                encoded, error = admission.admit(encoded, well_formed=not self._admits)
            except Exception as failure:
                error = unexpected(failure)
        return (b"" if error else encoded), file, error

    def _call(self, engine_call: _Call, encoded: list[bytes]) -> tuple[Rows, list[str]]:
        """The engine's arrays, and for each image the error that it alone could not be scored for."""
        parts = in_parts(encoded, BATCH_BYTES, len(encoded))
        return _joined([self._call_once(engine_call, part) for part in parts])

    def _call_once(self, engine_call: _Call, encoded: list[bytes]) -> tuple[Rows, list[str]]:
        try:
            return engine_call(encoded), [""] * len(encoded)
        except Exception as error:
            if self.model_dir is None:  # a server's word is about the request, or nobody answers
                raise
            if len(encoded) == 1:
                return engine_call([b""]), [unexpected(error)]  # which raises where the engine itself is broken
        return _joined([self._call_once(engine_call, [image]) for image in encoded])


def _joined(parts: Sequence[tuple[Rows, list[str]]]) -> tuple[Rows, list[str]]:
    """The rows and errors of several calls as those of one."""
    if len(parts) == 1:
        return parts[0]
    rows = {name: np.concatenate([rows[name] for rows, _ in parts]) for name in parts[0][0]}
    return rows, [error for _, errors in parts for error in errors]


def _load(model: Path, engine: str) -> Engine:
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


def _prediction(rows: Rows, index: int, file: str, error: str) -> Prediction:
    text = lambda name: rows[name][index].decode()
    return Prediction(
        file=file,
        detector=text("detector") if not error else "",
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


def _encode(image: Image) -> tuple[bytes, str, str]:
    """(encoded image, file, error). Where there is an error, the encoded image is empty."""
    if isinstance(image, (bytes, bytearray, memoryview)):
        return _checked(bytes(image), "")
    if isinstance(image, (str, os.PathLike)):
        return _read_file(os.fspath(image))
    if isinstance(image, np.ndarray):
        return encode_array(image), "", ""
    if hasattr(image, "convert"):  # a PIL image
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


def _encode_pillow(image: Any) -> tuple[bytes, str, str]:
    if error := admission.check_size(*image.size):
        return b"", "", error
    try:
        return encode_bmp(to_upright_rgb(image)), "", ""
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
    return encode_bmp(PIL.Image.fromarray(np.ascontiguousarray(pixels, np.uint8)).convert("RGB"))
