"""The wheel, installed outside the checkout, where TensorFlow cannot be loaded: what `pip install` gives."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import requests

import deepfake_tf
from deepfake_tf.engines.detector import Detector
from deepfake_tf.samples import write_samples
from deepfake_tf.shipped import page_file, shipped_folder

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def distributions(tmp_path_factory) -> dict[str, Path]:
    """The sdist, and the wheel that was built from it; by this environment's hatchling, without a download."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return {"sdist": next(folder.glob("*.tar.gz")), "wheel": next(folder.glob("*.whl"))}


class Installed:
    """An environment of its own with the wheel in it; dependencies are those of this one, TensorFlow excepted."""

    def __init__(self, wheel: Path, folder: Path):
        self.folder = folder / "elsewhere"
        self.folder.mkdir()
        environment = folder / "environment"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
        self.python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
        site_packages = Path(self.run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
        pip = [sys.executable, "-m", "pip", "--python", str(self.python), "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--quiet", "--no-index", "--no-deps", str(wheel)], check=True)
        # The folders alone: an editable installation of the checkout in one of them is not followed.
        folders = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
        (site_packages / "dependencies.pth").write_text("\n".join(folders) + "\n")
        # `find_spec` finds it: TensorFlow is installed, and whoever loads it fails.
        (site_packages / "tensorflow.py").write_text("raise ImportError('TensorFlow is not needed here')\n")

    def environment(self, **variables: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "DEEPFAKE_TF"))}
        return {**kept, **variables}

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [str(self.python), *arguments],
            cwd=self.folder,
            env=self.environment(**variables),
            capture_output=True,
            text=True,
            check=True,
        )

    def command(self, *arguments: str) -> str:
        """What `deepfake-tf` prints."""
        return self.run(str(self.python.with_name("deepfake-tf")), *arguments).stdout


@pytest.fixture(scope="module")
def installed(distributions, tmp_path_factory) -> Installed:
    return Installed(distributions["wheel"], tmp_path_factory.mktemp("installed"))


@pytest.fixture
def samples(tmp_path) -> list[Path]:
    return write_samples(tmp_path / "samples")


def light_files() -> dict[str, bytes]:
    """Of every detector that ships, by path below the folder that holds them."""
    folder = ROOT / "saved_model"
    files = [
        *folder.rglob("*.tflite"),
        *folder.glob("*/detector.json"),
    ]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def test_wheel_holds_the_light_files_the_page_and_the_samples_but_no_saved_model(distributions):
    with zipfile.ZipFile(distributions["wheel"]) as wheel:
        held = {name: wheel.read(name) for name in wheel.namelist()}
    assert light_files()
    assert {f"deepfake_tf/saved_model/{name}" for name in light_files()} <= held.keys()
    for name, content in light_files().items():
        assert held[f"deepfake_tf/saved_model/{name}"] == content
    for file in [*ROOT.glob("streamlit_app/*.py"), ROOT / "streamlit_app" / ".streamlit" / "config.toml"]:
        assert held[f"deepfake_tf/{file.relative_to(ROOT).as_posix()}"] == file.read_bytes()
    assert "deepfake_tf/samples/photographs/china.jpg" in held
    assert "deepfake_tf/data/cifake/checksums.tsv" in held
    assert not [name for name in held if "variables" in name or name.endswith((".pb", "model_card.json"))]
    assert {name.split("/")[0].split("-")[0] for name in held} == {"deepfake_tf"}


def test_sdist_holds_what_a_build_reads_and_no_saved_model(distributions):
    with tarfile.open(distributions["sdist"]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "streamlit_app/.streamlit/config.toml"} <= names
    assert {f"saved_model/{name}" for name in light_files()} <= names
    assert not [name for name in names if name.endswith(".pb")]


def test_in_a_checkout_the_folders_beside_the_package_are_used():
    assert shipped_folder() == ROOT / "saved_model"
    assert page_file() == ROOT / "streamlit_app" / "app.py"


