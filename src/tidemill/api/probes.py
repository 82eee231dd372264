"""What a machine asks a server about itself: alive, ready, metrics; and what a person sees at its root."""

from collections.abc import Callable
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from tidemill.api.edge import facts_of
from tidemill.api.operation import JSON, Operation, Reply
from tidemill.api.responses import json_response
from tidemill.api.service import Service
from tidemill.core.errors import KeyForbiddenError

TAG = "Operations"
_RETRY = {"retry-after": "1"}

RenderMetrics = Callable[[], tuple[bytes, str]]
"""The metrics as text and the media type of that text."""


class Alive(msgspec.Struct, frozen=True, kw_only=True):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a request sent now would be taken, and if not, why."""

    ready: bool
    state: str
    detail: str


class Probes:
    """Endpoints over one service."""

    def __init__(self, service: Service, render_metrics: RenderMetrics) -> None:
        self._service = service
        self._render_metrics = render_metrics

    async def root(self, _: Request) -> Response:
        """GET /."""
        return Response("Tidemill is running. The API is described at /docs.\n", media_type="text/plain")

    async def live(self, _: Request) -> Response:
        """GET /live."""
        return json_response(Alive())

    async def ready(self, _: Request) -> Response:
        """GET /ready."""
        health = self._service.backend.health()
        answer = json_response(
            Readiness(ready=health.is_ready, state=health.state.value, detail=health.detail),
            200 if health.is_ready else 503,
        )
        if not health.is_ready:
            answer.headers.update(_RETRY)
        answer.headers["cache-control"] = "no-store"
        return answer

    async def metrics(self, request: Request) -> Response:
        """GET /metrics."""
        if not facts_of(request.scope).reads_metrics:
            raise KeyForbiddenError(
                "Metrics tell of everybody's requests, and are for the keys that the key file names for them.",
                next_step="Put metrics=yes behind the key that Prometheus uses.",
            )
        text, media_type = self._render_metrics()
        return Response(text, headers={"content-type": media_type})

    def operations(self) -> tuple[Operation, ...]:
        """Everything served here."""
        alive = (Reply("The process answers", {JSON: Alive}),)
        ready = (
            Reply("Requests are taken", {JSON: Readiness}),
            Reply("Requests are not taken now", {JSON: Readiness}, status=503),
        )
        text = (Reply("Prometheus text", {"text/plain": None}),)
        greeting = (Reply("A greeting", {"text/plain": None}),)
        return (
            Operation("GET", "/live", "Is the process alive?", TAG, self.live, alive, is_open=True),
            Operation("GET", "/ready", "Would a request be taken?", TAG, self.ready, ready, is_open=True),
            Operation(
                "GET", "/health", "The same, by the name other servers use", TAG, self.ready, ready, is_open=True
            ),
            Operation("GET", "/metrics", "Metrics for Prometheus", TAG, self.metrics, text),
            Operation("GET", "/", "A greeting", TAG, self.root, greeting, is_open=True),
        )
