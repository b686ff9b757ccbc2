"""Batch normalisation by TensorFlow's fused kernels, where the backend is TensorFlow.

Keras casts to float32 and normalises by a dozen element-wise operations, forwards and backwards. On a CPU in bfloat16
they took nearly a quarter of a training step's time. The fused kernel reads and writes bfloat16 and sums in float32.
"""

from __future__ import annotations

from collections import Counter

import keras


@keras.saving.register_keras_serializable("deepfake_tf")
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` over the last axis of images, [N, H, W, C], and its very weights.

    The moving variance follows the unbiased estimate, as torchvision's does; on other backends all is Keras's.
    The class bears Keras's name because files of weights are made of class names: they fit both.
    """

    def call(self, inputs, training=None, mask=None):
        if keras.backend.backend() != "tensorflow":
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        training = bool(training and self.trainable)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma.value,
            offset=self.beta.value,
            mean=self.moving_mean.value,
            variance=self.moving_variance.value,
            epsilon=self.epsilon,
            exponential_avg_factor=1 - self.momentum,  # `mean` and `variance` come out as the next moving ones
            is_training=training,
        )
        if training:
            self.moving_mean.assign(mean)
            self.moving_variance.assign(variance)
        return outputs


def find_foldable(model: keras.Model) -> dict[str, str]:
    """Batch norm -> the convolution that it follows, where nothing else reads that convolution."""
    # Over the nodes: `layer.input` refuses a layer that is called more than once, as by `flip_averaged`.
    nodes = [(operation, node) for operation in model.operations for node in operation._inbound_nodes]
    producers = {id(tensor): operation for operation, node in nodes for tensor in node.output_tensors}
    readers = Counter(id(tensor) for _, node in nodes for tensor in node.input_tensors)
    readers.update(id(tensor) for tensor in model.outputs)
    convolutions = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
    folded = {}
    for operation, node in nodes:
        if isinstance(operation, keras.layers.BatchNormalization) and len(operation._inbound_nodes) == 1:
            (tensor,) = node.input_tensors
            if isinstance(producers.get(id(tensor)), convolutions) and readers[id(tensor)] == 1:
                folded[operation.name] = producers[id(tensor)].name
    return folded


def input_axes(convolution: keras.layers.Layer) -> tuple[int, int, int]:
    """The axes of a convolution's kernel, [h, w, in, out] or depthwise [h, w, out, 1], but for its outputs."""
    return (0, 1, 3) if isinstance(convolution, keras.layers.DepthwiseConv2D) else (0, 1, 2)
