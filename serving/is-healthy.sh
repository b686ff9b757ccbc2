#!/bin/bash
# Whether a running model server has each model of its configuration available: is-healthy.sh [port, 8501].
# The image has neither curl nor wget: bash speaks HTTP by itself.
set -euo pipefail
config=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

while read -r name; do
  exec 3<>"/dev/tcp/127.0.0.1/${1:-8501}"
  printf 'GET /v1/models/%s HTTP/1.0\r\n\r\n' "$name" >&3
  grep -q AVAILABLE <&3
  exec 3>&-
done < <(sed -n 's/^ *name: "\(.*\)".*/\1/p' "$config/${MODELS_CONFIG:-models.config}")
