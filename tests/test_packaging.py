"""What `pip install` brings: the two lists of the full set agree, and the light one stays light."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def parse(lines):
    requirements = [Requirement(text) for line in lines if (text := line.partition("#")[0].strip())]
    return {requirement.name: str(requirement.specifier) for requirement in requirements}


def test_requirements_txt_is_the_base_and_the_full_extra():
    full = parse(PROJECT["dependencies"] + PROJECT["optional-dependencies"]["full"])
    assert parse((ROOT / "requirements.txt").read_text().splitlines()) == full


def test_the_extra_for_bulk_scoring_brings_an_engine():
    assert "ai-edge-litert" in parse(PROJECT["optional-dependencies"]["beam"])


def test_the_light_installation_is_five_packages():
    light = parse(PROJECT["dependencies"] + PROJECT["optional-dependencies"]["lite"])
    assert set(light) == {"numpy", "pillow", "requests", "tqdm", "ai-edge-litert"}
