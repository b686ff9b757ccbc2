"""Where the models that ship and the web page lie: beside the package in a checkout, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def shipped_folder() -> Path:
    """The folder of the models that ship; a checkout's holds the SavedModel too, a wheel's the light files alone."""
    return _find("saved_model")


def shipped_backbone() -> Path:
    """The first ten blocks of CLIP's ViT-B/16, in the photograph detector; see `networks.clip_weights`."""
    return shipped_folder() / "photograph" / "backbone.tflite"


def page_file() -> Path:
    """The script of the web page; the modules that it imports lie beside it."""
    return _find("streamlit_app") / "app.py"


def _find(name: str) -> Path:
    installed = _PACKAGE / name
    return installed if installed.is_dir() else _PACKAGE.parent / name
