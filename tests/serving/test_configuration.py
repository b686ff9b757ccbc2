"""Every file below serving/ against the schema of the program that reads it, and against what `serve` does."""

from __future__ import annotations

import http.server
import re
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

from deepfake_tf.contract import MAX_BATCH_SIZE
from deepfake_tf.detectors.registry import DETECTORS
from deepfake_tf.server import tensorflow_serving

SERVING = Path(__file__).parents[2] / "serving"
K8S_VERSION = "1.31"
MODELS = [spec.model_name for spec in DETECTORS.values()]
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


def _models(path: Path) -> dict:
    """Name -> ModelConfig."""
    pytest.importorskip("tensorflow_serving", reason="it is not installed: pip install -e '.[grpc]'")
    from tensorflow_serving.config import model_server_config_pb2

    config = text_format.Parse(path.read_text(), model_server_config_pb2.ModelServerConfig())
    models = {model.name: model for model in config.model_config_list.config}
    assert len(models) == len(config.model_config_list.config)
    return models


def _documents(name: str) -> list[dict]:
    return list(yaml.safe_load_all((SERVING / name).read_text()))


@pytest.mark.parametrize(
    ("file", "names", "versions", "labels"),
    [
        ("models.config", MODELS, [1], {"stable": 1}),
        ("models.canary.config", MODELS, [1, 2], {"stable": 1, "canary": 2}),
        ("models.cifake.config", ["deepfake"], [1], {"stable": 1}),
    ],
)
def test_models_config(file, names, versions, labels):
    models = _models(SERVING / file)
    assert list(models) == names
    for name, model in models.items():
        assert (model.base_path, model.model_platform) == (f"/models/{name}", "tensorflow")
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
    models = {name: {1: Path("/models", name, "1"), 2: Path("/models", name, "2")} for name in MODELS}
    tensorflow_serving.write_configuration(tmp_path, models, {"stable": 1, "canary": 2}, 2)
    assert _models(tmp_path / "models.config") == _models(SERVING / "models.canary.config")
    for index, name in enumerate(("batching.config", "monitoring.config")):
        ours, shipped = _messages()[index], _messages()[index]
        text_format.Parse((tmp_path / name).read_text(), ours)
        text_format.Parse((SERVING / name).read_text(), shipped)
        assert ours.SerializeToString() == shipped.SerializeToString(), name


def test_a_label_goes_to_the_models_that_have_its_version(tmp_path):
    models = {"deepfake": {1: Path("/a/1"), 2: Path("/a/2")}, "photograph": {1: Path("/b/c/1")}}
    tensorflow_serving.write_configuration(tmp_path, models, {"stable": 1, "canary": 2}, 2)
    written = _models(tmp_path / "models.config")
    assert {name: model.base_path for name, model in written.items()} == {"deepfake": "/a", "photograph": "/b/c"}
    assert dict(written["deepfake"].version_labels) == {"stable": 1, "canary": 2}
    assert dict(written["photograph"].version_labels) == {"stable": 1}
    assert list(written["photograph"].model_version_policy.specific.versions) == [1]


def test_docker_mounts_each_model():
    models = {"deepfake": {1: Path("/a/1"), 2: Path("/a/2")}, "photograph": {1: Path("/b/c/1")}}
    command = tensorflow_serving.docker_command(Path("/config"), models, "127.0.0.1", 8501, 8500)
    mounts = {command[index + 1] for index, part in enumerate(command) if part == "--volume"}
    assert mounts == {"/a:/models/deepfake:ro", "/b/c:/models/photograph:ro", "/config:/config:ro"}


