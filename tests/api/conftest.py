"""An application over a fake backend: in memory for what is said, on a real socket for how."""

import contextlib
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from tests.fakes.backend import FakeBackend
from tests.fakes.serving import Serving, serving
from tidemill.api.app import create_app
from tidemill.api.edge import Edge, OnRefusal
from tidemill.api.keys import ApiKeys
from tidemill.config.settings import ServerSettings
from tidemill.core.clock import VirtualClock

NOW = 1_800_000_000.0


def make_app(
    backend: FakeBackend,
    *keys: str,
    on_refusal: OnRefusal = lambda *_: None,
    on_end: Callable[[str | None], None] = lambda _: None,
    footprint_in_answers: bool = False,
    **settings: Any,
) -> Edge:
    return create_app(
        backend,
        ServerSettings(**settings),
        keys=ApiKeys(keys),
        render_metrics=lambda: (b"up 1\n", "text/plain; version=0.0.4; charset=utf-8"),
        clock=VirtualClock(),
        wall_clock=VirtualClock(NOW),
        random=random.Random(7),
        on_refusal=on_refusal,
        on_end=on_end,
        footprint_in_answers=footprint_in_answers,
    )


def client_of(app: Edge, base_url: str = "http://localhost:8000") -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base_url)


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
async def client(backend: FakeBackend) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(make_app(backend)) as client:
        yield client


Serve = Callable[..., contextlib.AbstractAsyncContextManager[Serving]]


@pytest.fixture
def serve(backend: FakeBackend) -> Serve:
    def start(
        *keys: str, on_refusal: OnRefusal = lambda *_: None, **settings: Any
    ) -> contextlib.AbstractAsyncContextManager[Serving]:
        limits = ServerSettings(port=0, **settings)
        return serving(make_app(backend, *keys, on_refusal=on_refusal, **settings), limits)

    return start
