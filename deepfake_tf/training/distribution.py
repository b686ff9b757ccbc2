"""Training on several devices and machines: synchronous data parallelism by keras.distribution, on JAX.

Not by tf.distribute: Keras 3 does not train under MultiWorkerMirroredStrategy. `fit` fails on its first batch ("Attempt
to convert a value (PerReplica ...) with an unsupported type"): https://github.com/keras-team/keras/issues/20585 and
https://github.com/keras-team/keras/issues/20329, both open, and seen here with Keras 3.15 and TensorFlow 2.21.
keras.distribution is what Keras 3 has in its place, and JAX is the backend that carries it.

Each batch is divided among the devices, as one array that lies on all of them: batch norm sees the mean of the
whole batch, metrics count the whole batch, and the gradient is that of one device with the same batch.
"""

from __future__ import annotations

import json
import os

import keras

from deepfake_tf.data.workers import ALONE, Workers
from deepfake_tf.detectors.cifake.config import STRATEGIES

HEARTBEAT_TIMEOUT_SECONDS = 30  # a worker that is silent for so long is dead, and the others end


def check_strategy(strategy: str) -> None:
    """Whether `start` can begin with a strategy; nothing is joined yet.

    Raises:
        ValueError: the strategy is unknown, is without the JAX backend, or TF_CONFIG is missing or not understood.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}. Received: strategy={strategy!r}")
    if strategy != "none" and keras.backend.backend() != "jax":
        raise ValueError(
            f"--strategy {strategy} needs Keras's JAX backend: pip install 'deepfake-tf[jax]', and KERAS_BACKEND=jax. "
            f"Received: KERAS_BACKEND={keras.backend.backend()}"
        )
    if strategy == "multiworker":
        read_tf_config(os.environ.get("TF_CONFIG", ""))


def start(strategy: str) -> Workers:
    """Join the other processes, before anything is computed.

    Args:
        strategy: str. "none"; "mirrored": all devices of this process; "tpu": the same, and they must be a TPU's
            cores; "multiworker": all devices of all the processes that the environment variable TF_CONFIG names.

    Raises:
        ValueError: as `check_strategy`, or no TPU is there.
    """
    check_strategy(strategy)
    if strategy == "none":
        return ALONE
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
