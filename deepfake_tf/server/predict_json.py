"""The JSON of `:predict`, both ways, as TensorFlow Serving reads and writes it.

The format: https://www.tensorflow.org/tfx/serving/api_rest#predict_api. Where that page is silent, the
messages and the order of the checks are those of the server itself.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from deepfake_tf.server.json_echo import echo, shorten
from deepfake_tf.server.json_tensors import is_base64, read_tensor

# Python's json and RapidJSON stop at the same character and word it differently.
_PARSE_ERRORS = {
    "Expecting value": "Invalid value.",
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Expecting ',' delimiter": "Missing a comma or } after an object member.",
    "Extra data": "The document root must not be followed by other values.",
    "Unterminated string starting at": "Missing a closing quotation mark in string.",
}
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
    if not body:
        raise ValueError("JSON Parse error: The document is empty")
    try:
        text = body.decode()  # by `json.loads` itself, halves of characters would pass, and UTF-16
        request = json.loads(text)
    except json.JSONDecodeError as error:
        rest = error.doc[error.pos : error.pos + 5]
        # The server's parser has eaten the letters that could have become one of these.
        offset = error.pos + max(_common_prefix(rest, word) for word in ("null", "true", "false"))
        message = _PARSE_ERRORS.get(error.msg, f"{error.msg}.")
        raise ValueError(f"JSON Parse error: {message} at offset: {offset}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"JSON Parse error: Invalid encoding in string. at offset: {error.start}") from error
    except RecursionError as error:
        raise ValueError("JSON Parse error: nested too deeply.") from error
    except ValueError as error:  # an integer of thousands of digits
        raise ValueError("JSON Parse error: Number too big to be stored in double.") from error
    if (lone := _lone_surrogate(text)) is not None:
        raise ValueError(f"JSON Parse error: The surrogate pair in string is invalid. at offset: {lone}")
    if not isinstance(request, dict):
        raise ValueError(f"JSON Value: {echo(request)} Is not object")
    if not isinstance(request.get("signature_name", ""), str):
        raise ValueError(
            f"JSON Value: {echo(request)} not formatted correctly. 'signature_name' key must be a string value."
        )
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
    if "instances" in request:
        if "inputs" in request:
            raise ValueError(
                f"JSON Value: {echo(request)} Not formatted correctly expecting only one of 'inputs' or "
                "'instances' keys to exist "
            )
        instances = request["instances"]
        if not isinstance(instances, list):
            raise ValueError(f"JSON Value: {echo(request)} Expecting 'instances' to be an list/array")
        if not instances:
            raise ValueError(f"JSON Value: {echo(request)} No values in 'instances' array")
        return _read_rows(instances, dtypes), True
    if "inputs" in request:
        return _read_columns(request["inputs"], dtypes), False
    raise ValueError("Missing 'inputs' or 'instances' key")


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
                    raise ValueError(f"JSON object: does not have named input: {shorten(name)}")
                row = read_tensor(value, dtypes[name])
                _check_same_shape(rows[name], row)
            except ValueError as error:
                key = f" key: {shorten(name)}" if are_objects else ""
                raise ValueError(
                    f"Failed to process element: {index}{key} of 'instances' list. Error: INVALID_ARGUMENT: {error}"
                ) from error
            rows[name].append(row)
        if are_objects and set(named) != set(dtypes):
            raise ValueError(
                f"Failed to process element: {index} of 'instances' list. JSON object: {echo(instance)} keys must "
                f"be equal to: {','.join(sorted(dtypes))}"
            )
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


def _common_prefix(first: str, second: str) -> int:
    """The number of characters with which both begin."""
    for index, (one, other) in enumerate(zip(first, second)):
        if one != other:
            return index
    return min(len(first), len(second))


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
