"""OpenAPI 3.1 of the HTTP port, made of the protos: their messages are its schemas and their comments its descriptions."""

import json
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from serving.http.routes import IMAGE_TYPES, Route

COMMENTS: Final[dict[str, str]] = json.loads(
    resources.files("beamstep.v1").joinpath("comments.json").read_text("utf-8")
)
"""Comments of the protos by the full name of what they stand at; `make protos` writes them."""
Schema = dict[str, Any]
INT32: Final[Schema] = {"type": "integer", "format": "int32", "minimum": -(2**31), "maximum": 2**31 - 1}
SCALARS: Final[dict[int, Schema]] = {
    FieldDescriptor.TYPE_INT32: INT32,
    FieldDescriptor.TYPE_INT64: {"type": "string", "format": "int64", "pattern": "^-?[0-9]{1,19}$"},
    FieldDescriptor.TYPE_DOUBLE: {"type": "number"},
    FieldDescriptor.TYPE_FLOAT: {"type": "number"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
}
STATUS: Final[Schema] = {
    "type": "object",
    "description": "What went wrong: google.rpc.Status.",
    "properties": {
        "code": {"type": "integer", "description": "The gRPC code, for example 3 for INVALID_ARGUMENT."},
        "message": {"type": "string", "description": "For people."},
        "details": {
            "type": "array",
            "description": "Details such as google.rpc.BadRequest, which names fields, and google.rpc.RetryInfo.",
            "items": {"type": "object"},
        },
    },
    "required": ["code", "message", "details"],
    "additionalProperties": False,
}
REQUEST_HEADERS: Final = {
    "X-Timeout": ("The call's deadline in seconds from now, above 0 and up to 86400.", {"type": "number"}),
    "X-Request-Id": ("Names the call in logs; up to 128 characters.", {"type": "string"}),
}
FAILURES: Final = {
    "400": "A field or a header is at fault; `message` and `details` name it.",
    "401": "A token is asked for, and none or a wrong one was given.",
    "403": "The token does not allow this call.",
    "404": "There is no such model.",
    "408": "The body did not come in time.",
    "413": "The body is over the limit on messages.",
    "415": "The body is of a type that is not taken.",
    "429": "The queue or a quota is full; Retry-After says when to try again, where that is known.",
    "431": "Too many headers to hand on.",
    "500": "A fault of the server; its log says more.",
    "503": "The server is starting or stopping.",
    "504": "The deadline has passed or cannot be met.",
}


def describe(routes: Sequence[Route]) -> dict[str, Any]:
    """Return the description of a server that offers these calls."""
    paths: dict[str, dict[str, Any]] = _own_paths()
    for route in routes:
        paths.setdefault(route.path, {})[route.verb.lower()] = _operation(route)
    types = {kind.full_name: kind for route in routes for kind in _types(route)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Beamstep",
            "version": "1",
            "description": "The unary calls and streams of Beamstep's gRPC services in the proto3 JSON mapping. Names may be "
            "given in snake_case, as here, or in lowerCamelCase; answers have snake_case.",
        },
        "paths": paths,
        "components": {
            "schemas": {"google.rpc.Status": STATUS, **{name: _schema(kind) for name, kind in sorted(types.items())}}
        },
    }


def _own_paths() -> dict[str, dict[str, Any]]:
    """Return what is there beside the calls."""
    health: Schema = {"type": "object", "properties": {"alive": {"type": "boolean"}, "engine": {"type": "string"}}}
    health |= {"required": ["alive", "engine"], "additionalProperties": False}
    words = {"type": "object", "additionalProperties": {"enum": ["serving", "not serving"]}}
    ready = {
        "type": "object",
        "properties": {
            "ready": {"type": "boolean"},
            "state": {"enum": ["loading", "serving", "stopping"]},
            "services": words,
        },
        "required": ["ready", "state", "services"],
        "additionalProperties": False,
    }
    service = _parameter("service", "query", "Asks for one service, such as translation.", {"type": "string"})
    missing = _failure("There is no such service.")
    return {
        "/healthz": _get("Says whether the process lives.", {"200": _json(health), "503": _json(health)}),
        "/readyz": _get(
            "Says whether the server serves, and what does not.",
            {"200": _json(ready), "503": _json(ready), "404": missing},
            [service],
        ),
        "/metrics": _get(
            "Gives all figures in Prometheus' format.",
            {
                "200": {"description": "The figures.", "content": {"text/plain": {"schema": {"type": "string"}}}},
                "404": _failure("This server keeps none."),
            },
        ),
        "/openapi.json": _get("Gives this description.", {"200": _json({"type": "object"})}),
        "/docs": _get(
            "Gives this description as a page.",
            {"200": {"description": "The page.", "content": {"text/html": {"schema": {"type": "string"}}}}},
        ),
    }


