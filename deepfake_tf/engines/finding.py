"""Which model, and what runs it."""

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from deepfake_tf.detectors.bundle import LIGHT_SUFFIX, detector_of, find_saved_model, has_light
from deepfake_tf.detectors.registry import DETECTORS
from deepfake_tf.engines.names import ENGINE_CLASSES, ENGINES
from deepfake_tf.shipped import shipped_folder

if TYPE_CHECKING:
    from deepfake_tf.engines.saved_model import SavedModelEngine
    from deepfake_tf.engines.tflite import TFLiteEngine


def find_models(model: str | os.PathLike[str] | None = None, engine: str = "saved_model") -> dict[str, Path]:
    """What to load of each detector at hand.

    Args:
        model: as of `Detector`; a folder of bundles has several.
        engine: one of `ENGINES`.

    Returns:
        detector's name -> the folder of a SavedModel, or the `.tflite` or bundle of a light model.

    Raises:
        FileNotFoundError: there is none. Says what was looked for.
        ValueError: there is no such engine.
    """
    root = _root(model)
    folders = {name: root / spec.model_name for name, spec in DETECTORS.items()}
    folders = {name: folder for name, folder in folders.items() if _is_model(folder)}
    if not folders or _is_model(root):
        path = _find_one(root, engine)
        return {detector_of(path): path}
    found: dict[str, Path] = {}
    missing: list[FileNotFoundError] = []
    for name, folder in folders.items():
        try:
            found[name] = _find_one(folder, engine)
        except FileNotFoundError as error:  # this detector is not there in the form that the engine runs
            missing.append(error)
    if not found:
        raise missing[0]
    return found


def find_model(model: str | os.PathLike[str] | None = None, engine: str = "saved_model") -> Path:
    """The first of `find_models`, for what takes one: that for small images, where there are several."""
    return next(iter(find_models(model, engine).values()))


def _root(model: str | os.PathLike[str] | None) -> Path:
    return Path(model or os.environ.get("DEEPFAKE_TF_MODEL") or shipped_folder())


def _is_model(root: Path) -> bool:
    return find_saved_model(root) is not None or _find_light(root) is not None


def _find_light(root: Path) -> Path | None:
    """The light model of a path that a user may name: itself, the bundle around a version, or the file beside it."""
    beside = root.with_name(root.name + LIGHT_SUFFIX)  # as earlier releases had it
    around = root.parent if (root / "saved_model.pb").is_file() else root
    return next((path for path in (root, around, beside) if has_light(path)), None)


def _find_one(root: Path, engine: str) -> Path:
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}. Received: engine={engine!r}")
    light = _find_light(root)
    saved_model = None if root.suffix == LIGHT_SUFFIX else find_saved_model(root)
    if engine == "auto":
        runs_saved_model = saved_model is not None and _is_installed("tensorflow")
        is_light = root.suffix == LIGHT_SUFFIX or (light is not None and not runs_saved_model)
        engine = "litert" if is_light else "saved_model"
    if engine in ("litert", "openvino"):
        if light is None:
            file = root if root.suffix == LIGHT_SUFFIX else root.with_name(root.name + LIGHT_SUFFIX)
            raise FileNotFoundError(
                f"No LiteRT model {file}, and no bundle {root}. Name one with --model or DEEPFAKE_TF_MODEL, or make "
                f"one with: deepfake-tf export RUN_DIR --output DIR/1, or --litert DIR"
            )
        return light
    if saved_model is None:
        there = f"; the light model {light} is there, which this does not take" if light else ""
        raise FileNotFoundError(
            f"No SavedModel in {root} (neither saved_model.pb nor numbered version folders{there}). Name one with "
            f"--model or DEEPFAKE_TF_MODEL, or make one with: deepfake-tf export RUN_DIR --output DIR/1"
        )
    return saved_model


@overload
def engine_class(engine: Literal["saved_model"]) -> type[SavedModelEngine]: ...


@overload
def engine_class(engine: Literal["litert", "openvino"]) -> type[TFLiteEngine]: ...


@overload
def engine_class(engine: str) -> type[SavedModelEngine] | type[TFLiteEngine]: ...


def engine_class(engine: str) -> type[SavedModelEngine] | type[TFLiteEngine]:
    """The class that runs a SavedModel's folder ("saved_model"), or a light model ("litert", "openvino").

    Raises:
        ImportError: what it needs is not installed.
    """
    check_engine(engine)
    _, _, module, name = ENGINE_CLASSES[engine]
    return getattr(importlib.import_module(f"deepfake_tf.engines.{module}"), name)


def check_engine(engine: str) -> None:
    """Whether what an engine needs is installed; nothing is loaded.

    Raises:
        ImportError: it is not. The message names the remedy.
    """
    package, extra, _, _ = ENGINE_CLASSES[engine]
    if not _is_installed(package):
        raise ImportError(
            f"The engine {engine} needs {package}, which is not installed: pip install 'deepfake-tf[{extra}]'"
        )


def engine_of(model: Path, engine: str = "auto") -> str:
    """The engine that runs what `find_model` found for `engine`."""
    if is_saved_model(model):
        return "saved_model"
    return "openvino" if engine == "openvino" else "litert"


def is_saved_model(model: Path) -> bool:
    """Whether what `find_model` found is a SavedModel, and not a light model."""
    return (model / "saved_model.pb").is_file()


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