def test_the_installed_package_is_the_wheel_and_knows_its_version(installed):
    code = (
        "import deepfake_tf, importlib.metadata as m; print(deepfake_tf.__file__, m.version('deepfake-tf'), sep='\\n')"
    )
    file, version = installed.run("-c", code).stdout.split("\n")[:2]
    assert Path(file).is_relative_to(installed.python.parents[1])
    assert version == deepfake_tf.__version__
    assert installed.command("--version") == f"deepfake-tf {version}\n"


def test_predict_gives_the_rows_of_the_light_engine(installed, samples):
    rows = json.loads(installed.command("predict", "--format", "json", *map(str, samples)))
    expected = Detector(engine="litert").predict(list(map(str, samples)))
    assert [row["file"] for row in rows] == list(map(str, samples))
    assert [row["verdict"] for row in rows] == [prediction.verdict for prediction in expected]
    assert [row["probability"] for row in rows] == pytest.approx([item.probability for item in expected], abs=1e-6)


def test_demo(installed):
    assert "china_crop.png" in installed.command("demo")


def test_inspect(installed, samples):
    [report] = json.loads(installed.command("inspect", "--format", "json", str(samples[0])))
    assert report["error"] == ""


def test_a_saved_model_is_missed_in_words_that_name_the_light_one(installed, samples):
    with pytest.raises(subprocess.CalledProcessError) as raised:
        installed.command("predict", "--engine", "saved_model", str(samples[0]))
    assert raised.value.returncode == 2
    assert "No SavedModel" in raised.value.stderr
    assert "the light model" in raised.value.stderr


def test_app_shows_the_page(installed):
    process = subprocess.Popen(
        [str(installed.python), str(installed.python.with_name("deepfake-tf")), "app"],
        cwd=installed.folder,
        env=installed.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        address = process.stdout.readline().strip()  # it gives up by itself where one of the two does not start
        assert address, process.stderr.read()
        answer = requests.get(address, timeout=30)
        assert answer.ok
        assert "<title>Streamlit</title>" in answer.text
    finally:
        process.terminate()
        process.communicate()


PAGE_AND_ITS_SERVER = """
import csv, os, sys
from streamlit.testing.v1 import AppTest
from deepfake_tf import Detector
from deepfake_tf.server.background import running_server
from deepfake_tf.shipped import page_file

sys.path.insert(0, str(page_file().parent))  # as `streamlit run` does
with running_server() as server:  # as `deepfake-tf app` does
    os.environ["DEEPFAKE_TF_URL"] = server.rest
    page = AppTest.from_file(str(page_file()), default_timeout=60).run()
    page.pills[0].set_value(["china_crop.png"]).run()
    assert not page.exception, page.exception
    rows = csv.writer(sys.stdout)
    rows.writerow(["page", page.subheader[0].value])
    rows.writerow(["card", any("Network: efficientnet_lite0" in text.value for text in page.text)])
    for prediction in Detector(url=server.rest).predict(sys.argv[1:]):
        rows.writerow([prediction.file, prediction.probability])
    for prediction in Detector(url=server.gateway + "/predict").predict(sys.argv[1:]):
        rows.writerow([prediction.file, prediction.probability])
"""


def test_page_shows_the_verdict_of_the_light_engine_through_the_server_that_app_starts(installed, samples):
    output = installed.run("-c", PAGE_AND_ITS_SERVER, *map(str, samples)).stdout
    (_, verdict), (_, has_card), *rows = csv.reader(io.StringIO(output))
    assert verdict.endswith("Likely a real photograph")
    assert has_card == "True"
    expected = [prediction.probability for prediction in Detector(engine="litert").predict(list(map(str, samples)))]
    assert [float(probability) for _, probability in rows] == pytest.approx(expected * 2, abs=1e-6)


def test_the_extra_app_is_part_of_the_full_one():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras["lite"]) < set(extras["app"]) < set(extras["full"])
