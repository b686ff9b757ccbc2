"""The score contract: labels, verdicts, limits, rows, and what is said in words. The same for every engine."""

from __future__ import annotations

import dataclasses
import enum
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # the command line prints its help without NumPy
    import numpy as np

# --- labels: 1 = FAKE, 0 = REAL, everywhere ---------------------------------------------------
REAL = 0
FAKE = 1
LABEL_NAMES = ("REAL", "FAKE")  # indexed by the integer label
LABEL_INVALID = "INVALID"  # an image without a score

# --- verdicts ---------------------------------------------------------------------------------
VERDICT_GENERATED = "likely generated"
VERDICT_REAL = "likely real"
VERDICT_UNCERTAIN = "uncertain"

# --- limits ------------------------------------------------------------------------------------
MAX_PIXELS = 64_000_000  # refused above it, from the header, before anything is decoded
MAX_FILE_BYTES = 100 * 1024 * 1024  # refused above it, before the file is read
MAX_BATCH_SIZE = 32  # images that a model gets at once, here or on a server; `serving/batching.config` has the same


# --- rows and engines --------------------------------------------------------------------------
@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a detector says of one image.

    Attributes:
        file: the path, or "" where the image came without one.
        detector: the name of the detector that judged, such as "cifake"; "" where there is no score.
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
    detector: str
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
        heatmap: float32 [h, w], 0..1. Grad-CAM of the label, or the detector's own map, of what it saw: of a photograph
            the central square, upright. All 0 where there is no score.
    """

    prediction: Prediction
    heatmap: np.ndarray


Rows = dict[str, "np.ndarray"]  # a field of the score contract -> an array [N]; texts as bytes; heatmap [N, h, w]


class Engine(Protocol):
    """What runs a model. May be called by several threads at once."""

    def predict(self, encoded: list[bytes]) -> Rows:
        """N encoded images -> the outputs of the SavedModel's signature `serving_default`."""

    def explain(self, encoded: list[bytes]) -> Rows:
        """The same, and `heatmap`, float32 [N, h, w], 0..1."""


# --- errors and reasons, in words -------------------------------------------------------------
ERROR_EMPTY = "empty file"
ERROR_UNKNOWN = "not an image in a supported format (JPEG, PNG, GIF, BMP, WebP)"
ERROR_UNKNOWN_FILE = "not an image in a supported format (JPEG, PNG, GIF, BMP, WebP, TIFF, AVIF, HEIC)"  # of `Detector`
ERROR_NO_SIZE = "the image header is damaged or cut off"
ERROR_TOO_LARGE = f"too many pixels: at most {MAX_PIXELS // 1_000_000} million are accepted"
ERROR_DAMAGED = "the image is damaged, cut off, or in a variant of its format that is not supported"


class ErrorCode(enum.IntEnum):
    """Why an image has no score, for programs; graphs compute with the numbers."""

    OK = 0
    EMPTY = 1
    UNKNOWN = 2
    NO_SIZE = 3
    TOO_LARGE = 4
    DAMAGED = 5


ERROR_TEXTS = ("", ERROR_EMPTY, ERROR_UNKNOWN, ERROR_NO_SIZE, ERROR_TOO_LARGE, ERROR_DAMAGED)  # by code


def error_code(text: str) -> ErrorCode:
    """The code of a row's `error`; what is said in other words, by a decoder or a server, is damage."""
    if text == ERROR_UNKNOWN_FILE:
        return ErrorCode.UNKNOWN
    return ErrorCode(ERROR_TEXTS.index(text)) if text in ERROR_TEXTS else ErrorCode.DAMAGED


REASON_UNLIKE = "unlike the images that the model was trained and measured on"


def reason_for_size(size: str, shortest: int, longest: int | None) -> str:
    """Why an image of this size is out of domain.

    Args:
        size: str, such as "640 x 427".
        shortest: int. The smallest side seen in training, in pixels.
        longest: int or None. The largest; None where only the smallest matters.
    """
    if longest is None:
        seen = f"{shortest} and more"
    else:
        seen = f"{shortest}" if shortest == longest else f"{shortest} to {longest}"
    return f"{size} pixels: the model was trained and measured on sides of {seen} pixels"


_UNEXPECTED = "unexpected "


def unexpected(error: Exception) -> str:
    """What a row says where something failed that was not foreseen: the exception's name, and its words on one line."""
    words = " ".join(str(error).split())[:500]
    return f"{_UNEXPECTED}{type(error).__name__}" + (f": {words}" if words else "")


def is_unexpected(error: str) -> bool:
    """Whether a row's error is of `unexpected`."""
    return error.startswith(_UNEXPECTED)


def count_unexpected(errors: Iterable[str]) -> str:
    """How many of the rows' errors are such, a line for the terminal; empty where none is."""
    names = Counter(error.split()[1].rstrip(":") for error in errors if is_unexpected(error))
    if not names:
        return ""
    found = ", ".join(f"{count} {name}" for name, count in names.most_common())
    return f"errors that were not foreseen: {found}; the rows say in which files"
