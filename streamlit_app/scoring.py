"""What the page asks of the model server, of the model card and of the samples. No image is kept here."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import streamlit as st

from deepfake_tf import provenance
from deepfake_tf.contract import Explanation
from deepfake_tf.detectors.bundle import read_card
from deepfake_tf.engines.detector import Detector
from deepfake_tf.engines.finding import find_model, is_saved_model
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
def load_card() -> dict[str, Any]:
    """The card of the model that ships; empty where there is none. TensorFlow Serving's API offers no card."""
    try:
        return read_card(find_model(engine="auto"))
    except (OSError, ValueError):
        return {}


@st.cache_data
def load_robustness_plot() -> bytes | None:
    """The plot of `deepfake-tf robustness` for the model that ships, a PNG; None where it is not at hand."""
    try:
        model = find_model(engine="auto")
        folder = model.parents[1] if is_saved_model(model) else model.parent
        return (folder / "figures" / "robustness.png").read_bytes()
    except (OSError, ValueError):
        return None


def decision(card: dict[str, Any]) -> tuple[float | None, tuple[float, float] | None]:
    """The threshold and the uncertain band, each None where the card does not have it."""
    rules = card.get("decision", {})
    band = rules.get("uncertain_band")
    return rules.get("threshold"), (band[0], band[1]) if band else None


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


@st.cache_data(max_entries=CACHE_ENTRIES, ttl=CACHE_SECONDS, show_spinner=False)
def _explain(url: str, digest: str, _encoded: bytes) -> Explanation:
    """The underscore keeps the image itself out of the cache's key: `digest` stands for it."""
    return _detector(url).explain(_encoded)
