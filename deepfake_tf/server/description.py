"""The page that describes the gateway, out of its OpenAPI description. It loads nothing from anywhere else."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any

_STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "th,td{text-align:left;vertical-align:top;padding:.2rem 1rem .2rem 0}"
)


def describe(openapi: dict[str, Any]) -> str:
    """An HTML page.

    Args:
        openapi: dict. OpenAPI 3.1, with the schemas under `components`.
    """
    title = html.escape(f"{openapi['info']['title']} {openapi['info']['version']}")
    parts = [f"<h1>{title}</h1><p>{html.escape(openapi['info'].get('description', ''))}</p>"]
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            parts += _describe_operation(f"{method.upper()} {path}", operation)
    for name, schema in openapi["components"]["schemas"].items():
        rows = ((field, _type_of(value), value.get("description", "")) for field, value in schema["properties"].items())
        parts.append(f"<h2>{html.escape(name)}</h2><p>{html.escape(schema.get('description', ''))}</p>{_table(rows)}")
    parts.append('<p>For programs: <a href="openapi.json">openapi.json</a></p>')
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    return f'<!DOCTYPE html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>'


def _describe_operation(name: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"<h2><code>{html.escape(name)}</code></h2><p>{html.escape(operation.get('summary', ''))}</p>"
    rows = [
        (f"{parameter['in']} {parameter['name']}", _type_of(parameter["schema"]), parameter.get("description", ""))
        for parameter in operation.get("parameters", ())
    ]
    rows += [("body", media_type, "") for media_type in operation.get("requestBody", {}).get("content", ())]
    yield _table(rows)
    answers = operation["responses"].items()
    yield _table((status, _schema_of(answer), answer.get("description", "")) for status, answer in answers)


def _schema_of(answer: dict[str, Any]) -> str:
    return ", ".join(_type_of(content.get("schema", {})) for content in answer.get("content", {}).values())


def _type_of(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(map(_type_of, schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if "items" in schema:
        return f"array of {_type_of(schema['items'])}"
    return schema.get("type", "")


def _table(rows: Any) -> str:
    cells = ("".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) for row in rows)
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"
