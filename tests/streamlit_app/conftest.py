"""The page on a stub of the model server; no TensorFlow."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.server.running import application
from tests.streamlit_app.stub_server import StubServer

PAGE = Path(__file__).parents[2] / "streamlit_app" / "app.py"
sys.path.insert(0, str(PAGE.parent))  # as `streamlit run` does


@pytest.fixture
def server():
    return StubServer()


@pytest.fixture
def page(server, monkeypatch, tmp_path):
    """The page before its first run, with `server` behind it and no model card."""
    import scoring
    import streamlit
    from streamlit.testing.v1 import AppTest

    monkeypatch.setenv("DEEPFAKE_TF_MODEL", str(tmp_path))
    monkeypatch.setattr("deepfake_tf.engines.server_requests.FIRST_DELAY_SECONDS", 0.001)
    streamlit.cache_data.clear()
    streamlit.cache_resource.clear()
    with application(server) as port:
        monkeypatch.setenv("DEEPFAKE_TF_URL", f"http://127.0.0.1:{port}")
        yield AppTest.from_file(str(PAGE), default_timeout=30)
        scoring._detector(scoring.server_url())._engine.close()  # a pooled connection would hold the server
