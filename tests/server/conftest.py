"""Small SavedModels, written once a session."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def recorded_models(tmp_path_factory):
    from tests.server.saved_models import write_recorded_models

    return write_recorded_models(tmp_path_factory.mktemp("recorded"))


@pytest.fixture(scope="session")
def contract_model(tmp_path_factory):
    """The folder of version 1 of a model named `deepfake` whose probability is a hash of the bytes."""
    from tests.server.saved_models import write_contract_model

    return write_contract_model(tmp_path_factory.mktemp("contract") / "deepfake" / "1")
