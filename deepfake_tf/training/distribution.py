"""Training on several devices and machines: synchronous data parallelism by keras.distribution, on JAX.

Not by tf.distribute: Keras 3 does not train under MultiWorkerMirroredStrategy. `fit` fails on its first batch ("Attempt
to convert a value (PerReplica ...) with an unsupported type"): https://github.com/keras-team/keras/issues/20585 and
https://github.com/keras-team/keras/issues/20329, both open, and seen here with Keras 3.15 and TensorFlow 2.21.
keras.distribution is what Keras 3 has in its place, and JAX is the backend that carries it.

Each batch is divided among the devices, as one array that lies on all of them: batch norm sees the mean of the
whole batch, metrics count the whole batch, and the gradient is that of one device with the same batch.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from pathlib import Path

import keras
import numpy as np

from deepfake_tf.config import STRATEGIES

SIZE_UNIT = 2**30  # of a message's length, which may not fit into the 32 bits that JAX counts in
HEARTBEAT_TIMEOUT_SECONDS = 30  # a worker that is silent for so long is dead, and the others end


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


def start(strategy: str) -> Workers:
    """Join the other processes, before anything is computed.

    Args:
        strategy: str. "none"; "mirrored": all devices of this process; "tpu": the same, and they must be a TPU's
            cores; "multiworker": all devices of all the processes that the environment variable TF_CONFIG names.

    Raises:
        ValueError: a strategy without the JAX backend, TF_CONFIG is missing or not understood, or no TPU is there.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}. Received: strategy={strategy!r}")
    if strategy == "none":
        return ALONE
    if keras.backend.backend() != "jax":
        raise ValueError(
            f"--strategy {strategy} needs Keras's JAX backend: pip install 'deepfake-tf[jax]', and KERAS_BACKEND=jax. "
            f"Received: KERAS_BACKEND={keras.backend.backend()}"
        )
    import jax

    if strategy == "multiworker" and not jax.distributed.is_initialized():
        addresses, index = read_tf_config(os.environ.get("TF_CONFIG", ""))
        jax.distributed.initialize(
            addresses[0], len(addresses), index, heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT_SECONDS
        )
    if strategy == "tpu" and jax.default_backend() != "tpu":
        raise ValueError(
            f"--strategy tpu found no TPU. On a TPU VM: pip install 'jax[tpu]'; on other devices: --strategy mirrored. "
            f"Received: {', '.join(map(str, jax.devices()))}"
        )
    keras.distribution.set_distribution(None)  # an earlier stage's
    return Workers(jax.process_count(), jax.process_index(), jax.device_count(), distributed=True)


def mirror_variables() -> None:
    """From here on every Keras variable lies on all devices, and every batch is divided among them."""
    # Each process brings its own part of the batch: see Workers.rows.
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))


def read_tf_config(text: str) -> tuple[list[str], int]:
    """Addresses of all workers, the coordinator first, and the position of this one.

    Args:
        text: str. TF_CONFIG, as TensorFlow's tools and Kubernetes operators write it:
            {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}; a "chief" counts as
            the first worker.

    Raises:
        ValueError: it is missing, no such JSON, or names a task that is not in the cluster.
    """
    expected = '{"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": 0}}'
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        chiefs, workers = list(cluster.get("chief", [])), list(cluster.get("worker", []))
        addresses = chiefs + workers
        index = int(task["index"]) + {"chief": 0, "worker": len(chiefs)}[task["type"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"TF_CONFIG must be like {expected}. Received: {text or 'nothing'}") from error
    if not 0 <= index < len(addresses):
        raise ValueError(f"TF_CONFIG names a task that its cluster does not have: {task}. Received: {cluster}")
    return addresses, index
