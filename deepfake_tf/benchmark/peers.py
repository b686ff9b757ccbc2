"""Other libraries running the same steps: PyTorch, ONNX Runtime, OpenVINO, whichever are installed."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from deepfake_tf.networks.graph import TO_OUT_FIRST, Step

Run = Callable[[np.ndarray], np.ndarray]  # float32 [N, 224, 224, 3] -> float32 [N, 1]
_NEEDS = {
    "PyTorch float32": ("torch",),
    "PyTorch bfloat16": ("torch",),
    "ONNX Runtime float32": ("onnxruntime", "onnx"),
    "OpenVINO float32": ("openvino", "onnx"),
    "OpenVINO bfloat16": ("openvino", "onnx"),
}


def build_peers(steps: list[Step]) -> tuple[dict[str, Run], list[str]]:
    """What is installed, ready to run, and the names of what is missing.

    Returns:
        name -> a function from images, float32 [N, 224, 224, 3] in -1..1, to the logit, float32 [N, 1];
        and a list such as ["OpenVINO float32 (openvino)"].
    """
    peers, missing = {}, []
    for name, packages in _NEEDS.items():
        if absent := [package for package in packages if importlib.util.find_spec(package) is None]:
            missing.append(f"{name} ({', '.join(absent)})")
        else:
            library, precision = name.rsplit(" ", 1)
            peers[name] = {"PyTorch": _in_torch, "ONNX Runtime": _in_onnxruntime, "OpenVINO": _in_openvino}[library](
                steps, precision
            )
    return peers, missing


def _in_torch(steps: list[Step], precision: str) -> Run:
    """Eager, channels last, the weights themselves in the precision: faster here than autocast."""
    import torch
    import torch.nn.functional as functional

    torch.set_num_threads(cores())
    dtype = getattr(torch, precision)
    as_weight = lambda array, dtype=dtype: torch.tensor(np.ascontiguousarray(array)).to(dtype)
    weights: dict[str, tuple[Any, Any]] = {}
    for step in steps:
        if step.kind in ("convolution", "depthwise"):
            kernel = as_weight(step.kernel.transpose(TO_OUT_FIRST[step.kind])).to(memory_format=torch.channels_last)
            weights[step.name] = kernel, as_weight(step.bias)
        elif step.kind == "dense":
            weights[step.name] = as_weight(step.kernel.T, torch.float32), as_weight(step.bias, torch.float32)

    def convolution(step, x):
        before, after = padding = step.padding
        if before != after:
            x, padding = functional.pad(x, (before, after) * 2), (0, 0)
        groups = x.shape[1] if step.kind == "depthwise" else 1
        return functional.conv2d(x, *weights[step.name], step.stride, padding, groups=groups)

    run_step: dict[str, Callable] = {
        "convolution": convolution,
        "depthwise": convolution,
        "max_pool": lambda step, x: functional.max_pool2d(x, step.window, step.stride, step.padding[0]),
        "average_pool": lambda step, x: functional.avg_pool2d(x, step.window, step.stride),
        "relu": lambda step, x: functional.relu_(x),
        "relu6": lambda step, x: functional.relu6(x, inplace=True),
        "add": lambda step, x, y: x + y,
        "scale": lambda step, x: x * step.kernel,
        "mirror": lambda step, x: x.flip(3),
        "mean": lambda step, x: x.float().mean((2, 3)),
        "dense": lambda step, x: functional.linear(x, *weights[step.name]),
    }

    @torch.inference_mode()
    def run(images: np.ndarray) -> np.ndarray:
        found = {"images": torch.from_numpy(images).permute(0, 3, 1, 2).to(dtype)}  # NHWC, seen as channels last
        for step in steps:
            found[step.name] = run_step[step.kind](step, *(found[name] for name in step.inputs))
        return found[steps[-1].name].numpy()

    return run


def _in_onnxruntime(steps: list[Step], precision: str) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    session = onnxruntime.InferenceSession(_to_onnx(steps), options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})[0]


def _in_openvino(steps: list[Step], precision: str) -> Run:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own deprecations, at import
        import openvino
    core = openvino.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": cores(),
    }
    compiled = core.compile_model(core.read_model(_to_onnx(steps)), "CPU", settings)
    return lambda images: compiled(images)[0]


def _to_onnx(steps: list[Step]) -> bytes:
    """The steps as an ONNX model that reads [N, 224, 224, 3], like the others."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [helper.make_node("Transpose", ["images"], ["images.nchw"], perm=[0, 3, 1, 2])]
    constants = []

    def constant(name: str, value: Any) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def window(step: Step) -> dict[str, list[int]]:
        before, after = step.padding
        return {"kernel_shape": [step.window] * 2, "strides": [step.stride] * 2, "pads": [before] * 2 + [after] * 2}

    for step in steps:
        inputs = ["images.nchw" if name == "images" else name for name in step.inputs]
        attributes: dict[str, Any] = {}
        if step.kind in ("convolution", "depthwise"):
            inputs += [constant(f"{step.name}.kernel", step.kernel.transpose(TO_OUT_FIRST[step.kind]))]
            inputs += [constant(f"{step.name}.bias", step.bias)]
            attributes = window(step) | ({"group": step.kernel.shape[2]} if step.kind == "depthwise" else {})
        elif step.kind == "dense":
            inputs += [constant(f"{step.name}.kernel", step.kernel), constant(f"{step.name}.bias", step.bias)]
        elif step.kind in ("max_pool", "average_pool"):
            attributes = window(step)
        elif step.kind == "relu6":
            inputs += [constant(f"{step.name}.{name}", np.float32(value)) for name, value in (("min", 0), ("max", 6))]
        elif step.kind == "scale":
            inputs += [constant(f"{step.name}.factor", np.float32(step.kernel))]
        elif step.kind == "mirror":
            numbers = {"starts": -1, "ends": np.iinfo(np.int64).min, "axes": 3, "steps": -1}
            inputs += [constant(f"{step.name}.{name}", np.array([number])) for name, number in numbers.items()]
        elif step.kind == "mean":
            inputs += [constant(f"{step.name}.axes", np.array([2, 3]))]
            attributes = {"keepdims": 0}
        nodes.append(helper.make_node(_ONNX_NAMES[step.kind], inputs, [step.name], **attributes))
    value = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    graph = helper.make_graph(
        nodes, "network", [value("images", ["n", 224, 224, 3])], [value(steps[-1].name, ["n", 1])], constants
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()


_ONNX_NAMES = {
    "convolution": "Conv",
    "depthwise": "Conv",
    "max_pool": "MaxPool",
    "average_pool": "AveragePool",
    "relu": "Relu",
    "relu6": "Clip",
    "add": "Add",
    "scale": "Mul",
    "mirror": "Slice",
    "mean": "ReduceMean",
    "dense": "Gemm",
}


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
