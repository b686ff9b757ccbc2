"""One JSON value as a tensor, as TensorFlow Serving reads it: nested lists, numbers, strings, {"b64": "..."}."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

MAX_RANK = 32  # of tensors; TensorFlow's conversion of a NumPy array of a higher one ends the process
_MAX_CHARACTERS = 500  # of a value out of a request in a message
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_LARGEST = {"float": float(np.finfo(np.float32).max), "double": float(np.finfo(np.float64).max)}
_INTEGERS = {f"int{bits}": range(-(1 << bits - 1), 1 << bits - 1) for bits in (8, 16, 32, 64)}
_INTEGERS |= {f"uint{bits}": range(1 << bits) for bits in (8, 16, 32, 64)}
_NUMPY_NAMES = {"string": "object", "float": "float32", "double": "float64"}  # where they are not TensorFlow's


def received(value: Any) -> str:
    """What a message says of a JSON value that came, which may be as long as a request."""
    if isinstance(value, (list, dict)):
        return f"Received: {'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    return f"Received: {json.dumps(value[:_MAX_CHARACTERS] if isinstance(value, str) else value, ensure_ascii=False)}"


def is_base64(value: Any) -> bool:
    """Whether it is `{"b64": "..."}`, which is one value and no object with a named input."""
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def read_tensor(value: Any, dtype: str) -> np.ndarray:
    """A tensor of the shape that the nesting of the first items tells; strings are an object array of bytes.

    Args:
        value: a JSON value.
        dtype: str. TensorFlow's name, such as "string", "float" or "int32".

    Raises:
        ValueError: ragged, nested too deeply, of another type, or out of the dtype's range.
    """
    shape = []
    inner = value
    while isinstance(inner, list):
        shape.append(len(inner))
        if not inner:
            break
        inner = inner[0]
        if len(shape) > MAX_RANK:
            raise ValueError(f"lists are nested more than {MAX_RANK} deep")
    leaves = list(_leaves(value, shape, 0, dtype))
    tensor = np.empty(len(leaves), _NUMPY_NAMES.get(dtype, dtype))
    tensor[:] = leaves
    return tensor.reshape(shape)


def _leaves(value: Any, shape: list[int], level: int, dtype: str) -> Iterator[Any]:
    if not isinstance(value, list):
        if level != len(shape):
            raise ValueError(
                f"lists must be nested equally deep: {len(shape)} levels, as the first item is. {received(value)} "
                f"at level {level + 1}"
            )
        yield _leaf(value, dtype)
        return
    if level >= len(shape):
        raise ValueError(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise ValueError(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for item in value:
        yield from _leaves(item, shape, level + 1, dtype)


def _leaf(value: Any, dtype: str) -> Any:
    if dtype == "string" and isinstance(value, dict):
        return _decode_base64(value)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    fits = {
        "string": isinstance(value, str),
        "bool": isinstance(value, bool),
        "float": is_number,
        "double": is_number,
    }.get(dtype, is_number and isinstance(value, int) and value in _INTEGERS.get(dtype, ()))
    if not fits:
        raise ValueError(f"a value must be of the type {dtype}. {received(value)}")
    if dtype in _LARGEST and not _fits_float(value, _LARGEST[dtype]):
        raise ValueError(f"a value is out of the range of {dtype}. {received(value)}")
    return value.encode() if dtype == "string" else value


def _fits_float(value: float, largest: float) -> bool:
    # Compared as it is: converting an integer of hundreds of digits would raise.
    return value != value or value in (math.inf, -math.inf) or -largest <= value <= largest


def _decode_base64(value: dict[str, Any]) -> bytes:
    if not is_base64(value):
        raise ValueError(f'a string must be text or {{"b64": "..."}}. {received(value)}')
    text = "".join(value["b64"].split())
    padded = text + "=" * (-len(text) % 4)
    if not _BASE64.fullmatch(text) or len(text.rstrip("=")) % 4 == 1:
        raise ValueError("Unable to base64 decode")
    return base64.b64decode(padded)