@pytest.mark.parametrize("file", ["models.config", "models.cifake.config"])
def test_start_script_has_the_flags_of_serve(tmp_path, file):
    """Run with a stand-in for the server that prints its flags."""
    server = tmp_path / "tensorflow_model_server"
    server.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    server.chmod(0o755)
    script = [str(SERVING / "start-model-server.sh"), "--extra=1"]
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    if file != "models.config":
        environment["MODELS_CONFIG"] = file
    output = subprocess.run(script, env=environment, capture_output=True, text=True, check=True).stdout
    flags = set(output.split())
    shipped = tensorflow_serving.server_flags(str(SERVING), 8501, 8500)
    expected = {flag.replace("models.config", file) for flag in shipped}
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
            target = re.sub(r"\$\{\w+:-(.*)\}", r"\1", service["build"]["target"])  # with the variable's default
            assert f" AS {target}\n" in (SERVING / "Dockerfile").read_text()


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


@pytest.mark.parametrize(
    ("file", "there", "status"),
    [
        ("models.config", MODELS, 0),
        ("models.config", MODELS[:1], 1),
        ("models.config", MODELS[1:], 1),
        ("models.cifake.config", MODELS[:1], 0),
        ("models.cifake.config", [], 1),
    ],
)
def test_health_check_asks_for_each_model(file, there, status):
    """Against a server that says of some models that they are AVAILABLE, and against none."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"state": "AVAILABLE"}' if self.path.removeprefix("/v1/models/") in there else b"")

        def log_message(self, *arguments):
            pass

    script, environment = SERVING / "is-healthy.sh", {"PATH": "/usr/bin:/bin", "MODELS_CONFIG": file}
    ask = lambda port: subprocess.run(
        [script, str(port)], env=environment, timeout=10, capture_output=True, check=False
    )
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        answer = ask(server.server_port)
        server.shutdown()
        thread.join()
    assert answer.returncode == status, answer.stderr
    assert ask(9).returncode != 0


def test_everything_asks_by_the_script_that_lies_in_the_image():
    script = "/config/is-healthy.sh"
    compose = _documents("docker-compose.yml")[0]["services"]["model-server"]
    assert compose["healthcheck"]["test"] == ["CMD", script]
    assert ".:/config:ro" in compose["volumes"]
    dockerfile = (SERVING / "Dockerfile").read_text()
    assert f'CMD ["{script}"]' in dockerfile
    assert "serving/is-healthy.sh /config/" in dockerfile
    [deployment] = [d for d in _documents("k8s/model-server.yaml") if d["kind"] == "Deployment"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert {container[probe]["exec"]["command"][0] for probe in ("startupProbe", "readinessProbe")} == {script}


def test_the_image_makes_the_photographs_model_by_the_documented_command():
    dockerfile, readme = ((SERVING / name).read_text() for name in ("Dockerfile", "README.md"))
    assert "RUN deepfake-tf export saved_model/photograph --output /models/photograph/1\n" in dockerfile
    assert "COPY --from=photograph /models/photograph /models/photograph\n" in dockerfile
    assert "deepfake-tf export saved_model/photograph --output saved_model/photograph/1\n" in readme


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


def test_kserve_services_are_the_models_that_clients_ask_for():
    """KServe's schema is not at hand offline: this is what the project relies on."""
    services = _documents("k8s/kserve.yaml")
    assert [service["metadata"]["name"] for service in services] == MODELS
    for service in services:
        assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
        model = service["spec"]["predictor"]["model"]
        assert model["modelFormat"] == {"name": "tensorflow"}
        assert model["runtimeVersion"] == tensorflow_serving.IMAGE.partition(":")[2]
        assert model["storageUri"].endswith(f"/{service['metadata']['name']}")


def test_saved_model_asks_for_no_newer_consumer(exported_model):
    """It is made by TensorFlow 2.21 and served by 2.20: nothing in it may forbid that."""
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString((exported_model.path / "saved_model.pb").read_bytes())
    [graph] = model.meta_graphs
    assert graph.graph_def.versions.min_consumer < 1000  # TensorFlow 2.6 passed 800, 2.20 has passed 2,000
    assert not graph.graph_def.versions.bad_consumers
    assert set(graph.meta_info_def.tags) == {"serve"}
