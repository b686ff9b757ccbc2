"""The processes that train together, and which rows of a batch each of them has; see `training.distribution`."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import numpy as np

SIZE_UNIT = 2**30  # of a message's length, which may not fit into the 32 bits that JAX counts in


@dataclasses.dataclass(frozen=True)
class Workers:
    """Where this process stands among those that train together.

    Attributes:
        count: int. Processes.
        index: int, 0..count - 1. This one. 0 is the chief, which alone writes the run directory.
        devices: int. Accelerators (or CPU devices) of all processes, as many of each.
        distributed: bool. Whether a strategy was asked for.
    """

    count: int = 1
    index: int = 0
    devices: int = 1
    distributed: bool = False

    @property
    def is_chief(self) -> bool:
        return self.index == 0

    def rows(self, start: int, batch_size: int, end: int) -> slice:
        """This process's part of the batch that starts at row `start` of `end`."""
        rows = min(batch_size, end - start) // self.count
        return slice(start + self.index * rows, start + (self.index + 1) * rows)

    def output_dir(self, run_dir: Path) -> Path:
        """Where this process keeps a run's files: the others go through the same motions, for nobody to read.

        Saving on the chief alone would hang: Keras makes variables on the way, and JAX makes those on all
        processes at once.
        """
        return run_dir if self.is_chief else Path(tempfile.mkdtemp(prefix="deepfake_tf_worker_"))

    def exchange(self, message: bytes) -> list[bytes]:
        """What every process has to say, in their order; all must call it. Alone, it is one's own message."""
        if self.count == 1:
            return [message]
        from jax.experimental import multihost_utils

        sizes = multihost_utils.process_allgather(np.array(divmod(len(message), SIZE_UNIT), np.int32))
        sizes = [high * SIZE_UNIT + low for high, low in sizes.tolist()]
        padded = np.zeros(max(sizes), np.uint8)
        padded[: len(message)] = np.frombuffer(message, np.uint8)
        everything = multihost_utils.process_allgather(padded)
        return [row[:size].tobytes() for row, size in zip(everything, sizes)]

    def wait(self) -> None:
        """Until all processes are here: what the chief has written is there for all."""
        if self.count > 1:
            from jax.experimental import multihost_utils

            multihost_utils.sync_global_devices("deepfake_tf")


ALONE = Workers()
