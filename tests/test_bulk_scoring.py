"""The Beam pipeline in processes of its own, held to what `predict` says of the same files."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deepfake_tf.contract import Prediction
from deepfake_tf.engines.detector import Detector
from tests.images import broken_images, encode, good_images, photograph

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is None, reason="it is not installed: pip install -e '.[beam]'"
)

IMAGES = 200
FIELDS = [field.name for field in dataclasses.fields(Prediction)]


def start(*arguments) -> subprocess.Popen:
    command = [sys.executable, "-m", "deepfake_tf.cli", "score", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def score(*arguments) -> tuple[int, str]:
    """(exit code, what it printed)."""
    process = start(*arguments)
    output, errors = process.communicate(timeout=300)
    assert output == ""
    return process.returncode, errors


def shards(prefix: Path, kind: str) -> list[Path]:
    return sorted(prefix.parent.glob(f"{prefix.name}-{kind}-*"))


def rows(prefix: Path, kind: str) -> dict[str, dict]:
    """Rows by file name; fails where a file has two."""
    lines = [line for shard in shards(prefix, kind) for line in shard.read_bytes().splitlines()]
    found = [json.loads(line.decode("utf-8", "surrogateescape")) for line in lines]
    by_file = {row["file"]: row for row in found}
    assert len(by_file) == len(found), "a file was scored twice"
    return by_file


def assert_same(found: dict[str, dict], expected: dict[str, Prediction]) -> None:
    assert set(found) == set(expected)
    for file, row in found.items():
        assert list(row) == FIELDS
        wanted = expected[file].to_dict()
        for name in ("confidence", "probability", "logit"):
            assert row.pop(name) == pytest.approx(wanted.pop(name), abs=1e-6, rel=1e-6), (file, name)
        assert row == wanted


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Images, all formats, broken files, and a name that is not UTF-8, in two levels."""
    folder = tmp_path_factory.mktemp("bulk")
    (folder / "deeper").mkdir()
    for seed in range(IMAGES):
        (folder / f"{seed}.png").write_bytes(encode(photograph(32, 32, seed), "PNG"))
    for name, data in good_images().items():
        (folder / "deeper" / name).write_bytes(data)
    for name, (data, _) in broken_images().items():
        (folder / "deeper" / f"broken_{name}").write_bytes(data)
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9 \xf0\x9f\x93\xb7.png")).write_bytes(encode(photograph(), "PNG"))
    return folder


@pytest.fixture(scope="module")
def expected(folder, exported_model) -> tuple[dict[str, Prediction], dict[str, Prediction]]:
    """What `predict` says: with a score, and without one."""
    files = [str(path) for path in folder.rglob("*") if path.is_file()]
    predictions = Detector(exported_model.path).predict(files)
    scored = {prediction.file: prediction for prediction in predictions if not prediction.error}
    failed = {prediction.file: prediction for prediction in predictions if prediction.error}
    assert len(scored) == IMAGES + len(good_images()) + 1
    assert len(failed) == len(broken_images())
    return scored, failed


def test_a_killed_worker_leaves_nothing_and_the_next_run_everything_once(folder, expected, exported_model, tmp_path):
    prefix = tmp_path / "out" / "run"
    arguments = ["--input", folder / "**", "--output", prefix, "--model", exported_model.path]
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)  # who reads it waits, in the middle of the work
    process = start(*arguments, "--input", pipe, "--direct_running_mode", "multi_processing")
    try:
        _wait_for_reader(pipe)
        [worker] = [child for shell in _children(process.pid) for child in _children(shell)]
        os.kill(worker, signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 2, errors
    assert "No shards were put in place; run it again" in errors
    assert shards(prefix, "scores") == shards(prefix, "failed") == []

    code, errors = score(*arguments, "--direct_running_mode", "multi_processing", "--direct_num_workers", 2)
    assert code == 3, errors
    scored, failed = expected
    assert_same(rows(prefix, "scores"), scored)
    assert_same(rows(prefix, "failed"), failed)
    assert f"{len(scored)} scored, {len(failed)} failed" in errors
    assert "2 worker processes loaded the model" in errors

    code, errors = score(*arguments)
    assert code == 2
    assert "is there already: remove the earlier shards, or name another --output" in errors


def _wait_for_reader(pipe: Path) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):  # nobody reads yet
            os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
            return
        time.sleep(0.05)
    raise AssertionError("no worker has come to the pipe")


