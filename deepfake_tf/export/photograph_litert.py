"""The photograph detector's network as `.tflite` files: the backbone, which stays, and a head, which changes.

The backbone holds the int8 kernels exactly as they were given, with a scale for each output channel, under the names
of the `.npz` that they came from: it is the one copy of the weights, and `clip_weights.read_backbone` gives them back
bit by bit. Its activations are float32. XNNPACK, which LiteRT runs it by, takes those of a dense layer to eight bits
with a scale for each token; the attention stays in float.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import flatbuffers
import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema

from deepfake_tf.decision.verdict import Decision
from deepfake_tf.export.photograph_head import directions, head_outputs
from deepfake_tf.networks.vit_b16 import HEADS, PATCH_SIZE, WIDTH
from deepfake_tf.networks.vit_b16_inference import FEATURES, compute_features, count_blocks, dense_layer_names

HEAD_OUTPUTS = ("probability", "heatmap", "logit", "distance")
_FILE_IDENTIFIER = b"TFL3"


def backbone_flatbuffer(arrays: Mapping[str, np.ndarray]) -> bytes:
    """A `.tflite`, uint8 [1, S, S, 3] -> the features of `compute_features`, N = 1.

    Args:
        arrays: as in the `.npz` that `clip_weights.read_clip_weights` reads; all blocks are built, see `first_blocks`.
            The dense kernels are int8 with a scale for each output channel.

    Raises:
        ValueError: a kernel is not int8.
    """
    dense_layers = dense_layer_names(arrays)
    if wrong := [name for name in dense_layers if arrays[f"{name}.weight"].dtype != np.int8]:
        raise ValueError(f"the kernels of dense layers must be int8 with a scale. Received: float in {wrong[:3]}")
    # The converter folds constants into one another: a layer norm's weight into the next kernel, which would round
    # it anew. So the arrays come in as inputs, and become constants afterwards.
    kernels = {f"{name}.weight": arrays[f"{name}.weight"].T for name in dense_layers}
    floats = {name: array for name, array in arrays.items() if "norm" in name or name.endswith("_embedding")}
    del floats["patch_embedding"]  # a convolution's kernel: nothing is folded into it
    later = {**floats, **kernels}
    stand_in = {f"array_{index}": name for index, name in enumerate(later)}  # names that TensorFlow leaves alone
    side = round((len(arrays["position_embedding"]) - 1) ** 0.5) * PATCH_SIZE
    specs = {alias: tf.TensorSpec(later[name].shape, tf.float32, alias) for alias, name in stand_in.items()}

    def run(pixels, **inputs):
        tensors = {name: inputs[alias] for alias, name in stand_in.items()}
        dense = lambda x, name: tf.matmul(x, tensors[f"{name}.weight"], transpose_b=True) + arrays[f"{name}.bias"]
        return compute_features({**arrays, **{name: tensors[name] for name in floats}}, pixels, dense)

    model = _convert(run, pixels=tf.TensorSpec([1, side, side, 3], tf.uint8, "pixels"), **specs)
    scale_of = lambda name: arrays.get(name.replace("weight", "scale"))
    _fill(model, {alias: (name, later[name], scale_of(name)) for alias, name in stand_in.items()})
    _name_constants(model)
    return finish(model, FEATURES)


def head_flatbuffer(head: Mapping[str, np.ndarray], decision: Decision, arrays: Mapping[str, np.ndarray]) -> bytes:
    """A `.tflite`, the features of `backbone_flatbuffer` -> `probability`, `logit`, `distance` and `heatmap`, N = 1.

    Args:
        head: arrays, see `export.photograph_head`.
        decision: Decision.
        arrays: of the backbone, of `read_backbone`.
    """
    blocks, patches = count_blocks(arrays), len(arrays["position_embedding"]) - 1
    towards = directions(head, arrays)
    spec = lambda name, *shape: tf.TensorSpec([1, blocks, *shape], tf.float32, name)
    model = _convert(
        lambda cls, attention, values: head_outputs(
            head, decision, towards, {"cls": cls, "attention": attention, "values": values}
        ),
        cls=spec("cls", WIDTH),
        attention=spec("attention", HEADS, patches),
        values=spec("values", HEADS, patches, WIDTH // HEADS),
    )
    return finish(model, HEAD_OUTPUTS)


def _convert(function: Callable, **specs: tf.TensorSpec) -> schema.ModelT:
    module = tf.Module()
    module.function = tf.function(function)  # the converter keeps the signature of what a module holds
    concrete = module.function.get_concrete_function(**specs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
    return schema.ModelT.InitFromPackedBuf(converter.convert(), 0)


def _fill(model: schema.ModelT, constants: Mapping[str, tuple[str, np.ndarray, np.ndarray | None]]) -> None:
    """Turn inputs into constants: input -> name, array, and the scale a channel of an int8 one."""
    (graph,), (signature,) = model.subgraphs, model.signatureDefs
    for entry in signature.inputs:
        if entry.name.decode() not in constants:
            continue
        name, array, scale = constants[entry.name.decode()]
        tensor, buffer = graph.tensors[entry.tensorIndex], schema.BufferT()
        buffer.data = np.ascontiguousarray(array).view(np.uint8).ravel()
        tensor.name, tensor.buffer = name.encode(), len(model.buffers)
        model.buffers.append(buffer)
        if array.dtype == np.int8:
            tensor.type = schema.TensorType.INT8
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = scale
            tensor.quantization.zeroPoint = np.zeros(len(array), np.int64)
            tensor.quantization.quantizedDimension = 0
    signature.inputs = [entry for entry in signature.inputs if entry.name.decode() not in constants]
    graph.inputs = [entry.tensorIndex for entry in signature.inputs]


def _name_constants(model: schema.ModelT) -> None:
    """The biases by their layer's name, and the convolution's kernel."""
    (graph,) = model.subgraphs
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        kind = max(code.builtinCode, code.deprecatedBuiltinCode)
        if kind == schema.BuiltinOperator.FULLY_CONNECTED:
            kernel, bias = (graph.tensors[index] for index in operator.inputs[1:3])
            bias.name = kernel.name.replace(b"weight", b"bias")
        elif kind == schema.BuiltinOperator.CONV_2D:
            graph.tensors[operator.inputs[1]].name = b"patch_embedding"


def finish(model: schema.ModelT, outputs: tuple[str, ...]) -> bytes:
    """The file: inputs and outputs named as in the signature, and the outputs in this order."""
    (graph,), (signature,) = model.subgraphs, model.signatureDefs
    signature.outputs.sort(key=lambda output: outputs.index(output.name.decode()))
    graph.outputs = [output.tensorIndex for output in signature.outputs]
    for tensor in (*signature.inputs, *signature.outputs):
        graph.tensors[tensor.tensorIndex].name = tensor.name
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=_FILE_IDENTIFIER)
    return bytes(builder.Output())
