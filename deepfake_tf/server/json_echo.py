"""JSON values in error messages, laid out as TensorFlow Serving's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

_MAX_CHARACTERS = 512  # after so many, no further token
_MAX_STRING = 1024  # characters of one string


def echo(value: Any) -> str:
    """A value as the server shows it in a message: arrays on one line, objects on several, not too much of it."""
    text = ""
    for token in _tokens(value, 1):
        if len(text) > _MAX_CHARACTERS:
            break
        text += token
    return text


def shorten(text: str) -> str:
    """The beginning of a name out of a request, which may be as long as a request."""
    return text[:_MAX_STRING]


def _tokens(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for index, (key, item) in enumerate(value.items()):
            name = json.dumps(shorten(key), ensure_ascii=False)
            yield ("{" if index == 0 else ",") + "\n" + "    " * depth + name + ": "
            yield from _tokens(item, depth + 1)
        yield "\n" + "    " * (depth - 1) + "}"
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield "[" if index == 0 else ", "
            yield from _tokens(item, depth + 1)
        yield "]"
    elif isinstance(value, str):
        yield json.dumps(shorten(value), ensure_ascii=False)
    else:
        yield json.dumps(value)
