"""A training step of the same network in PyTorch, for `benchmark --peers`."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from deepfake_tf.benchmark.peers import cores
from deepfake_tf.networks.resnet18 import BLOCKS_PER_STAGE, STAGE_FILTERS


def training_step_in_torch(images: np.ndarray, labels: np.ndarray) -> Callable[[], float]:
    """ResNet-18 as `build_resnet18` has it, with Adam and binary cross-entropy; its fastest way on a CPU.

    Channels last, and autocast to bfloat16, with the weights and batch norm's sums in float32 as under Keras's
    mixed_bfloat16.

    Args:
        images: float32 [N, H, W, 3].
        labels: [N] or [N, 1], 0 or 1.

    Returns:
        A function that makes one step on this batch and returns the loss.
    """
    import torch
    from torch import nn

    torch.set_num_threads(cores())

    def convolution(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)
        )

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int):
            super().__init__()
            self.first, self.second = convolution(inputs, outputs, 3, stride), convolution(outputs, outputs, 3, 1)
            self.shortcut = convolution(inputs, outputs, 1, stride) if stride > 1 else nn.Identity()

        def forward(self, x):
            return (self.second(self.first(x).relu_()) + self.shortcut(x)).relu_()

    layers: list[nn.Module] = [convolution(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for stage, outputs in enumerate(STAGE_FILTERS):
        for block in range(BLOCKS_PER_STAGE):
            layers.append(Block(inputs, outputs, 2 if stage and not block else 1))
            inputs = outputs
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 1))
    network = network.to(memory_format=torch.channels_last)
    weights = list(network.parameters())
    means, squares = ([torch.zeros_like(weight) for weight in weights] for _ in range(2))
    batch = torch.from_numpy(images).permute(0, 3, 1, 2)  # NHWC, seen as channels last
    targets = torch.from_numpy(np.array(labels, np.float32).reshape(-1, 1))

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(batch)
        loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), targets)
        gradients = torch.autograd.grad(loss, weights)
        # Adam by hand, without its first steps' correction: torch.optim imports Triton, which ends a process
        # that has loaded TensorFlow ("Segmentation fault", PyTorch 2.14 and TensorFlow 2.21).
        with torch.no_grad():
            torch._foreach_lerp_(means, gradients, 0.1)
            torch._foreach_mul_(squares, 0.999)
            torch._foreach_addcmul_(squares, gradients, gradients, 0.001)
            roots = torch._foreach_sqrt(squares)
            torch._foreach_add_(roots, 1e-7)
            torch._foreach_addcdiv_(weights, means, roots, -0.001)
        return loss.item()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no GPU, once
        step()
    return step
