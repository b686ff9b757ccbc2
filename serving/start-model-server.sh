#!/bin/bash
# Start tensorflow_model_server with the configuration beside this script. Further flags are passed on.
# MODELS_CONFIG names another file than models.config.
set -euo pipefail
config=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

flags=(
  --port=8500           # gRPC
  --rest_api_port=8501  # REST, and the metrics
  "--model_config_file=$config/${MODELS_CONFIG:-models.config}"
  # Read that file again so often: roll-outs without a restart.
  --model_config_file_poll_wait_seconds=10
  # Labels are assigned before the versions are loaded; without this flag they end the server at start.
  --allow_version_labels_for_unavailable_models=true
  # A damaged model ends the server at once instead of after five minutes of retries without an open port.
  --max_num_load_retries=0
  --enable_batching=true
  "--batching_parameters_file=$config/batching.config"
  "--monitoring_config_file=$config/monitoring.config"
  # With batching a thread waits for its batch: two full batches' worth of threads (the default is 4 a core, and
  # gRPC refuses with RESOURCE_EXHAUSTED when they are used up).
  --rest_api_num_threads=64
  --grpc_max_threads=64
)
exec tensorflow_model_server "${flags[@]}" "$@"