def _children(process: int) -> list[int]:
    """Beam starts a shell for each worker, and the shell the worker."""
    tasks = Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def test_on_a_portable_runner_a_killed_worker_loses_nothing_either(folder, expected, exported_model, tmp_path):
    """The way of Flink and Spark: a job server takes the pipeline, and workers that run elsewhere take the bundles."""
    prefix = tmp_path / "run"
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    with (
        _service("apache_beam.runners.portability.local_job_service_main", "--port", tmp_path) as (jobs, _),
        _service("apache_beam.runners.worker.worker_pool_main", "--service_port", tmp_path) as (workers, pool),
    ):
        arguments = ["--runner", "PortableRunner", "--job_endpoint", jobs, "--environment_type", "EXTERNAL"]
        arguments += ["--environment_config", workers, "--input", folder / "*.png", "--output", prefix]
        arguments += ["--model", exported_model.path, "--shards", 3]
        process = start(*arguments, "--input", pipe)
        try:
            _wait_for_reader(pipe)
            [worker] = _children(pool)
            os.kill(worker, signal.SIGKILL)
            _, errors = process.communicate(timeout=120)
        finally:
            process.kill()
        assert process.returncode == 2, errors
        assert shards(prefix, "scores") == shards(prefix, "failed") == []

        code, errors = score(*arguments)
    assert code == 0, errors
    assert len(shards(prefix, "scores")) == 3
    scored, _ = expected
    assert_same(rows(prefix, "scores"), {name: row for name, row in scored.items() if "deeper" not in name})
    assert rows(prefix, "failed") == {}


@contextlib.contextmanager
def _service(module: str, port_flag: str, folder: Path):
    """Start one of Beam's services; yields its address and its process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}  # workers: `python`
    with (folder / f"{port}.log").open("w") as log:
        command = [sys.executable, "-m", module, port_flag, str(port)]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        deadline = time.monotonic() + 60
        while not _listens(port):
            assert process.poll() is None, (folder / f"{port}.log").read_text()
            assert time.monotonic() < deadline, f"{module} does not listen"
            time.sleep(0.1)
        yield f"localhost:{port}", process.pid
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_bundles_run_twice_and_names_given_twice_make_no_row_twice(folder, expected, exported_model, tmp_path):
    """As after lost workers; and from a list, as Parquet."""
    import pyarrow.parquet

    manifest = tmp_path / "names.txt"
    missing = str(folder / "missing.png")
    manifest.write_text(f"{folder}/1.png\r\n\n{folder}/2.png\n{missing}\n{folder}/1.png\n")
    prefix = tmp_path / "run"
    inputs = ["--input", manifest, "--input", folder / "?.png", "--output", prefix, "--format", "parquet"]
    code, errors = score(*inputs, "--model", exported_model.path, "--direct_runner_bundle_repeat", 1)
    assert code == 3, errors
    found = [row for shard in shards(prefix, "scores") for row in pyarrow.parquet.read_table(shard).to_pylist()]
    names = [f"{folder}/{digit}.png" for digit in range(10)]
    assert sorted(row["file"] for row in found) == names
    assert_same({row["file"]: row for row in found}, {name: expected[0][name] for name in names})
    [shard] = shards(prefix, "failed")
    [failed] = pyarrow.parquet.read_table(shard).to_pylist()
    assert_same({missing: failed}, {missing: Detector(exported_model.path).predict(missing)})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "{folder}/*.tiff"], "nothing matches {folder}/*.tiff"),
        (["--input", "{folder}"], "such as '{folder}/**.jpg'. Received a folder"),
        (
            ["--input", "{folder}/1.png", "--direct_num_wrokers=2"],
            "neither deepfake-tf nor Beam knows --direct_num_wrokers",
        ),
        (["--input", "{folder}/1.png", "--model", "{folder}"], "No SavedModel in {folder}"),
        (["--input", "{folder}/1.png", "--runner", "NoRunner"], "NoRunner"),
        (["--input", "{folder}/1.png", "--runner", "apache_beam.runners.dask.dask_runner.DaskRunner"], "drops what"),
    ],
)
def test_bad_usage_is_one_clear_line_and_exit_code_2(folder, tmp_path, arguments, message):
    code, errors = score(*(argument.format(folder=folder) for argument in arguments), "--output", tmp_path / "run")
    assert code == 2, errors
    assert message.format(folder=folder) in errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_what_a_java_runner_says_is_not_lost_under_its_stack(folder, tmp_path, monkeypatch):
    (tmp_path / "java.py").write_text(
        "from apache_beam.runners.runner import PipelineRunner\n"
        "class Runner(PipelineRunner):\n"
        "    def run_pipeline(self, pipeline, options):\n"
        "        raise RuntimeError('failed\\nCaused by: disk full\\n\\tat Disk.write(Disk.java:1)\\n\\t... 1 more')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    code, errors = score("--input", folder / "1.png", "--output", tmp_path / "run", "--runner", "java.Runner")
    assert code == 2
    assert "java.Runner did not finish: Caused by: disk full. No shards were put in place" in errors


def test_without_beam_it_says_what_to_install(tmp_path):
    code = (
        "import sys; sys.modules['apache_beam'] = None; from deepfake_tf.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "score", "--input", "*.jpg", "--output", str(tmp_path / "run")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert result.stderr.strip().endswith("pip install 'deepfake-tf[beam]'")
