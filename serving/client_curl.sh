#!/bin/bash
# Score one image over TensorFlow Serving's REST API: client_curl.sh http://127.0.0.1:8501 photo.jpg
# MODEL=photograph asks for the model for photographs; without it, the one for CIFAKE's images is asked.
# The body goes through a pipe: a photograph in base64 is too long for a command line.
set -euo pipefail
{ printf '{"instances": [{"image_bytes": {"b64": "'; base64 < "$2" | tr -d '\n'; printf '"}}]}'; } |
  curl --silent --show-error --fail --data-binary @- "$1/v1/models/${MODEL:-deepfake}:predict"
