"""What the page asks of the model server, of the model card and of the samples. No image is kept here."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from deepfake_tf import provenance
from deepfake_tf.contract import VERDICT_GENERATED, VERDICT_REAL, VERDICT_UNCERTAIN, Explanation, Prediction
from deepfake_tf.decision.verdict import probability_of
from deepfake_tf.detectors import cifake
from deepfake_tf.detectors.bundle import read_card, threshold_and_band
from deepfake_tf.detectors.registry import DETECTORS
from deepfake_tf.engines.detector import Detector
from deepfake_tf.engines.finding import find_model, find_models, is_saved_model
from deepfake_tf.engines.server_requests import ServerBusyError
from deepfake_tf.samples import write_samples

DEFAULT_URL = "http://127.0.0.1:8501"
CACHE_SECONDS = 600  # short, because the server may load another version of the model
CACHE_ENTRIES = 2000


def server_url() -> str:
    """The model server's address: DEEPFAKE_TF_URL, or this machine's."""
    return os.environ.get("DEEPFAKE_TF_URL") or DEFAULT_URL


def explain(url: str, name: str, encoded: bytes) -> Explanation:
    """Score one image with its heat map; an image that was scored lately is not sent again.

    Raises:
        ConnectionError, TimeoutError, ValueError: as `RestEngine.explain`; see `advice`. These are not cached.
    """
    explanation = _explain(url, hashlib.sha256(encoded).hexdigest(), encoded)
    return dataclasses.replace(explanation, prediction=dataclasses.replace(explanation.prediction, file=name))


def advice(error: Exception) -> str:
    """What a person can do about an error of `explain`, in words without anything from the server."""
    message = str(error)
    if isinstance(error, ServerBusyError):
        return "The model server is busy. Wait a moment, then retry."
    if isinstance(error, TimeoutError):
        return "The model server is too slow to answer. Retry with fewer or smaller images."
    if isinstance(error, ConnectionError) and "no server answers" in message:
        return "The model server is down. Start it with `deepfake-tf serve`, then retry."
    if "(401)" in message or "(403)" in message:
        return "The model server asks for a key. Start this page with the right `DEEPFAKE_TF_API_KEY`."
    if "(404)" in message or "(405)" in message:
        return "The server does not have this model. Point `DEEPFAKE_TF_URL` at one that serves `deepfake`."
    if isinstance(error, ConnectionError):
        return "What answers at this address is not a server of this model. Check `DEEPFAKE_TF_URL`, then retry."
    return "The model server refused the request. Check `DEEPFAKE_TF_URL` and the model it serves, then retry."


@st.cache_data(max_entries=CACHE_ENTRIES, ttl=CACHE_SECONDS, show_spinner=False)
def _inspect(digest: str, _encoded: bytes) -> provenance.Report:
    return provenance.inspect(_encoded)


def inspect(encoded: bytes) -> provenance.Report:
    """What the file says of its own origin; a Content Credential is checked once, not with each turn of a slider."""
    return _inspect(hashlib.sha256(encoded).hexdigest(), encoded)


@st.cache_data
def load_cards() -> dict[str, dict[str, Any]]:
    """Detector's name -> the card of its model: of DEEPFAKE_TF_MODEL, else of what ships; empty where there is none."""
    try:
        cards = {name: read_card(model) for name, model in find_models(engine="auto").items()}
    except (OSError, ValueError):
        return {}
    return {name: card for name, card in cards.items() if card}


def card_of(prediction: Prediction) -> dict[str, Any]:
    """The card of the model that gave this answer; empty where none is at hand, or the one at hand is of another model.

    An upload gateway tells its cards, TensorFlow Serving's API offers none. A card is of another model where its
    calibration makes another probability of the logit, or its band another verdict.
    """
    card = (_served_cards(server_url()) or load_cards()).get(
        prediction.detector or cifake.SPEC.name, {}
    )  # which earlier gateways had alone
    return card if _gives(card, prediction) else {}


def _gives(card: dict[str, Any], prediction: Prediction) -> bool:
    threshold, band = threshold_and_band(card)
    rules = card.get("decision", {})
    calibration = card.get("calibration", {})
    if temperature := rules.get("temperature", calibration.get("temperature")):
        intercept = rules.get("intercept", -calibration.get("offset", 0.0) / temperature)
        expected = float(probability_of(np.float64(prediction.logit), temperature, intercept))
        # The rest is float32; near 0 and 1 the difference counts by its share of what is left to there.
        tolerance = 1e-6 + 0.01 * min(expected, 1 - expected)
        if abs(prediction.probability - expected) > tolerance:
            return False
    if threshold is None or band is None or not prediction.in_domain:
        return True
    if band[0] < prediction.probability < band[1]:
        return prediction.verdict == VERDICT_UNCERTAIN
    return prediction.verdict == (VERDICT_GENERATED if prediction.probability >= threshold else VERDICT_REAL)


@st.cache_data
def load_robustness_plot() -> bytes | None:
    """The plot of `deepfake-tf robustness` for the model of small images, a PNG; None where it is not at hand."""
    try:
        model = find_model(engine="auto")
        folder = model.parents[1] if is_saved_model(model) else model.parent
        return (folder / "figures" / "robustness.png").read_bytes()
    except (OSError, ValueError):
        return None


def what_can_be_judged() -> str:
    """The sizes that the detectors at hand judge; of those that there are, where none is at hand. Ends in no stop."""
    specs = [DETECTORS[name] for name in load_cards() if name in DETECTORS] or list(DETECTORS.values())
    return "; ".join(spec.judges for spec in reversed(specs))


def is_of_another_detector(prediction: Prediction) -> bool:
    """Whether the image is of a size that some detector judges, but the model that answered is not that one's."""
    judge = DETECTORS.get(prediction.detector)
    size = prediction.width, prediction.height
    return judge is not None and not judge.accepts(*size) and any(spec.accepts(*size) for spec in DETECTORS.values())


@st.cache_data
def load_samples() -> dict[str, bytes]:
    """Name -> photograph; empty where the packages that carry them are not installed."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            return {path.name: path.read_bytes() for path in write_samples(Path(folder))}
    except (ImportError, OSError):
        return {}


@st.cache_resource
def _detector(url: str) -> Detector:
    return Detector(url=url)


@st.cache_data(ttl=CACHE_SECONDS, show_spinner=False)
def _served_cards(url: str) -> dict[str, dict[str, Any]]:
    """What the server tells of its models: by detector, as `load_cards`."""
    return _detector(url).cards


@st.cache_data(max_entries=CACHE_ENTRIES, ttl=CACHE_SECONDS, show_spinner=False)
def _explain(url: str, digest: str, _encoded: bytes) -> Explanation:
    """The underscore keeps the image itself out of the cache's key: `digest` stands for it."""
    return _detector(url).explain(_encoded)
