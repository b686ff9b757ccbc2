"""The capacity model: its simulation against queues that have a formula, and what CAPACITY.md says of it."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

SERVING = Path(__file__).parents[2] / "serving"


def _load(name: str):
    specification = importlib.util.spec_from_file_location(name, SERVING / "capacity" / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


simulate, load_test = _load("simulate"), _load("load_test")


def test_one_image_a_call_waits_as_the_formula_says(monkeypatch):
    """M/D/1: random arrivals, one server, a constant time (Pollaczek and Khinchin)."""
    monkeypatch.setattr(simulate, "MAX_BATCH", 1)
    pod = simulate.Pod({1: [0.01]}, [100.0], [1.0], 2.0)
    outcome = simulate.simulate(pod, lambda moment: 70.0, 600, pods=1)
    share = 0.7
    expected = 0.01 + 0.01 * share / (2 * (1 - share))
    assert np.mean(outcome.latencies) == pytest.approx(expected, rel=0.05)
    assert len(outcome.latencies) == pytest.approx(70 * 600, rel=0.02)
    assert outcome.refused == 0


def test_batches_carry_what_single_calls_cannot_and_a_full_queue_refuses():
    pod = simulate.Pod({1: [0.02], 32: [0.2]}, [100.0], [1.0], 2.0)
    held = simulate.simulate(pod, lambda moment: 100.0, 60, pods=1)  # 50 a second one by one, 160 in batches
    assert held.refused == 0
    assert held.p99() < 0.5
    lost = simulate.simulate(pod, lambda moment: 300.0, 60, pods=1)
    assert lost.refused == pytest.approx((300 - 160) * 60 - simulate.MAX_WAITING, rel=0.1)


def test_the_manifests_settings_hold_the_goal_in_a_burst_and_others_do_not():
    pod, autoscaler = simulate.read_pod(), simulate.read_autoscaler()
    assert _worst(simulate.burst(pod, autoscaler)) <= simulate.LATENCY_GOAL_SECONDS
    # A saturated pod uses less than 90 % of its cores: with a target of 80 % no pod would ever be added.
    saturated = pod.utilization_at(1_000.0)
    assert simulate._desired(autoscaler, saturated, ready=4) == 12
    assert simulate._desired(dataclasses.replace(autoscaler, target=0.8), saturated, ready=4) <= 4


def _worst(result) -> float:
    _, outcome = result
    assert outcome.refused == 0
    assert max(outcome.pods) > 4
    return max(outcome.p99(start, start + 5) for start in range(0, 600, 5))


def test_the_document_has_the_models_figures(tmp_path, capsys):
    assert simulate.main(["--plot", str(tmp_path / "burst.png")]) == 0
    assert (tmp_path / "burst.png").read_bytes().startswith(b"\x89PNG")
    text = (SERVING / "CAPACITY.md").read_text()
    lines = capsys.readouterr().out.splitlines()
    plan, table = lines[:4], lines[5:]
    assert len(table) == len(json.loads((SERVING / "capacity" / "measured.json").read_text())["rates"])
    for line in plan + table:
        assert line in text


def test_load_test_counts_from_the_moment_a_request_was_due(tmp_path, capsys):
    """Against a server that answers one request at a time, in 20 ms, and refuses every fifth."""
    lock, count = threading.Lock(), iter(range(10**6))

    class Server(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self._answer(200, b"x_processed_batch_size_sum{} 0\nx_processed_batch_size_count{} 0\n")

        def do_POST(self):
            length = int(self.headers["Content-Length"])
            assert json.loads(self.rfile.read(length))["inputs"]["image_bytes"][0]["b64"] == "aW1hZ2U="
            with lock:
                time.sleep(0.02)
                status = 503 if next(count) % 5 == 4 else 200
            self._answer(status, b"{}")

        def _answer(self, status, body):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    (tmp_path / "image").write_bytes(b"image")
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url, output = f"http://127.0.0.1:{server.server_port}", tmp_path / "figures.json"
        options = [url, str(tmp_path / "image"), "--rate", "100", "--seconds", "2", "--repeats", "0"]
        load_test.main([*options, "--output", str(output)])
        server.shutdown()
        thread.join()
    [row] = json.loads(output.read_text())["rates"]
    # 100 a second offered, 50 answered: the last one waits about as long again as the run took.
    assert row["p99_seconds"] > 1.5
    assert row["refused"] > 20
    assert row["answered_per_second"] < 50