def _get(summary: str, responses: dict[str, Any], parameters: Sequence[Any] = ()) -> dict[str, Any]:
    return {"get": {"summary": summary, "tags": ["server"], "parameters": list(parameters), "responses": responses}}


def _json(schema: Schema, description: str = "The answer.") -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _failure(description: str) -> dict[str, Any]:
    return _json({"$ref": "#/components/schemas/google.rpc.Status"}, description)


def _parameter(name: str, place: str, description: str, schema: Schema) -> dict[str, Any]:
    return {"name": name, "in": place, "description": description, "schema": schema, "required": place == "path"}


def _operation(route: Route) -> dict[str, Any]:
    method = route.method
    fields = method.input_type.fields_by_name
    parameters = [_parameter(name, "header", *what) for name, what in REQUEST_HEADERS.items()]
    for place, names in (("path", route.path_fields), ("query", route.query_fields)):
        parameters += [
            _parameter(name, place, COMMENTS.get(fields[name].full_name, ""), {"type": "string"}) for name in names
        ]
    kind = "text/event-stream" if route.streams else "application/json"
    answer: Schema = {"$ref": _reference(method.output_type)}
    if route.streams:
        answer = {"type": "string", "description": f"Events whose data is a {method.output_type.full_name} each."}
    headers = {"x-request-id": {"description": "The call's name.", "schema": {"type": "string"}}}
    success = {"description": "The answer.", "headers": headers, "content": {kind: {"schema": answer}}}
    comment = COMMENTS.get(method.full_name, "")
    operation = {
        "operationId": method.full_name.removeprefix("beamstep.v1."),
        "summary": comment.split(". ")[0].rstrip(".") + ".",
        "description": comment,
        "tags": [route.offered_by or "models"],
        "parameters": parameters,
        "responses": {"200": success, **{http: _failure(said) for http, said in FAILURES.items()}},
    }
    if route.verb == "POST":
        content: dict[str, Any] = {"application/json": {"schema": {"$ref": _reference(method.input_type)}}}
        if route.takes_image:
            content |= {image: {"schema": {"type": "string", "format": "binary"}} for image in IMAGE_TYPES}
            parameters += [
                _parameter(name, "query", f"With an image as the body: {said}", {"type": "string"})
                for name, said in (
                    ("options", "a DecodingOptions as JSON."),
                    ("model", "the bundle to use."),
                    ("model_version", "the bundle's version."),
                )
            ]
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _types(route: Route) -> Iterator[Descriptor | EnumDescriptor]:
    """Return every message and enum that a route's messages are made of."""
    waiting: list[Descriptor] = [route.method.input_type, route.method.output_type]
    seen: set[str] = set()
    while waiting:
        message = waiting.pop()
        if message.full_name in seen or message.full_name.startswith("google."):
            continue
        seen.add(message.full_name)
        yield message
        for field in message.fields:
            if field.message_type is not None:
                waiting.append(field.message_type)
            elif field.enum_type is not None:
                yield field.enum_type


def _schema(kind: Descriptor | EnumDescriptor) -> Schema:
    comment = COMMENTS.get(kind.full_name, "")
    if isinstance(kind, Descriptor):
        properties = {field.name: _field(field) for field in kind.fields}
        return {"type": "object", "description": comment, "properties": properties, "additionalProperties": False}
    lines = [f"{value.name}: {COMMENTS.get(_value_name(kind, value.name), '')}" for value in kind.values]
    return {"type": "string", "description": "\n".join([comment, "", *lines]), "enum": [v.name for v in kind.values]}


def _value_name(kind: EnumDescriptor, value: str) -> str:
    return f"{kind.full_name}.{value}"


def _field(field: FieldDescriptor) -> Schema:
    comment = COMMENTS.get(field.full_name, "")
    one = _one(field)
    if field.is_repeated:
        return {"type": "array", "description": comment, "items": one}
    return one | {"description": comment}


def _one(field: FieldDescriptor) -> Schema:
    if field.message_type is not None:
        if field.message_type.full_name == "google.protobuf.Duration":
            return {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"}
        return {"$ref": _reference(field.message_type)}
    if field.enum_type is not None:
        return {"$ref": _reference(field.enum_type)}
    return SCALARS[field.type]


def _reference(kind: Descriptor | EnumDescriptor) -> str:
    return f"#/components/schemas/{kind.full_name}"
