from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from deepfake_tf.data.workers import ALONE, Workers
from deepfake_tf.training.distribution import read_tf_config, start

CLUSTER = {"chief": ["a:1"], "worker": ["b:2", "c:3"]}


@pytest.mark.parametrize(("task", "index"), [(("chief", 0), 0), (("worker", 0), 1), (("worker", 1), 2)])
def test_tf_config_puts_the_chief_first(task, index):
    text = json.dumps({"cluster": CLUSTER, "task": {"type": task[0], "index": task[1]}})
    assert read_tf_config(text) == (["a:1", "b:2", "c:3"], index)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r'TF_CONFIG must be like {"cluster".*Received: nothing'),
        ("{", r"Received: {"),
        (json.dumps({"cluster": CLUSTER}), "TF_CONFIG must be like"),
        (json.dumps({"cluster": CLUSTER, "task": {"type": "ps", "index": 0}}), "TF_CONFIG must be like"),
        (json.dumps({"cluster": CLUSTER, "task": {"type": "worker", "index": 2}}), "does not have"),
    ],
)
def test_a_tf_config_that_is_not_understood_is_an_error_that_shows_it(text, message):
    with pytest.raises(ValueError, match=message):
        read_tf_config(text)


def test_workers_share_a_batch_row_by_row():
    group = [Workers(count=3, index=index, devices=6) for index in range(3)]
    for start_row, batch_size, end in ((0, 12, 30), (24, 12, 30)):
        rows = [row for worker in group for row in range(end)[worker.rows(start_row, batch_size, end)]]
        assert rows == list(range(start_row, min(start_row + batch_size, end)))


def test_without_a_strategy_there_is_one_worker_that_writes():
    assert start("none") == ALONE
    assert ALONE.is_chief
    assert ALONE.output_dir("run") == "run"


def test_a_strategy_needs_jax_and_says_so():
    with pytest.raises(ValueError, match=r"--strategy mirrored needs .*KERAS_BACKEND=jax. Received: .*tensorflow"):
        start("mirrored")
    with pytest.raises(
        ValueError, match=r"strategy must be one of none, mirrored, multiworker, tpu. Received: .*'pod'"
    ):
        start("pod")


def test_a_tpu_that_is_not_there_is_an_error_that_shows_what_is():
    code = "from deepfake_tf.training.distribution import start; start('tpu')"
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert re.search(
        r"ValueError: --strategy tpu found no TPU.*mirrored. Received: \S*CPU", result.stderr, re.IGNORECASE
    )
