"""The OpenAPI document of a served model, and a page of it that needs no network."""

import html
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from sapflow.release import RELEASE
from sapflow.serving.input_columns import InputColumn
from sapflow.serving.server import Server

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["reason", "message", "retryable"],
            "properties": {
                "reason": {"type": "string"},
                "message": {"type": "string"},
                "retryable": {"type": "boolean"},
                "rows": {"type": "array", "items": {"type": "object"}},
            },
        }
    },
}
_ERROR_V2 = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
_STATUSES = {
    "400": "The request has not the form of one.",
    "401": "It lacks the bearer token.",
    "404": "There is no such model or version.",
    "405": "Another method is meant.",
    "413": "It is larger than the limits allow.",
    "415": "It is of another type or encoding.",
    "422": "Columns or rows cannot be used; the message names them.",
    "429": "Too many requests wait already.",
    "503": "The model is not ready, or time is up; send it again.",
}


def document(server: Server) -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    name = server.identity.name
    model = f"/v2/models/{name}"
    paths: dict[str, Any] = {
        "/predict": {"post": _predict(server)},
        "/v2": {"get": _get("What this server is.")},
        "/v2/health/live": {"get": _get("Whether the process runs.")},
        "/v2/health/ready": {
            "get": _get("Whether the model answers, its golden rows as in training.", "503")
        },
        "/metrics": {"get": {"summary": "Metrics for Prometheus.", "responses": _text()}},
    }
    for each in (model, f"{model}/versions/{server.identity.version}"):
        paths |= {
            each: {"get": _get("What the model takes and gives.")},
            f"{each}/ready": {"get": _get("Whether the model answers.", "503")},
            f"{each}/config": {"get": _get("The model's configuration.")},
            f"{each}/infer": {"post": _infer()},
        }
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": name,
            "version": server.identity.version,
            "description": f"Served by Sapflow {RELEASE}.",
        },
        "paths": paths,
    }
    if server.token is not None:
        found["components"] = {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}}
        found["security"] = [{"token": []}]
    return found


def _predict(server: Server) -> dict[str, Any]:
    table = server.model.table
    row: dict[str, Any]
    if table.named:
        row = {
            "type": "object",
            "properties": {each.name: _schema(each) for each in table.columns},
        }
    else:
        row = _schema(table.columns[0])
    rows = {"type": "array", "items": row, "minItems": 1, "maxItems": server.limits.rows}
    body = {"type": "object", "required": ["rows"], "properties": {"rows": rows}}
    decisions = {"type": "array", "items": {"type": "object"}}
    answer = {
        "type": "object",
        "required": ["model", "version", "decisions"],
        "properties": {"model": {"type": "string"}, "version": {"type": "string"}, "decisions": decisions},
    }
    return {
        "summary": "Decisions on raw rows, in their order.",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": body, "example": example(server)},
                "text/csv": {"schema": {"type": "string"}},
            },
        },
        "responses": _answers(answer, _ERROR),
    }


def _infer() -> dict[str, Any]:
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "datatype": {"type": "string"},
            "parameters": {"type": "object"},
            "data": {"type": "array"},
        },
    }
    body = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "parameters": {"type": "object"},
            "inputs": {"type": "array", "items": tensor, "minItems": 1},
            "outputs": {"type": "array", "items": {"type": "object"}},
        },
    }
    answer = {
        "type": "object",
        "required": ["model_name", "outputs"],
        "properties": {"model_name": {"type": "string"}, "outputs": {"type": "array", "items": tensor}},
    }
    return {
        "summary": "The same in the Open Inference Protocol: a tensor for each column.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": _answers(answer, _ERROR_V2),
    }


def _get(summary: str, *statuses: str) -> dict[str, Any]:
    responses = {
        "200": {"description": "It is told.", "content": {"application/json": {"schema": {"type": "object"}}}}
    }
    told = {each: {"description": _STATUSES[each]} for each in ("401", *statuses)}
    return {"summary": summary, "responses": {**responses, **told}}


def _text() -> dict[str, Any]:
    return {"200": {"description": "It is told.", "content": {"text/plain": {"schema": {"type": "string"}}}}}


def _answers(answer: Mapping[str, Any], error: Mapping[str, Any]) -> dict[str, Any]:
    failed = {"application/json": {"schema": error}}
    return {
        "200": {"description": "The answer.", "content": {"application/json": {"schema": answer}}},
        **{status: {"description": words, "content": failed} for status, words in _STATUSES.items()},
    }


def _schema(column: InputColumn) -> dict[str, Any]:
    if len(column.shape) == 1:
        (count,) = column.shape
        items = {"type": ["number", "null"]}
        return {"type": ["array", "null"], "minItems": count, "maxItems": count, "items": items}
    if column.shape:
        return {"type": ["array", "null"], "description": f"{' × '.join(map(str, column.shape))} numbers."}
    if column.kind == "Number":
        return {"type": ["number", "null"]}
    described = {
        "Text": "",
        "Time": "ISO 8601, in UTC if it names no zone.",
        "Image": "A file's bytes in base64.",
    }
    return {"type": ["string", "null"], "description": described[column.kind]}


def example(server: Server) -> dict[str, Any]:
    """A body of `POST /predict`: a row with the columns that are needed, and values like those of training where these
    are known."""
    table = server.model.table
    if not table.named:
        return {"rows": [_value(table.columns[0])]}
    return {"rows": [{each.name: _value(each) for each in table.columns if each.needed}]}


def _value(column: InputColumn) -> object:
    if column.shape:
        return np.zeros(column.shape, np.int64).tolist()
    if column.kind == "Number":
        middle = (column.least + column.most) / 2
        return float(f"{middle:.3g}") if math.isfinite(middle) else 0
    return {"Text": min(column.seen or ("text",)), "Time": "2026-01-01T00:00:00Z", "Image": None}[column.kind]


def page(server: Server) -> str:
    """The document as a page."""
    found = document(server)
    rows = "".join(
        f"<tr><td>{method.upper()}</td><td><code>{html.escape(path)}</code></td><td>{html.escape(each['summary'])}</td></tr>"
        for path, methods in found["paths"].items()
        for method, each in methods.items()
    )
    columns = "".join(
        f"<tr><td><code>{html.escape(each.name)}</code></td><td>{each.kind}</td>"
        f"<td>{'needed' if each.needed else 'may be left out'}</td></tr>"
        for each in server.model.table.columns
    )
    title = html.escape(f"{server.identity.name}, version {server.identity.version}")
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
        "<style>body{font:16px system-ui;margin:2rem auto;max-width:60rem}td{padding:.2rem 1rem .2rem 0}</style>"
        f"<h1>{title}</h1><table>{rows}</table><h2>Columns</h2><table>{columns}</table>"
        f"<h2>A request</h2><pre>{html.escape(json.dumps(example(server)))}</pre>"
        "<p>The OpenAPI document is at <a href=/openapi.json>/openapi.json</a>.</p></html>"
    )
