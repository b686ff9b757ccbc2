"""The network of a SavedModel as a list of steps, for any library to run: same weights, same graph."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

_SPATIAL = slice(1, 3)  # of [N, H, W, C]
TO_OUT_FIRST = {"convolution": (3, 2, 0, 1), "depthwise": (2, 3, 0, 1), "dense": (1, 0)}  # PyTorch's kernels
_WITH_KERNEL = {"Conv2D": "convolution", "DepthwiseConv2dNative": "depthwise", "MatMul": "dense"}


@dataclasses.dataclass(frozen=True)
class Step:
    """One operation.

    Attributes:
        kind: str. "convolution", "depthwise", "max_pool", "average_pool", "relu", "relu6", "add", "scale", "mirror",
            "mean" or "dense".
        name: str. What later steps call its result.
        inputs: names of the tensors that it reads; "images" is the network's input.
        kernel: float32 [h, w, in, out] of a convolution, [h, w, out, 1] of a depthwise one, [in, out] of a dense step,
            a number of "scale"; else None.
        bias: float32 [out] of these three, else None.
        window, stride: int, pixels; square.
        padding: two ints, pixels above and below, and as many at the left and at the right.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    kernel: Any = None
    bias: np.ndarray | None = None
    window: int = 0
    stride: int = 1
    padding: tuple[int, int] = (0, 0)


def read_steps(model_dir: Path) -> list[Step]:
    """The steps from images, float32 [N, 224, 224, 3] in -1..1, to the logit [N, 1]: the last one.

    Raises:
        ValueError: the SavedModel holds no network, or one with operations that are not known here.
    """
    return _Reader(network_graph(model_dir)).steps()


def published_arrays(model_dir: Path) -> dict[str, np.ndarray]:
    """The weights of an exported network in the names and layout of PyTorch's, batch norm folded in.

    Returns:
        name -> float32 array: `conv1.weight` [out, in, kh, kw], `conv1.bias` [out], ... `fc.weight` [1, C].

    Raises:
        ValueError: as `read_steps`.
    """
    arrays: dict[str, np.ndarray] = {}
    for step in read_steps(model_dir):
        if step.bias is not None:
            layer = re.sub(r"_\d+$", "", step.name.split("/")[-2])  # a flip-averaged network holds each layer twice
            arrays |= {f"{layer}.weight": step.kernel.transpose(TO_OUT_FIRST[step.kind]), f"{layer}.bias": step.bias}
    return arrays


def network_graph(model_dir: Path) -> tf.Graph:
    """The one function of a SavedModel that holds its convolutions.

    Raises:
        ValueError: there is none.
    """
    definition = saved_model_pb2.SavedModel.FromString((model_dir / "saved_model.pb").read_bytes())
    for function in definition.meta_graphs[0].graph_def.library.function:
        if any(node.op == "Conv2D" for node in function.node_def):
            return function_def_to_graph(function)
    raise ValueError(f"{model_dir} holds no network: it was not made by deepfake-tf export")


def network_function(model_dir: Path):
    """The same as a function for TensorFlow, as it is in the file: float32 [N, 224, 224, 3] -> logit [N, 1]."""
    graph = network_graph(model_dir)
    wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph.as_graph_def(), name=""), [])
    element = lambda tensor: wrapped.graph.get_tensor_by_name(tensor.name)
    return wrapped.prune([element(tensor) for tensor in graph.inputs], element(_logit(graph)))


