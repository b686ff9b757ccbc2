"""Requests made up from the gateway's own OpenAPI description: none may be answered with a server error."""

from __future__ import annotations

import hypothesis
import pytest

from deepfake_tf.server.local import build_local_app
from deepfake_tf.server.served_model import ServedModel

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed: pip install -e '.[dev]'")

EXAMPLES = 100


@pytest.mark.parametrize(("path", "method"), [("/predict", "POST"), ("/healthz", "GET")])
def test_no_server_error(contract_model, path, method):
    model = ServedModel("deepfake", {1: contract_model})
    operation = schemathesis.openapi.from_asgi("/openapi.json", build_local_app(model))[path][method]
    statuses = set()

    @hypothesis.given(case=operation.as_strategy())
    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    def ask(case):
        statuses.add(case.call().status_code)

    ask()
    model.close()
    assert statuses
    assert max(statuses) < 500
