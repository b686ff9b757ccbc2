"""The table of what must pass the suite: every detector, with every engine that can run it here.

A new detector, or a new engine, is added to `DETECTORS` or to one of the two lists of engines. The models have random
weights; what an engine says of them is held to their SavedModel, run by TensorFlow in this process.
"""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import pytest
from PIL import Image

from deepfake_tf.contract import Engine, Rows
from deepfake_tf.decision.verdict import Decision
from deepfake_tf.detectors.bundle import read_bundle
from deepfake_tf.detectors.registry import find_detector
from deepfake_tf.engines.choosing import ChoosingEngine
from deepfake_tf.engines.finding import engine_class
from deepfake_tf.engines.tf_serving import connect
from deepfake_tf.server.local import build_local_app
from deepfake_tf.server.served_engine import ServedEngine
from tests.images import broken_images, encode, good_images, photograph
from tests.server.grpc_server import grpc_server
from tests.server.running import application

PICTURES = 6
IN_PROCESS = ("saved_model", "litert", "openvino")  # a fixture NAME_engine below for each
OVER_A_SERVER = ("rest", "grpc", "gateway")


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """What an engine may be off by from the SavedModel in this process."""

    probability: float
    heatmap: float


SAME_GRAPH = Tolerance(1e-5, 1e-4)  # other batches; a gateway sends maps by four decimals


@dataclasses.dataclass(frozen=True)
class DetectorCase:
    """A detector of random weights.

    Attributes:
        saved_model, light_model: the fixtures with the paths of its files.
        side: pixels. Of images in domain, for which `side + PICTURES` must be in domain too.
        heatmap: the shape of its maps.
        light: engine -> Tolerance, of the light engines.
    """

    saved_model: str
    light_model: str
    side: int
    heatmap: tuple[int, int]
    light: dict[str, Tolerance]


DETECTORS = {
    "cifake": DetectorCase(
        saved_model="cifake_saved_model",
        light_model="exported_light_model",
        side=32,
        heatmap=(7, 7),
        light={
            "litert": Tolerance(2e-3, 0.05),  # pixels may differ by one grey level where a value lies on the half
            "openvino": Tolerance(2e-2, 0.15),  # in bfloat16 where the processor has it: 20 layers that keep 8 bits
        },
    ),
    "photograph": DetectorCase(
        saved_model="photograph_saved_model",
        light_model="photograph_bundle",
        side=240,
        heatmap=(14, 14),
        light={  # activations of 8 bits, a scale a token
            "litert": Tolerance(0.0125, 0.1),
            "openvino": Tolerance(0.0125, 0.1),
        },
    ),
}


@pytest.fixture(scope="session", params=DETECTORS)
def detector(request) -> str:
    return request.param


@pytest.fixture(scope="module", params=(*IN_PROCESS, *OVER_A_SERVER))  # so all engines of a detector in turn
def engine_name(request) -> str:
    return request.param


@pytest.fixture(scope="session")
def case(detector) -> DetectorCase:
    return DETECTORS[detector]


@pytest.fixture(scope="module")
def tolerance(case, engine_name) -> Tolerance:
    return case.light.get(engine_name, SAME_GRAPH)


@pytest.fixture(scope="session")
def pictures(case) -> list[bytes]:
    """In domain, each of another width."""
    return [encode(photograph(case.side + seed, case.side, seed), "PNG") for seed in range(PICTURES)]


@pytest.fixture(scope="session")
def images(case, pictures) -> list[bytes]:
    """The pictures, then others: not in domain, of every format, broken in every way; more than a server takes."""
    plain = [encode(Image.new("RGB", (case.side, case.side), colour), "PNG") for colour in ("red", "black", "white")]
    foreign = [encode(photograph(640, 480), "JPEG")]
    broken = [image for image, _ in broken_images().values()]
    return [*pictures, *plain, *foreign, *good_images().values(), *broken]


@pytest.fixture(scope="module")
def engine(request, detector, engine_name) -> Engine:
    return request.getfixturevalue(f"{engine_name}_engine")


@pytest.fixture(scope="module")
def explained(engine, images) -> Rows:
    return engine.explain(images)


@pytest.fixture(scope="session")
def expected(saved_model_engine, images) -> Rows:
    return saved_model_engine.explain(images)


@pytest.fixture(scope="session")
def decision(light_model) -> Decision:
    return read_bundle(light_model).decision


# --- the models' files ------------------------------------------------------------------------
@pytest.fixture(scope="session")
def cifake_saved_model(exported_model) -> Path:
    return exported_model.path


@pytest.fixture(scope="session")
def saved_model(request, case) -> Path:
    return request.getfixturevalue(case.saved_model)


@pytest.fixture(scope="session")
def light_model(request, case) -> Path:
    return request.getfixturevalue(case.light_model)


# --- the engines, as `Detector` holds them ----------------------------------------------------
@pytest.fixture(scope="session")
def loaded_saved_model(saved_model) -> Engine:
    return engine_class("saved_model")(saved_model)


@pytest.fixture(scope="session")
def saved_model_engine(detector, loaded_saved_model) -> Engine:
    return ChoosingEngine({detector: lambda: loaded_saved_model})


@pytest.fixture(scope="session")
def litert_engine(detector, light_model) -> Engine:
    return ChoosingEngine({detector: lambda: engine_class("litert")(light_model)})


@pytest.fixture(scope="session")
def openvino_engine(detector, light_model) -> Engine:
    pytest.importorskip("openvino", reason="it is not installed: pip install -e '.[openvino]'")
    return ChoosingEngine({detector: lambda: engine_class("openvino")(light_model)})


@pytest.fixture(scope="session")
def local_server(detector, loaded_saved_model):
    """The address of the local server; tests/engines/test_tf_serving.py has it load a SavedModel by itself."""
    with (
        contextlib.closing(ServedEngine(find_detector(detector).model_name, loaded_saved_model)) as model,
        application(build_local_app(model)) as port,
    ):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def rest_engine(local_server):
    with contextlib.closing(connect(local_server)) as engine:
        yield engine


@pytest.fixture(scope="session")
def gateway_engine(local_server):
    with contextlib.closing(connect(f"{local_server}/predict")) as engine:
        yield engine


@pytest.fixture(scope="session")
def grpc_engine(detector, loaded_saved_model):
    with (
        grpc_server(loaded_saved_model, (find_detector(detector).model_name,)) as url,
        contextlib.closing(connect(url)) as engine,
    ):
        yield engine
