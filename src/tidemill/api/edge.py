"""The outermost layer: request ids, the guards, errors as responses, and one access log line a request."""

import logging
import re
from collections.abc import Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidemill.api.errors import BadHttpError, InternalError, error_body, headers_of, status_of
from tidemill.api.exchange import ClientDisconnectedError
from tidemill.api.keys import ApiKeys
from tidemill.api.origin import OriginGuard
from tidemill.api.service import RequestFacts, Service
from tidemill.core.errors import InvalidRequestError, MethodError, RouteNotFoundError, TidemillError
from tidemill.core.objectives import Objectives

log = logging.getLogger(__name__)
access_log = logging.getLogger("tidemill.access")

FACTS = "tidemill.facts"
OnRefusal = Callable[[str, Objectives | None], None]
_SANE_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_PROBES = ("/live", "/ready", "/health")
_CLIENT_GONE = 499
"""nginx's status for a client that left before its answer; only the log ever sees it."""


def facts_of(scope: MutableMapping[str, Any]) -> RequestFacts:
    """The facts of the request that `scope` belongs to."""
    facts = scope[FACTS]
    assert isinstance(facts, RequestFacts)
    return facts


class Edge:
    """Wraps the router. Paths in `open_paths`, and below those that end in '/', need no API key.

    `on_refusal` is told the class of the error of every request that the engine never took, and what its answer was to
    keep, or None if it asked for no tokens; `on_end`, of every one that it took and whose client stayed, the class of
    the error that it ended with, or None.
    """

    def __init__(
        self,
        router: ASGIApp,
        service: Service,
        *,
        keys: ApiKeys,
        guard: OriginGuard,
        open_paths: frozenset[str],
        on_refusal: OnRefusal,
        on_end: Callable[[str | None], None],
    ) -> None:
        self._router = router
        self._service = service
        self._keys = keys
        self._guard = guard
        self._open_paths = open_paths
        self._on_refusal = on_refusal
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request; other kinds of ASGI scope are not served."""
        assert scope["type"] == "http", scope["type"]
        started = self._service.clock()
        headers = Headers(scope=scope)
        # Early clients write a slash behind the route, and not all of them follow a redirect with a body.
        scope["path"] = scope["path"].removesuffix("/") or "/"
        facts = self._begin(scope, headers)
        scope["app"] = self
        reply = _Reply(send, facts.request_id)
        try:
            await self._serve(scope, headers, receive, reply)
        finally:
            if facts.num_prompt_tokens is not None and not facts.disconnected:
                self._on_end(facts.error)
            status = facts.refused_status or (_CLIENT_GONE if facts.disconnected else reply.status)
            self._log(scope, facts, status, self._service.clock() - started)

    def refused_below(self, error: BadHttpError, status: int, scope: Scope | None, client: str | None) -> str:
        """A request is refused before all of it was here; the request id for the answer.

        `scope` is that of a request which this application serves, or is about to: its one log line is written then.
        """
        name = type(error).__name__
        if scope is not None:
            facts = self._begin(scope, Headers(scope=scope))
            self._on_refusal(name, facts.asked)
            facts.refused_status, facts.error = status, name
            return facts.request_id
        self._on_refusal(name, None)
        request_id = self._service.new_id()
        fields = {"status": status, "client": client, "request_id": request_id, "error": name}
        access_log.info("request", extra={"fields": {k: v for k, v in fields.items() if v is not None}})
        return request_id

    def _begin(self, scope: Scope, headers: Headers) -> RequestFacts:
        return scope.setdefault(FACTS, RequestFacts(self._request_id(headers)))  # type: ignore[no-any-return]

    def _request_id(self, headers: Headers) -> str:
        given = headers.get("x-request-id", "")
        return given if _SANE_ID.fullmatch(given) else self._service.new_id()

    async def _serve(self, scope: Scope, headers: Headers, receive: Receive, reply: "_Reply") -> None:
        facts = facts_of(scope)
        try:
            self._guard.check(headers.getlist("host"), headers.getlist("origin"), http_version=scope["http_version"])
            if not self._is_open(scope["path"]):
                caller = self._keys.authenticate(headers.get("authorization"))
                facts.key, facts.cache_salt = caller.label, caller.cache_salt
                facts.tenant, facts.limits = caller.tenant, caller.limits
                facts.reads_metrics = caller.reads_metrics
            await self._router(scope, receive, reply)
        except (ClientDisconnect, ClientDisconnectedError):
            facts.disconnected = True
        except (TidemillError, HTTPException) as error:
            await self._refuse(_typed(error, scope), _allow_of(error), scope, receive, reply)
        except Exception as error:
            log.exception("a request failed", extra={"fields": {"request_id": facts.request_id}})
            facts.error = type(error).__name__
            if reply.status:
                raise
            await self._refuse(InternalError(), {}, scope, receive, reply)

    def _is_open(self, path: str) -> bool:
        below = (p for p in self._open_paths if p != "/" and p.endswith("/"))
        return path in self._open_paths or any(path.startswith(p) for p in below)

    async def _refuse(
        self, error: TidemillError, extra: dict[str, str], scope: Scope, receive: Receive, reply: "_Reply"
    ) -> None:
        facts = facts_of(scope)
        facts.error = facts.error or type(error).__name__
        if facts.num_prompt_tokens is None and facts.refused_status is None:
            self._on_refusal(type(error).__name__, facts.asked)
        response = Response(
            error_body(error, scope["path"]),
            status_of(error),
            headers={**headers_of(error), **extra},
            media_type="application/json",
        )
        await response(scope, receive, reply)

    def _log(self, scope: Scope, facts: RequestFacts, status: int, seconds: float) -> None:
        quiet = self._is_open(scope["path"]) or scope["path"] == "/metrics"
        # A probe that is told "not yet" is no event either: changes of state have lines of their own.
        level = logging.DEBUG if quiet and (status < 400 or scope["path"] in _PROBES) else logging.INFO
        if not access_log.isEnabledFor(level):
            return
        client = scope.get("client")
        fields = {
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "seconds": round(seconds, 6),
            "client": client[0] if client else None,
            "request_id": facts.request_id,
            "generation_id": facts.generation_id,
            "key": facts.key,
            "model": facts.model,
            "num_prompt_tokens": facts.num_prompt_tokens,
            "num_cached_tokens": facts.num_cached_tokens,
            "num_output_tokens": facts.num_output_tokens,
            "finish_reasons": ",".join(facts.finish_reasons) or None,
            "error": facts.error,
            "disconnected": True if facts.disconnected and facts.refused_status is None else None,
        }
        access_log.log(level, "request", extra={"fields": {k: v for k, v in fields.items() if v is not None}})


class _Reply:
    """The way out: adds the request id to every response and remembers the status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id.encode("ascii")
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            extra = [(b"x-request-id", self._request_id), (b"x-content-type-options", b"nosniff")]
            message = {**message, "headers": [*message.get("headers", []), *extra]}
        await self._send(message)


def _allow_of(error: Exception) -> dict[str, str]:
    headers = getattr(error, "headers", None) or {}
    return {"allow": ", ".join(sorted(headers["Allow"].split(", ")))} if "Allow" in headers else {}


def _typed(error: TidemillError | HTTPException, scope: Scope) -> TidemillError:
    """The router's own exceptions in terms of the error tree."""
    if isinstance(error, TidemillError):
        return error
    path, method = scope["path"][:200], scope["method"]
    if error.status_code == 404:
        return RouteNotFoundError(f"There is no route {path}.", next_step="See /docs for those there are.")
    if error.status_code == 405:
        return MethodError(f"The route {path} does not take {method}.")
    return InvalidRequestError(str(error.detail))
