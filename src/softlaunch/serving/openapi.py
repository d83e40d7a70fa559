"""
What a model takes and answers, as an OpenAPI 3.1 document and as a page for people, made from its signature.

    GET /openapi.json   for tools: client generators, gateways, API catalogues
    GET /docs           the same as a page that needs nothing from elsewhere

Both are made when they are first asked for. Schemas say what the server enforces, no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import softlaunch
from softlaunch.core import predictions, release
from softlaunch.serving import openapi_page, readiness, replies

_TYPES: Mapping[release.Datatype, Mapping[str, Any]] = {
    release.Datatype.BOOL: {"type": "boolean"},
    release.Datatype.INT64: {"type": "integer", "format": "int64"},
    release.Datatype.FP32: {"type": "number", "format": "float"},
    release.Datatype.FP64: {"type": "number", "format": "double"},
    release.Datatype.BYTES: {"type": "string"},
}
_TEXT: Mapping[str, Any] = {"type": "string"}
_EXAMPLE_ROWS_MAX = 2
_REFUSALS: Mapping[str, str] = {
    "400": "The body cannot be read.",
    "413": "The body is too large, or has too many rows.",
    "422": "A row is not what the model takes; the answer names row and column.",
    "500": "The model raised, or its answer is invalid.",
    "503": "The model is not ready, or busy: Retry-After says when to come again.",
}


class Pages:
    """
    Args:
        service: The model's name.
        version: DIGEST12.
    """

    def __init__(self, *, service: str, version: str) -> None:
        self._service = service
        self._version = version
        self._made: dict[str, replies.Reply] = {}

    def reply(self, path: str, method: str, loaded: readiness.Loaded | None) -> replies.Reply | None:
        """The reply to a request; None when it is not for one of the pages."""
        if path not in ("/openapi.json", "/docs"):
            return None
        if method not in ("GET", "HEAD"):
            return replies.wrong_method(method, "GET")
        if loaded is None:
            return replies.not_ready()
        if path not in self._made:
            found = document(self._service, self._version, loaded)
            if path == "/docs":
                html = openapi_page.page(self._service, self._version, loaded, example(loaded))
                self._made[path] = replies.Reply(200, html.encode(), (("content-type", "text/html; charset=utf-8"),))
            else:
                self._made[path] = replies.document(200, found)
        return self._made[path]


def example(loaded: readiness.Loaded) -> list[dict[str, Any]]:
    """Rows to try, by feature name: some the model has answered, or else made up; empty only without features."""
    inputs = loaded.declared.inputs
    rows = [dict(zip((found.name for found in inputs), row, strict=True)) for row in loaded.examples]
    if not rows:
        rows = [{found.name: _made_up(found) for found in inputs}]
    keys = {name: "123" for name in loaded.keys if name not in rows[0]}
    return [{**row, **keys} for row in rows[:_EXAMPLE_ROWS_MAX]]


def document(service: str, version: str, loaded: readiness.Loaded) -> dict[str, Any]:
    """The OpenAPI document of one loaded model."""
    model = f"/v2/models/{service}"
    return {
        "openapi": "3.1.0",
        "info": {
            "title": service,
            "version": version,
            "description": f"Predictions of {service}, release {version}, served by softlaunch "
            f"{softlaunch.__version__}.",
        },
        # Relative to this document: right behind any gateway and below any prefix.
        "servers": [{"url": "."}],
        "tags": [
            {"name": "rows", "description": "Rows as JSON, by feature name."},
            {"name": "v2", "description": "The Open Inference Protocol (KServe V2)."},
        ],
        "paths": {
            "/predict": {"post": _predict(loaded)},
            f"{model}/infer": {"post": _infer(service, loaded)},
            f"{model}/versions/{version}/infer": {"post": {**_infer(service, loaded), "operationId": "inferVersion"}},
            "/v2": {"get": _get("serverMetadata", "Name, version and extensions of the server", "ServerMetadata")},
            "/v2/health/live": {"get": _get("live", "Whether the process answers", "Health")},
            "/v2/health/ready": {"get": _get("ready", "Whether predictions are answered", "Health", or_not="Health")},
            model: {"get": _get("modelMetadata", "Tensors of the model", "ModelMetadata", or_not="Refusal")},
            f"{model}/ready": {"get": _get("modelReady", "Whether the model answers", "Health", or_not="Health")},
        },
        "components": {"schemas": _schemas(loaded)},
    }


def _predict(loaded: readiness.Loaded) -> dict[str, Any]:
    rows = example(loaded)
    return {
        "operationId": "predict",
        "tags": ["rows"],
        "summary": "Predict rows",
        "description": "One row, a list of rows, or rows in an object; the answer has one prediction for each.",
        "requestBody": _json_body(
            {"oneOf": [_ref("Row"), {"type": "array", "items": _ref("Row"), "minItems": 1}, _ref("Rows")]},
            one={"summary": "One row", "value": rows[0]},
            several={"summary": "Several rows", "value": {"rows": rows}},
        ),
        "responses": {
            "200": _content("The predictions.", {"oneOf": [_ref("Predicted"), _ref("PredictedRows")]}),
            **_refused(),
        },
    }


def _infer(service: str, loaded: readiness.Loaded) -> dict[str, Any]:
    inputs = loaded.declared.inputs
    rows = example(loaded)
    tensors = [
        {
            "name": found.name,
            "shape": [len(rows)],
            "datatype": found.datatype.value,
            "data": [row[found.name] for row in rows],
        }
        for found in inputs
    ]
    return {
        "operationId": "infer",
        "tags": ["v2"],
        "summary": f"Infer with {service}",
        "description": "One tensor per feature, or one of shape [N, F] holding all features in order. With the header "
        "Inference-Header-Content-Length the JSON document is followed by binary tensor data.",
        "parameters": [
            {
                "name": "Inference-Header-Content-Length",
                "in": "header",
                "required": False,
                "description": "Length of the JSON document, when binary tensor data follows it.",
                "schema": {"type": "integer", "minimum": 0},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": _ref("InferRequest"), "example": {"inputs": tensors}},
                "application/octet-stream": {},
            },
        },
        "responses": {
            "200": {
                "description": "The outputs asked for, or all of them.",
                "content": {"application/json": {"schema": _ref("InferResponse")}, "application/octet-stream": {}},
            },
            **_refused(),
        },
    }


def _get(operation: str, summary: str, schema: str, *, or_not: str | None = None) -> dict[str, Any]:
    responses = {"200": _content(f"{summary}.", _ref(schema))}
    if or_not is not None:
        responses["503"] = _content("Not ready.", _ref(or_not))
    return {"operationId": operation, "tags": ["v2"], "summary": summary, "responses": responses}


def _schemas(loaded: readiness.Loaded) -> dict[str, Any]:
    features, outputs = loaded.signature.inputs, loaded.declared.outputs
    row = _object({found.name: _column(found) for found in features}, [f.name for f in features if not f.nullable])
    keys = {
        name: {"type": ["string", "integer"], "description": "Recorded; the model does not see it."}
        for name in loaded.keys
    }
    row["properties"] = keys | row["properties"]
    prediction = _object({found.name: _column(found) for found in outputs}, [found.name for found in outputs])
    answered_by = {"type": ["string", "null"], "description": "The release that answered; null: a fallback."}
    return {
        "Row": row,
        "Rows": _object({"rows": {"type": "array", "items": _ref("Row"), "minItems": 1}, **keys}, ["rows"]),
        "Prediction": prediction,
        "Predicted": _object({"prediction": _ref("Prediction"), "release": answered_by}, ["prediction", "release"]),
        "PredictedRows": _object(
            {"predictions": {"type": "array", "items": _ref("Prediction")}, "release": answered_by},
            ["predictions", "release"],
        ),
        "Refusal": {
            "type": "object",
            "required": ["error"],
            "properties": {
                "error": _TEXT,
                "remedy": _TEXT,
                "code": _TEXT,
                "row": {"type": ["integer", "null"]},
                "column": {"type": ["string", "null"]},
                "output": _TEXT,
            },
        },
        **_protocol_schemas([found.name for found in outputs], keys),
    }


def _protocol_schemas(outputs: Sequence[str], keys: Mapping[str, Any]) -> dict[str, Any]:
    """Of the Open Inference Protocol; its objects may have further members."""
    text = _TEXT
    tensors = {"type": "array", "items": _ref("Tensor"), "minItems": 1}
    columns = {"type": "array", "items": _ref("TensorMetadata")}
    return {
        "Tensor": {
            "type": "object",
            "required": ["name", "shape", "datatype"],
            "properties": {
                "name": text,
                "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": 2},
                "datatype": text,
                "parameters": {"type": "object"},
                "data": {"type": "array"},
            },
        },
        "InferRequest": {
            "type": "object",
            "required": ["inputs"],
            "properties": {
                "id": text,
                "parameters": {"type": "object", "properties": {"binary_data_output": {"type": "boolean"}, **keys}},
                "inputs": tensors,
                "outputs": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {
                            "name": {"enum": outputs},
                            "parameters": {"type": "object", "properties": {"binary_data": {"type": "boolean"}}},
                        },
                    },
                },
            },
        },
        "InferResponse": {
            "type": "object",
            "required": ["model_name", "outputs"],
            "properties": {"model_name": text, "model_version": text, "id": text, "outputs": tensors},
        },
        "TensorMetadata": _object(
            {"name": text, "datatype": text, "shape": {"type": "array", "items": {"type": "integer"}}},
            ["name", "datatype", "shape"],
        ),
        "ModelMetadata": _object(
            {
                "name": text,
                "versions": {"type": "array", "items": text},
                "platform": text,
                "inputs": columns,
                "outputs": columns,
            },
            ["name", "platform", "inputs", "outputs"],
        ),
        "ServerMetadata": _object(
            {"name": text, "version": text, "extensions": {"type": "array", "items": text}},
            ["name", "version", "extensions"],
        ),
        "Health": {"type": "object", "properties": {"live": {"type": "boolean"}, "ready": {"type": "boolean"}}},
    }


def _column(found: release.Column) -> dict[str, Any]:
    schema: dict[str, Any] = dict(_TYPES[found.datatype])
    if found.nullable:
        schema["type"] = [schema["type"], "null"]
    if found.datatype is not release.Datatype.BYTES:
        if found.minimum is not None:
            schema["minimum"] = found.minimum
        if found.maximum is not None:
            schema["maximum"] = found.maximum
    if found.datatype is release.Datatype.FP32 and found.minimum is None and found.maximum is None:
        schema |= {"minimum": -predictions.FLOAT32_MAX, "maximum": predictions.FLOAT32_MAX}
    return schema


def _made_up(found: release.Column) -> Any:
    match found.datatype:
        case release.Datatype.BOOL:
            return True
        case release.Datatype.BYTES:
            return "text"
        case release.Datatype.INT64:
            return 1
        case _:
            return 1.0


def _object(properties: dict[str, Any], required: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**found, "required": list(required)} if required else found


def _refused() -> dict[str, Any]:
    return {status: _content(said, _ref("Refusal")) for status, said in _REFUSALS.items()}


def _json_body(schema: dict[str, Any], **examples: Any) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema, "examples": examples}}}


def _content(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}
