"""Serving: a stand-in for TensorFlow Serving, the upload gateway, and what `deepfake-tf serve` and `app` start."""

from pathlib import Path

# A photograph that is always there: for the line that `serve` prints, and to warm a model up.
SAMPLE = Path(__file__).parents[1] / "samples" / "photographs" / "china.jpg"
STABLE = "stable"  # the label whose version answers uploads
# What the extra `app` brings, for the servers and for the page.
PACKAGES = ("streamlit", "matplotlib", "jinja2", "fastapi", "starlette", "uvicorn", "python_multipart")
