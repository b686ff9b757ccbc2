"""TensorFlow's import, for a program that only scores: without Keras, which is half of it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

_UNNEEDED = ("keras", "jax")


@contextlib.contextmanager
def without_keras() -> Iterator[None]:
    """Inside, `import tensorflow` does not load Keras and JAX; afterwards they can be imported as ever.

    TensorFlow loads Keras for the optimisers that a SavedModel might name, and goes on without where it is missing;
    Keras in turn loads scikit-learn, pandas and matplotlib where they are installed. A SavedModel of constants needs
    none of them. For a program's main thread, before others start: they could not import these packages meanwhile.
    """
    absent = [name for name in _UNNEEDED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None: importing it raises ImportError
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
