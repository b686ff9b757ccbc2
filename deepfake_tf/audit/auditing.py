"""The audit itself: one pass over the images, then the checks."""

from __future__ import annotations

import os
import time

import numpy as np

from deepfake_tf.audit.distribution import check_balance, check_sizes
from deepfake_tf.audit.duplicates import check_exact_duplicates, check_near_duplicates
from deepfake_tf.audit.files import check_files
from deepfake_tf.audit.findings import Audit, Check
from deepfake_tf.audit.labels import check_labels, not_checked
from deepfake_tf.audit.origins import check_origins
from deepfake_tf.audit.shortcuts import check_metadata, check_statistics
from deepfake_tf.audit.survey import Readings, read_all
from deepfake_tf.data.examples import Examples, concatenate


def audit(
    examples: Examples,
    against: Examples | None = None,
    model: str | os.PathLike[str] | None = None,
    thorough: bool = True,
) -> Audit:
    """Check a data set before training on it.

    Args:
        examples: Examples. The data set.
        against: Examples or None. A second source, in which no image of the first may stand (leakage).
        model: the SavedModel to check the labels with, as `Detector` takes it; None is the one that ships.
        thorough: bool. False makes the cheap checks alone, those that `train` starts with: files, exact duplicates,
            metadata, balance and sizes.

    Returns:
        Audit. Where there is no model at hand, its check of the labels says so.
    """
    started = time.monotonic()
    both = examples if against is None else concatenate([examples, against])
    is_second = np.arange(len(both)) >= len(examples)
    readings = read_all(both, thorough)
    own = Readings(
        readings.rows[: len(examples)], {i: why for i, why in readings.problems.items() if i < len(examples)}
    )
    readable = own.rows["readable"]

    checks = [check_files(examples, own), check_exact_duplicates(both, readings, is_second)]
    if thorough:
        checks.append(check_near_duplicates(both, readings, is_second))
    checks.append(check_metadata(examples.labels, own))
    if thorough:
        checks.append(check_statistics(examples.labels, own))
        checks.append(_check_labels(examples, readable, model))
        checks.append(check_origins(examples, readable))
    checks += [check_balance(examples), check_sizes(examples.labels, own, thorough)]
    return Audit(tuple(checks), both, len(examples), time.monotonic() - started)


def _check_labels(examples: Examples, readable: np.ndarray, model: str | os.PathLike[str] | None) -> Check:
    from deepfake_tf.engines.detector import Detector

    try:
        detector = Detector(model)
    except (FileNotFoundError, ImportError) as error:
        if model is not None:  # asked for by name: a typing error must not pass for a check
            raise
        return not_checked(str(error))
    return check_labels(examples, readable, detector)
