"""The head on the class tokens of all blocks: standardised features, one weight each, a logit.

Linear on purpose: it was as good as, or better than, heads with hidden layers on repositories left out, its logit is
a sum over blocks and dimensions that an explanation can take apart, and it is a file of a few kilobytes.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np


@dataclasses.dataclass(frozen=True)
class LinearHead:
    """logit = sum(cls * weight) + bias, over blocks and dimensions.

    Attributes:
        weight: float32 [blocks, 768]. The derivative of the logit by the class tokens; standardisation is folded in.
        bias: float.
    """

    weight: np.ndarray
    bias: float

    def logits(self, cls: np.ndarray) -> np.ndarray:
        """Class tokens, float [N, blocks, 768] -> float32 [N]."""
        blocks, width = self.weight.shape
        if cls.shape[1:] != (blocks, width):
            raise ValueError(f"The head reads class tokens [N, {blocks}, {width}]. Received: {list(cls.shape)}")
        flat = cls.reshape(len(cls), -1).astype(np.float32)
        return flat @ self.weight.reshape(-1) + np.float32(self.bias)

    def save(self, path: str | Path) -> None:
        """Write an .npz of `weight` and `bias`."""
        np.savez(path, weight=self.weight, bias=np.float32(self.bias))

    @classmethod
    def load(cls, path: str | Path) -> LinearHead:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError, ValueError: no such file, or one without these arrays.
        """
        with np.load(path) as archive:
            missing = {"weight", "bias"} - set(archive.files)
            if missing:
                raise ValueError(f"{path} is no head of the photograph detector: it lacks {sorted(missing)}")
            return cls(archive["weight"].astype(np.float32), float(archive["bias"]))
