"""Serving: a stand-in for TensorFlow Serving, the upload gateway, and what `deepfake-tf serve` starts.

launch.py              `serve`: choose an engine, start it, end it
engines.py             what it can start, by name
addresses.py           how a URL names the address that a server listens on
app.py                 `app`: the web page, and the server behind it
background.py          a child process that `app` and the benchmark wait for
signals.py             how `serve` and `app` are ended
tensorflow_serving.py  tensorflow_model_server as a child process, from the PATH or in Docker
local.py               the local server, put together from the modules below
tf_serving_api.py      TensorFlow Serving's REST routes, errors and status codes
predict_json.py        the JSON of `:predict`, both ways
json_tensors.py        one JSON value as a tensor
loading.py             a model that is loaded while the server answers for others
served_model.py        the versions of a SavedModel, its labels and signatures
served_engine.py       the same for an engine of `Detector`, without TensorFlow
batching.py            concurrent requests as one call of the model
metrics.py             Prometheus
gateway.py             POST /predict: an uploaded file in, one JSON object out
description.py         the gateway's page /docs
upload.py              the file in an uploaded form
request_body.py        bodies read under limits
slow_clients.py        HTTP by uvicorn, and clients that keep it waiting
"""

from pathlib import Path

# A photograph that is always there: for the line that `serve` prints, and to warm a model up.
SAMPLE = Path(__file__).parents[1] / "samples" / "photographs" / "china.jpg"
STABLE = "stable"  # the label whose version answers uploads
# What the extra `app` brings, for the servers and for the page.
PACKAGES = ("streamlit", "matplotlib", "jinja2", "fastapi", "starlette", "uvicorn", "python_multipart")
