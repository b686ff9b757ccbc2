"""Batch normalisation by TensorFlow's fused kernels, where the backend is TensorFlow.

Keras casts to float32 and normalises by a dozen element-wise operations, forwards and backwards. On a CPU in bfloat16
they took nearly a quarter of a training step's time. The fused kernel reads and writes bfloat16 and sums in float32.
"""

from __future__ import annotations

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
