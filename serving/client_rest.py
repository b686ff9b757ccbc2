"""Score images over TensorFlow Serving's REST API: python client_rest.py http://127.0.0.1:8501 photo.jpg ...

MODEL=photograph in the environment asks the model for photographs; without it, that for CIFAKE's images is asked.
"""

import base64
import os
import sys

import requests

url, *paths = sys.argv[1:]
images = []
for path in paths:
    with open(path, "rb") as file:
        images.append({"image_bytes": {"b64": base64.b64encode(file.read()).decode()}})
model = os.environ.get("MODEL", "deepfake")
answer = requests.post(f"{url}/v1/models/{model}:predict", json={"instances": images}, timeout=30)
answer.raise_for_status()
for path, score in zip(paths, answer.json()["predictions"]):
    print(path, score["label"], score["confidence"], score["verdict"], score["error"])
