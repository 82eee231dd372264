"""The ASGI application: every route of every dialect over one backend, within the edge."""

from collections.abc import Callable
from random import Random

from starlette.routing import Router

from tidemill.api.body import BodyReader
from tidemill.api.docs import Docs
from tidemill.api.document import openapi_document
from tidemill.api.edge import Edge, OnRefusal
from tidemill.api.keys import ApiKeys
from tidemill.api.ollama.routes import OllamaRoutes
from tidemill.api.openai.routes import OpenAIRoutes
from tidemill.api.operation import Operation
from tidemill.api.origin import OriginGuard
from tidemill.api.probes import Probes, RenderMetrics
from tidemill.api.service import Service
from tidemill.config.settings import ServerSettings
from tidemill.core.backend import Backend
from tidemill.core.clock import Clock


def create_app(
    backend: Backend,
    settings: ServerSettings,
    *,
    keys: ApiKeys,
    render_metrics: RenderMetrics,
    clock: Clock,
    wall_clock: Clock,
    random: Random,
    on_refusal: OnRefusal,
    on_end: Callable[[str | None], None],
    footprint_in_answers: bool = False,
) -> Edge:
    """The application over `backend`. `wall_clock` gives Unix seconds; `random` draws ids and seeds.

    `on_refusal` is told the class of the error of every request that the backend never accepted, and what its answer
    was to keep, or None if it asked for no tokens; `on_end`, of every one that it accepted and whose client stayed, the
    class of the error that it ended with, or None.

    Without a key one may reach the greeting, the probes and the documentation, which tell nothing about anybody's
    requests; everything else, metrics too, needs one if there are keys.
    """
    bodies = BodyReader(settings.max_body_bytes, settings.max_arriving_bytes)
    service = Service(backend, settings, clock, wall_clock, random, bodies, footprint_in_answers)
    operations = all_operations(service, render_metrics)
    docs = Docs(openapi_document(operations, needs_key=keys.required)).operations()
    routes = [operation.route() for operation in (*operations, *docs)]
    open_paths = frozenset(o.path.partition("{")[0] for o in (*operations, *docs) if o.is_open)
    return Edge(
        Router(routes, redirect_slashes=False),
        service,
        keys=keys,
        guard=OriginGuard(settings.host),
        open_paths=open_paths,
        on_refusal=on_refusal,
        on_end=on_end,
    )


def all_operations(service: Service, render_metrics: RenderMetrics) -> tuple[Operation, ...]:
    """Every documented operation."""
    return (
        *OpenAIRoutes(service).operations(),
        *OllamaRoutes(service).operations(),
        *Probes(service, render_metrics).operations(),
    )
