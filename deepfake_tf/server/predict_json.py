"""The JSON of `:predict`, both ways, as TensorFlow Serving reads and writes it.

The format: https://www.tensorflow.org/tfx/serving/api_rest#predict_api. Messages are in words of our own.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from deepfake_tf.server.json_tensors import is_base64, read_tensor, received

# The escapes of a JSON text, one after another, so that `\\ud800`, a backslash and five letters, is not taken for one.
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>u[dD][89a-fA-F])|.)", re.DOTALL
)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_request(body: bytes) -> dict[str, Any]:
    """The JSON object of a request.

    Raises:
        ValueError: it is not JSON in UTF-8, not an object, or `signature_name` is no string.
    """
    try:
        text = body.decode()  # by `json.loads` itself, halves of characters would pass, and UTF-16
        request = json.loads(text)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are such
        raise ValueError(f"JSON Parse error: the body must be JSON in UTF-8: {error}") from error
    if (lone := _lone_surrogate(text)) is not None:
        raise ValueError(f"JSON Parse error: the body must be JSON in UTF-8: half a character at position {lone}")
    if not isinstance(request, dict):
        raise ValueError(f"The request's body must be a JSON object. {received(request)}")
    if not isinstance(request.get("signature_name", ""), str):
        raise ValueError(f"signature_name must be a string. {received(request['signature_name'])}")
    return request


def read_inputs(request: dict[str, Any], dtypes: Mapping[str, str]) -> tuple[dict[str, np.ndarray], bool]:
    """The tensors of a request.

    Args:
        request: of `parse_request`.
        dtypes: the names of the signature's inputs, and TensorFlow's name of the dtype of each.

    Returns:
        The inputs by name (strings as object arrays of bytes), and whether the request is in row format.

    Raises:
        ValueError: the request does not fit the signature.
    """
    if ("instances" in request) == ("inputs" in request):
        raise ValueError(f"The request must have one of the keys instances and inputs. {received(list(request))}")
    if "inputs" in request:
        return _read_columns(request["inputs"], dtypes), False
    instances = request["instances"]
    if not isinstance(instances, list) or not instances:
        raise ValueError(f"instances must be a list of at least one. {received(instances)}")
    return _read_rows(instances, dtypes), True


def write_outputs(outputs: Mapping[str, np.ndarray], as_rows: bool) -> bytes:
    """The body of the answer.

    Args:
        outputs: at least one array by name.
        as_rows: bool. `predictions`, an entry an instance; else `outputs`, an entry an output.

    Raises:
        ValueError: rows were asked for, and the outputs have no common first dimension.
    """
    values = {name: _values(name, output) for name, output in outputs.items()}
    if not as_rows:
        return _to_json({"outputs": values if len(values) > 1 else next(iter(values.values()))})
    sizes = set()
    for name, output in outputs.items():
        if output.ndim == 0:
            raise ValueError(f"Tensor name: {name} has no shape information ")
        sizes.add(len(output))
    if len(sizes) > 1:
        raise ValueError(f"Tensors have inconsistent batch sizes: {sorted(sizes)}")
    if len(values) == 1:
        return _to_json({"predictions": next(iter(values.values()))})
    return _to_json({"predictions": [dict(zip(values, row)) for row in zip(*values.values())]})


def _to_json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=4).encode()


def error_body(message: str) -> bytes:
    return _to_json({"error": message})


# --- reading ----------------------------------------------------------------------------------


def _lone_surrogate(text: str) -> int | None:
    """Where half a character is escaped, such as `\\ud800`, which has no UTF-8 form; None where that is nowhere."""
    if not _SURROGATE.search(text):
        return None
    return next((match.start() for match in _ESCAPE.finditer(text) if match["lone"]), None)


def _read_rows(instances: list[Any], dtypes: Mapping[str, str]) -> dict[str, np.ndarray]:
    are_objects = _is_named(instances[0])
    if not are_objects and len(dtypes) > 1:
        raise ValueError(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    rows: dict[str, list[np.ndarray]] = {name: [] for name in dtypes}
    for index, instance in enumerate(instances):
        if _is_named(instance) != are_objects:
            expected, got = ("object", "list") if are_objects else ("value/list", "object")
            raise ValueError(f"Expecting {expected} but got {got} at item {index} of input list")
        named = instance if are_objects else {next(iter(dtypes)): instance}
        for name, value in named.items():
            try:
                if name not in dtypes:
                    raise ValueError(f"The model has no such input. {received(name)}")
                row = read_tensor(value, dtypes[name])
                _check_same_shape(rows[name], row)
            except ValueError as error:
                raise ValueError(f"instances[{index}]: {error}") from error
            rows[name].append(row)
        if are_objects and set(named) != set(dtypes):
            raise ValueError(f"instances[{index}]: the keys must be {', '.join(sorted(dtypes))}. {received(instance)}")
    return {name: np.stack(tensors) for name, tensors in rows.items()}


def _read_columns(inputs: Any, dtypes: Mapping[str, str]) -> dict[str, np.ndarray]:
    if not _is_named(inputs):
        if len(dtypes) > 1:
            raise ValueError(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        inputs = {next(iter(dtypes)): inputs}
    for name in dtypes:
        if name not in inputs:
            raise ValueError(f"Missing named input: {name} in 'inputs' object.")
    return {name: read_tensor(inputs[name], dtype) for name, dtype in dtypes.items()}


def _check_same_shape(rows: list[np.ndarray], row: np.ndarray) -> None:
    if not rows or row.shape == rows[0].shape:
        return
    if row.size != rows[0].size:
        raise ValueError(f"Expecting tensor size: {rows[0].size} but got: {row.size}")
    expected, got = (",".join(map(str, tensor.shape)) for tensor in (rows[0], row))
    raise ValueError(f"Expecting shape [{expected}] but got: [{got}]")


def _is_named(value: Any) -> bool:
    """Whether an instance names its inputs; {"b64": "..."} is one value."""
    return isinstance(value, dict) and not is_base64(value)


# --- writing ----------------------------------------------------------------------------------


def _values(name: str, output: np.ndarray) -> Any:
    """Nested lists of JSON values, or one value."""
    if output.dtype == object:
        return _map_leaves(output.tolist(), _base64_object if name.endswith("_bytes") else _text)
    if output.dtype.kind == "f":
        digits = 17 if output.dtype == np.float64 else 9
        return _map_leaves(output.tolist(), lambda number: _decimal(number, output.dtype.type, digits))
    return output.tolist()


def _map_leaves(value: Any, function) -> Any:
    return [_map_leaves(item, function) for item in value] if isinstance(value, list) else function(value)


def _text(encoded: bytes) -> str:
    return encoded.decode("utf-8", "replace")


def _base64_object(encoded: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(encoded).decode()}


def _decimal(number: float, scalar: type, digits: int) -> float:
    """The server writes six significant digits where they suffice, else as many as tell all floats apart."""
    if not math.isfinite(number):
        return number
    short = float(f"{number:.6g}")
    return short if scalar(short) == scalar(number) else float(f"{number:.{digits}g}")
