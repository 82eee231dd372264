"""The OpenAPI document, from the table of operations and the msgspec structs; nothing in it is written twice.

It is OpenAPI 3.0, which the Swagger UI that can be installed as a package reads.
"""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from tidemill import __version__
from tidemill.api.errors import OLLAMA_PREFIX, ErrorResponse, OllamaErrorResponse
from tidemill.api.operation import JSON, Operation, Reply

_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")
_EVERYWHERE = (403, 500)
_BEHIND_A_KEY = (401,)
_MEANINGS = {
    400: "A field is malformed, out of range, unknown or not supported; `param` names it",
    401: "An API key is needed, or the one sent is not valid",
    403: "A page of another site, or a foreign host name, while the server is bound to loopback",
    404: "No such model is served",
    413: "The body is over the server's cap",
    429: "The waiting queue is full; Retry-After says when to come back",
    500: "The engine failed on this request",
    503: "No model is ready; Retry-After says when to come back",
}
_NULL = {"type": "null"}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}}


def openapi_document(operations: Sequence[Operation], *, needs_key: bool) -> dict[str, Any]:
    """The document for `operations`; with `needs_key`, those that are not open carry the security scheme."""
    documented = [o for o in operations if o.is_documented]
    kinds = _kinds(documented)
    schemas, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    by_kind = dict(zip(kinds, (without_null_type(s) for s in schemas), strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in documented:
        path = _PARAMETER.sub(r"{\1}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _operation(operation, by_kind, needs_key)
    document: dict[str, Any] = {
        "openapi": "3.0.3",
        "info": {
            "title": "Tidemill",
            "version": __version__,
            "description": "Large language models on hardware you own. Null is absent everywhere; "
            "a field that is not described is refused by its name.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "paths": paths,
        "components": {"schemas": without_null_type(components)},
    }
    if needs_key:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return document


def without_null_type(schema: Any) -> Any:
    """A JSON schema in the words of OpenAPI 3.0, which has `nullable` in the place of a null type."""
    if isinstance(schema, list):
        return [without_null_type(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "null":
        # A field that is refused: only null may stand there.
        return {**_except(schema, "default"), "type": "string", "nullable": True, "enum": [None]}
    if None in schema.get("enum", ()):
        return {**schema, "type": "string", "nullable": True}
    if _NULL in schema.get("anyOf", ()):
        return _nullable(schema)
    return {key: without_null_type(value) for key, value in schema.items()}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    rest = _except(schema, "anyOf")
    members = [without_null_type(member) for member in schema["anyOf"] if member != _NULL]
    # `nullable` counts only beside a type, and an enumeration must have null among its values.
    if len(members) == 1 and "enum" in members[0]:
        values = [*members[0]["enum"], None]
        return {"type": "string", **members[0], **rest, "nullable": True, "enum": values}
    if len(members) == 1 and "type" in members[0]:
        return {**members[0], **rest, "nullable": True}
    return {**rest, "anyOf": [*members, {"type": "string", "nullable": True, "enum": [None]}]}


def _except(schema: dict[str, Any], left_out: str) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != left_out}


def _kinds(operations: Sequence[Operation]) -> list[Any]:
    kinds: dict[Any, None] = {ErrorResponse: None, OllamaErrorResponse: None}
    for operation in operations:
        if operation.request is not None:
            kinds[operation.request] = None
        for reply in operation.replies:
            kinds.update({kind: None for kind in reply.content.values() if kind is not None})
    return list(kinds)


def _operation(operation: Operation, by_kind: dict[Any, Any], needs_key: bool) -> dict[str, Any]:
    described: dict[str, Any] = {
        "summary": operation.summary,
        "tags": [operation.tag],
        "operationId": re.sub(r"\W+", "_", f"{operation.method.lower()}{operation.path}").strip("_"),
        "responses": _responses(operation, by_kind, needs_key),
    }
    if names := _PARAMETER.findall(operation.path):
        text = {"type": "string", "minLength": 1}
        described["parameters"] = [{"name": name, "in": "path", "required": True, "schema": text} for name in names]
    if operation.request is not None:
        content: dict[str, Any] = {"schema": by_kind[operation.request]}
        if operation.example is not None:
            content["example"] = operation.example
        described["requestBody"] = {"required": True, "content": {JSON: content}}
    if needs_key and not operation.is_open:
        described["security"] = [{"key": []}]
    return described


def _responses(operation: Operation, by_kind: dict[Any, Any], needs_key: bool) -> dict[str, Any]:
    responses = {str(reply.status): _reply(reply, by_kind) for reply in operation.replies}
    kind = OllamaErrorResponse if operation.path.startswith(OLLAMA_PREFIX) else ErrorResponse
    statuses = {*operation.errors, *_EVERYWHERE, *(_BEHIND_A_KEY if needs_key and not operation.is_open else ())}
    for status in sorted(statuses):
        described: dict[str, Any] = {"description": _MEANINGS[status], "content": {JSON: {"schema": by_kind[kind]}}}
        if status in (429, 503):
            described["headers"] = _RETRY_AFTER
        responses.setdefault(str(status), described)
    return responses


def _reply(reply: Reply, by_kind: dict[Any, Any]) -> dict[str, Any]:
    content = {
        media_type: {"schema": {"type": "string"} if kind is None else by_kind[kind]}
        for media_type, kind in reply.content.items()
    }
    return {"description": reply.description, "content": content}