class _Reader:
    """Follows the graph from its output back to the images."""

    def __init__(self, graph: tf.Graph):
        self._graph = graph
        self._steps: dict[str, Step] = {}

    def steps(self) -> list[Step]:
        self._visit(_logit(self._graph))
        return list(self._steps.values())

    def _visit(self, tensor: tf.Tensor) -> str:
        """The name of the step behind a tensor, which it adds after all that it needs."""
        operation = tensor.op
        if operation.type == "Placeholder":
            return "images"
        if operation.type in ("Identity", "Cast"):
            return self._visit(operation.inputs[0])
        if operation.name not in self._steps:
            self._steps[operation.name] = self._step(operation)
        return operation.name

    def _step(self, operation: tf.Operation) -> Step:
        kind, first = operation.type, operation.inputs[0]
        if kind == "BiasAdd" or (kind == "AddV2" and self._constant(operation.inputs[1]) is not None):
            return self._with_bias(operation)
        if kind in ("MaxPool", "AvgPool"):
            return self._pooling(operation)
        if kind == "AddV2":
            return Step("add", operation.name, tuple(self._visit(tensor) for tensor in operation.inputs))
        if kind in ("Relu", "Relu6"):
            return Step(kind.lower(), operation.name, (self._visit(first),))
        if kind == "Mean":
            return Step("mean", operation.name, (self._visit(first),))
        if kind == "ReverseV2":
            return Step("mirror", operation.name, (self._visit(first),))
        factor = self._constant(operation.inputs[1]) if kind in ("Mul", "RealDiv") else None
        if factor is not None and factor.size == 1:
            number = float(factor.ravel()[0])
            return Step("scale", operation.name, (self._visit(first),), 1 / number if kind == "RealDiv" else number)
        raise ValueError(
            f"the network holds {kind} ({operation.name}), which is not known here: export it again, with batch norm "
            f"folded, by this version of deepfake-tf"
        )

    def _with_bias(self, operation: tf.Operation) -> Step:
        producer, bias = operation.inputs[0].op, self._constant(operation.inputs[1])
        kind = _WITH_KERNEL.get(producer.type, "")
        kernel = self._constant(producer.inputs[1]) if kind else None
        if kernel is None or bias is None:
            raise ValueError(f"{operation.name} adds a bias to {producer.type}: export the model again")
        if kind == "dense":
            return Step(kind, operation.name, (self._visit(producer.inputs[0]),), kernel, bias)
        window, stride = kernel.shape[0], producer.get_attr("strides")[1]
        source, padding = self._padding(producer, window, stride)
        return Step(kind, operation.name, (self._visit(source),), kernel, bias, window, stride, padding)

    def _pooling(self, operation: tf.Operation) -> Step:
        window, stride = operation.get_attr("ksize")[1], operation.get_attr("strides")[1]
        source, padding = self._padding(operation, window, stride)
        kind = "max_pool" if operation.type == "MaxPool" else "average_pool"
        return Step(kind, operation.name, (self._visit(source),), None, None, window, stride, padding)

    def _padding(self, operation: tf.Operation, window: int, stride: int) -> tuple[tf.Tensor, tuple[int, int]]:
        """What it reads, and the pixels before and behind that: its own, or those of a Pad before it."""
        source = operation.inputs[0]
        if operation.get_attr("padding") == b"SAME":
            side = source.shape[1]
            pixels = max((-(-side // stride) - 1) * stride + window - side, 0)
            return source, (pixels // 2, pixels - pixels // 2)
        if source.op.type != "Pad":
            return source, (0, 0)
        paddings = self._constant(source.op.inputs[1])
        if paddings is None or len(set(paddings[_SPATIAL].ravel())) > 1:
            raise ValueError(f"{source.op.name} pads unevenly, which is not known here. Received: {paddings}")
        return source.op.inputs[0], (int(paddings[1, 0]),) * 2

    def _constant(self, tensor: tf.Tensor) -> np.ndarray | None:
        """The value of a constant as float32 or integer, None where it depends on the images."""
        operation = tensor.op
        if operation.type in ("Identity", "Cast"):
            return self._constant(operation.inputs[0])
        if operation.type in ("Reshape", "Squeeze"):  # of a bias
            value = self._constant(operation.inputs[0])
            return None if value is None else value.ravel()
        if operation.type != "Const":
            return None
        value = tf.make_ndarray(operation.get_attr("value"))
        return value if value.dtype.kind == "i" else value.astype(np.float32)


def _logit(graph: tf.Graph) -> tf.Tensor:
    """The output with one column; the other one is the feature map."""
    return next(tensor for tensor in graph.outputs if tensor.shape.rank == 2)


def run_in_tensorflow(steps: list[Step], dtype: tf.DType = tf.float32):
    """A compiled function of the steps: float32 [N, 224, 224, 3] -> logit, float32 [N, 1].

    Args:
        steps: of `read_steps`.
        dtype: the type of weights and arithmetic up to the mean, as `deepfake-tf export --precision` has it.
    """

    def run(images):
        found = {"images": images}
        for step in steps:
            found[step.name] = _IN_TENSORFLOW[step.kind](step, dtype, *(found[name] for name in step.inputs))
        return found[steps[-1].name]

    shape = tf.TensorSpec([None, 224, 224, 3], tf.float32)
    return tf.function(run, input_signature=[shape]).get_concrete_function()


def _convolution(step: Step, dtype: tf.DType, x: tf.Tensor) -> tf.Tensor:
    x, padding = (x, "SAME") if step.stride == 1 else (_padded(step, x), "VALID")
    x, kernel = tf.cast(x, dtype), tf.constant(step.kernel, dtype)
    if step.kind == "depthwise":
        x = tf.nn.depthwise_conv2d(x, kernel, [1, step.stride, step.stride, 1], padding)
    else:
        x = tf.nn.conv2d(x, kernel, step.stride, padding)
    return tf.nn.bias_add(x, tf.constant(step.bias, dtype))


def _padded(step: Step, x: tf.Tensor) -> tf.Tensor:
    return tf.pad(x, [[0, 0], step.padding, step.padding, [0, 0]]) if any(step.padding) else x


_IN_TENSORFLOW: Mapping[str, Any] = {
    "convolution": _convolution,
    "depthwise": _convolution,
    "max_pool": lambda step, dtype, x: tf.nn.max_pool2d(_padded(step, x), step.window, step.stride, "VALID"),
    "average_pool": lambda step, dtype, x: tf.nn.avg_pool2d(x, step.window, step.stride, "VALID"),
    "relu": lambda step, dtype, x: tf.nn.relu(x),
    "relu6": lambda step, dtype, x: tf.nn.relu6(x),
    "add": lambda step, dtype, x, y: x + y,
    "scale": lambda step, dtype, x: x * tf.cast(step.kernel, x.dtype),
    "mirror": lambda step, dtype, x: tf.reverse(x, [2]),
    "mean": lambda step, dtype, x: tf.reduce_mean(tf.cast(x, tf.float32), axis=[1, 2]),
    "dense": lambda step, dtype, x: x @ tf.constant(step.kernel) + tf.constant(step.bias),
}
