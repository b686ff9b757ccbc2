"""Every file below serving/ against the schema of the program that reads it, and against what `serve` does."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

from deepfake_tf.contract import MAX_BATCH_SIZE
from deepfake_tf.server import tensorflow_serving

SERVING = Path(__file__).parents[2] / "serving"
K8S_VERSION = "1.31"
TEXT_FILES = ("", ".config", ".md", ".py", ".sh", ".yaml", ".yml")


def _messages():
    """The two messages that tensorflow-serving-api does not ship, from their .proto files in tensorflow/serving.

    servables/tensorflow/session_bundle_config.proto and config/monitoring_config.proto.
    """
    field = descriptor_pb2.FieldDescriptorProto
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(name="serving.proto", package="tensorflow.serving", syntax="proto3")
    file.dependency.append("google/protobuf/wrappers.proto")
    batching = file.message_type.add(name="BatchingParameters")
    wrapped = ["max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads"]
    for number, name in enumerate(wrapped, 1):
        batching.field.add(
            name=name, number=number, type=field.TYPE_MESSAGE, type_name=".google.protobuf.Int64Value", label=1
        )
    batching.field.add(
        name="thread_pool_name", number=5, type=field.TYPE_MESSAGE, type_name=".google.protobuf.StringValue", label=1
    )
    batching.field.add(name="allowed_batch_sizes", number=6, type=field.TYPE_INT64, label=3)
    batching.field.add(name="pad_variable_length_inputs", number=7, type=field.TYPE_BOOL, label=1)
    prometheus = file.message_type.add(name="PrometheusConfig")
    prometheus.field.add(name="enable", number=1, type=field.TYPE_BOOL, label=1)
    prometheus.field.add(name="path", number=2, type=field.TYPE_STRING, label=1)
    monitoring = file.message_type.add(name="MonitoringConfig")
    monitoring.field.add(
        name="prometheus_config",
        number=1,
        type=field.TYPE_MESSAGE,
        type_name=".tensorflow.serving.PrometheusConfig",
        label=1,
    )
    pool.Add(file)
    names = ("BatchingParameters", "MonitoringConfig")
    return [
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tensorflow.serving.{name}"))() for name in names
    ]


def _models(path: Path):
    pytest.importorskip("tensorflow_serving", reason="it is not installed: pip install -e '.[grpc]'")
    from tensorflow_serving.config import model_server_config_pb2

    config = text_format.Parse(path.read_text(), model_server_config_pb2.ModelServerConfig())
    [model] = config.model_config_list.config
    return model


def _documents(name: str) -> list[dict]:
    return list(yaml.safe_load_all((SERVING / name).read_text()))


@pytest.mark.parametrize(
    ("name", "versions", "labels"),
    [("models.config", [1], {"stable": 1}), ("models.canary.config", [1, 2], {"stable": 1, "canary": 2})],
)
def test_models_config(name, versions, labels):
    model = _models(SERVING / name)
    assert (model.name, model.base_path, model.model_platform) == ("deepfake", "/models/deepfake", "tensorflow")
    assert list(model.model_version_policy.specific.versions) == versions
    assert dict(model.version_labels) == labels


def test_batching_config_agrees_with_the_clients():
    batching, _ = _messages()
    text_format.Parse((SERVING / "batching.config").read_text(), batching)
    assert batching.max_batch_size.value == MAX_BATCH_SIZE
    cpus = _documents("docker-compose.yml")[0]["services"]["model-server"]["deploy"]["resources"]["limits"]["cpus"]
    assert batching.num_batch_threads.value == int(cpus)


def test_monitoring_config():
    _, monitoring = _messages()
    text_format.Parse((SERVING / "monitoring.config").read_text(), monitoring)
    assert monitoring.prometheus_config.enable
    assert monitoring.prometheus_config.path == "/monitoring/prometheus/metrics"


def test_serve_writes_the_same_configuration(tmp_path):
    tensorflow_serving.write_configuration(tmp_path, "/models/deepfake", [1, 2], {"stable": 1, "canary": 2}, 2)
    assert _models(tmp_path / "models.config") == _models(SERVING / "models.canary.config")
    for index, name in enumerate(("batching.config", "monitoring.config")):
        ours, shipped = _messages()[index], _messages()[index]
        text_format.Parse((tmp_path / name).read_text(), ours)
        text_format.Parse((SERVING / name).read_text(), shipped)
        assert ours.SerializeToString() == shipped.SerializeToString(), name


def test_start_script_has_the_flags_of_serve(tmp_path):
    """Run with a stand-in for the server that prints its flags."""
    server = tmp_path / "tensorflow_model_server"
    server.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    server.chmod(0o755)
    script = [str(SERVING / "start-model-server.sh"), "--extra=1"]
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    output = subprocess.run(script, env=environment, capture_output=True, text=True, check=True).stdout
    flags = set(output.split())
    expected = set(tensorflow_serving.server_flags(str(SERVING), 8501, 8500))
    assert flags - expected == {"--model_config_file_poll_wait_seconds=10", "--extra=1"}
    assert expected <= flags


def test_compose_is_closed_and_limited():
    services = _documents("docker-compose.yml")[0]["services"]
    assert set(services) == {"model-server", "gateway", "page"}
    for name, service in services.items():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), name
        assert service["user"] != "0:0"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["restart"] == "unless-stopped"
        assert {"cpus", "memory"} <= set(service["deploy"]["resources"]["limits"])
        assert service["healthcheck"]["test"][0] == "CMD"
    assert all(volume.endswith(":ro") for volume in services["model-server"]["volumes"])


TEXTS = {"type": "array", "items": {"type": "string"}}
DURATION = {"type": "string", "pattern": "^([0-9]+(ms|s|m|h))+$"}


def _object(required: tuple[str, ...] = (), **properties) -> dict:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


# The part of the Compose Specification (github.com/compose-spec/compose-spec, schema/compose-spec.json) that the file
# uses, so that a key that no Compose knows, or a value of another type, is found without Docker.
SERVICE = _object(
    ("image", "healthcheck", "deploy"),
    image={"type": "string"},
    build=_object(context={"type": "string"}, dockerfile={"type": "string"}, target={"type": "string"}),
    entrypoint=TEXTS,
    command=TEXTS,
    environment={"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}},
    ports={"type": "array", "items": {"type": "string", "pattern": r"^127\.0\.0\.1:[0-9]+:[0-9]+$"}},
    volumes={"type": "array", "items": {"type": "string", "pattern": "^[.]{1,2}[^:]*:/[^:]+:ro$"}},
    depends_on={
        "type": "object",
        "additionalProperties": _object(("condition",), condition={"enum": ["service_started", "service_healthy"]}),
    },
    healthcheck=_object(
        ("test",), test=TEXTS, interval=DURATION, timeout=DURATION, retries={"type": "integer"}, start_period=DURATION
    ),
    deploy=_object(
        resources=_object(limits=_object(cpus={"type": "string"}, memory={"type": "string", "pattern": "^[0-9]+[mg]$"}))
    ),
    restart={"enum": ["no", "always", "on-failure", "unless-stopped"]},
    init={"type": "boolean"},
    read_only={"type": "boolean"},
    tmpfs=TEXTS,
    user={"type": "string"},
    cap_drop=TEXTS,
    security_opt=TEXTS,
)
COMPOSE = _object(("services",), name={"type": "string"}, services={"additionalProperties": SERVICE})
COMPOSE["patternProperties"] = {"^x-": {}}


def test_compose_uses_the_keys_of_the_specification():
    jsonschema = pytest.importorskip("jsonschema", reason="it is not installed: pip install -e '.[dev]'")
    [compose] = _documents("docker-compose.yml")
    jsonschema.validate(compose, COMPOSE)
    services = compose["services"]
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        if "build" in service:
            assert (SERVING / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
            assert f" AS {service['build']['target']}\n" in (SERVING / "Dockerfile").read_text()


@pytest.mark.skipif(shutil.which("docker") is None, reason="docker is not installed")
def test_compose_follows_the_specification():
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker has no compose plugin")
    command = ["docker", "compose", "-f", str(SERVING / "docker-compose.yml"), "config", "--quiet"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_image_is_pinned_to_one_version_everywhere():
    texts = "".join(path.read_text() for path in SERVING.rglob("*") if path.is_file() and path.suffix in TEXT_FILES)
    assert set(re.findall(r"tensorflow/serving:([\w.]+)", texts)) == {tensorflow_serving.IMAGE.partition(":")[2]}
    assert ":latest" not in texts


@pytest.mark.parametrize("bind", [8501])
def test_health_check_speaks_http_without_curl(bind):
    """The command of the health check, against a server that says AVAILABLE, and against none."""
    import http.server
    import threading

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"state": "AVAILABLE"}' if self.path == "/v1/models/deepfake" else b"")

        def log_message(self, *arguments):
            pass

    test = _documents("docker-compose.yml")[0]["services"]["model-server"]["healthcheck"]["test"][1:]
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        command = [part.replace(str(bind), str(server.server_port)) for part in test]
        healthy = subprocess.run(command, timeout=10, check=False).returncode
        server.shutdown()
        thread.join()
    assert healthy == 0
    unhealthy = [part.replace(str(bind), "9") for part in test]
    assert subprocess.run(unhealthy, timeout=10, capture_output=True, check=False).returncode != 0
    dockerfile = (SERVING / "Dockerfile").read_text()
    assert "grep -q AVAILABLE" in dockerfile


@pytest.mark.parametrize("name", ["k8s/model-server.yaml", "k8s/gateway.yaml"])
def test_kubernetes_manifests(name):
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="it is not installed: pip install '.[dev]'")
    documents = _documents(name)
    for document in documents:
        kubernetes_validate.validate(document, K8S_VERSION, strict=True)
    labels = {
        d["metadata"]["name"]: d["spec"]["selector"]["matchLabels"] for d in documents if d["kind"] == "Deployment"
    }
    for document in documents:
        if document["kind"] == "Service":
            assert document["spec"]["selector"] == labels[document["metadata"]["name"]]


def test_kserve_service_is_the_model_that_clients_ask_for():
    """KServe's schema is not at hand offline: this is what the project relies on."""
    [service] = _documents("k8s/kserve.yaml")
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert service["metadata"]["name"] == tensorflow_serving.MODEL_NAME
    model = service["spec"]["predictor"]["model"]
    assert model["modelFormat"] == {"name": "tensorflow"}
    assert model["runtimeVersion"] == tensorflow_serving.IMAGE.partition(":")[2]


def test_saved_model_asks_for_no_newer_consumer(exported_model):
    """It is made by TensorFlow 2.21 and served by 2.20: nothing in it may forbid that."""
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString((exported_model.path / "saved_model.pb").read_bytes())
    [graph] = model.meta_graphs
    assert graph.graph_def.versions.min_consumer < 1000  # TensorFlow 2.6 passed 800, 2.20 has passed 2,000
    assert not graph.graph_def.versions.bad_consumers
    assert set(graph.meta_info_def.tags) == {"serve"}
