"""A route with all that its documentation needs: one table makes both the router and the OpenAPI document."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Endpoint = Callable[[Request], Awaitable[Response]]

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Reply:
    """A successful answer: what is in it, by media type; None stands for free text."""

    description: str
    content: dict[str, Any] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `path` is Starlette's notation; `example` is a request body that works."""

    method: str
    path: str
    summary: str
    tag: str
    endpoint: Endpoint
    replies: tuple[Reply, ...]
    request: type[msgspec.Struct] | None = None
    errors: tuple[int, ...] = ()
    is_open: bool = False
    is_documented: bool = True
    example: dict[str, Any] | None = None

    def route(self) -> Route:
        """The route of this operation."""
        return Route(self.path, self.endpoint, methods=[self.method], name=f"{self.method} {self.path}")
