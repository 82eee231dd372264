"""Errors of the tree as HTTP: status, headers, and the body each dialect expects. Nothing else decides a status."""

import math
from typing import TypeVar

import msgspec

from tidemill.core.errors import (
    AuthenticationError,
    ContextLengthError,
    EngineFailedError,
    ForbiddenError,
    KeyForbiddenError,
    KeyLimitError,
    MethodError,
    ModelNotFoundError,
    OverloadedError,
    PromiseRefusedError,
    PromiseUnkeepableError,
    RequestError,
    RequestTooLargeError,
    RouteNotFoundError,
    ServiceError,
    SlowReaderError,
    TidemillError,
    UnavailableError,
    UnsupportedFieldError,
)

OLLAMA_PREFIX = "/api/"


class BadHttpError(RequestError):
    """What arrived is not HTTP, not here in time, or has too large a head: refused below the application."""


_STATUS: dict[type[TidemillError], int] = {
    AuthenticationError: 401,
    ForbiddenError: 403,
    ModelNotFoundError: 404,
    RouteNotFoundError: 404,
    MethodError: 405,
    RequestTooLargeError: 413,
    RequestError: 400,
    OverloadedError: 429,
    UnavailableError: 503,
    ServiceError: 500,
    TidemillError: 500,
}

_CODE: dict[type[TidemillError], str] = {
    AuthenticationError: "invalid_api_key",
    KeyForbiddenError: "forbidden_for_key",
    ForbiddenError: "forbidden_origin",
    ModelNotFoundError: "model_not_found",
    RouteNotFoundError: "route_not_found",
    MethodError: "method_not_allowed",
    RequestTooLargeError: "request_too_large",
    BadHttpError: "bad_http_request",
    ContextLengthError: "context_length_exceeded",
    UnsupportedFieldError: "unsupported_field",
    RequestError: "invalid_value",
    KeyLimitError: "key_limit_exceeded",
    PromiseUnkeepableError: "promise_unkeepable",
    PromiseRefusedError: "promise_refused",
    OverloadedError: "rate_limit_exceeded",
    UnavailableError: "service_unavailable",
    EngineFailedError: "engine_failed",
    SlowReaderError: "slow_reader",
    TidemillError: "internal_error",
}

_TYPE = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}

_DEFAULT_RETRY_AFTER_SECONDS = 1.0


class ErrorDetail(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong: a sentence, a class, the field at fault if there is one, and a stable code."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(msgspec.Struct, frozen=True, kw_only=True):
    """An error as OpenAI's clients read it."""

    error: ErrorDetail


class OllamaErrorResponse(msgspec.Struct, frozen=True, kw_only=True):
    """An error as Ollama's clients read it."""

    error: str


class InternalError(TidemillError):
    """A defect of this server: the client learns that there was one, the log says which."""

    def __init__(self) -> None:
        super().__init__("The server failed on this request.", next_step="The server's log has the details.")


T = TypeVar("T")


def _lookup(table: dict[type[TidemillError], T], error: TidemillError) -> T:
    for kind in type(error).__mro__:
        if kind in table:
            return table[kind]
    raise AssertionError(error)


def status_of(error: TidemillError) -> int:
    """The HTTP status of `error`."""
    return _lookup(_STATUS, error)


def headers_of(error: TidemillError) -> dict[str, str]:
    """Headers that go with `error`: when to come back, how to authenticate, whether the connection ends."""
    match error:
        case PromiseUnkeepableError():
            return {"x-should-retry": "false"}  # the official clients ask again after any other 429
        case OverloadedError() | UnavailableError():
            return _retry_after(error.retry_after_seconds or _DEFAULT_RETRY_AFTER_SECONDS)
        case ServiceError() if error.retry_after_seconds is not None:
            return _retry_after(error.retry_after_seconds)
        case AuthenticationError():
            return {"www-authenticate": 'Bearer realm="tidemill"'}
        case RequestTooLargeError():
            return {"connection": "close"}
    return {}


def _retry_after(seconds: float) -> dict[str, str]:
    return {"retry-after": str(max(1, math.ceil(seconds)))}


def openai_error(error: TidemillError) -> ErrorResponse:
    """`error` in OpenAI's shape."""
    kind = _TYPE.get(status_of(error), "invalid_request_error")
    param = error.param if isinstance(error, RequestError) else None
    return ErrorResponse(error=ErrorDetail(message=str(error), type=kind, param=param, code=_lookup(_CODE, error)))


def ollama_error(error: TidemillError) -> OllamaErrorResponse:
    """`error` in Ollama's shape."""
    return OllamaErrorResponse(error=str(error))


def error_body(error: TidemillError, path: str) -> bytes:
    """The body of `error` in the dialect that `path` belongs to."""
    shaped = ollama_error(error) if path.startswith(OLLAMA_PREFIX) else openai_error(error)
    return msgspec.json.encode(shaped)
