"""The small parts of a server's life: a backend that is still to come, and signals."""

import asyncio
import os
import signal

import pytest

from tests.fakes.backend import FakeBackend
from tidemill.core.backend import BackendState
from tidemill.core.errors import UnavailableError
from tidemill.core.requests import Accepted, GenerationRequest, SamplingParams, TextPrompt
from tidemill.runtime.deferred import DeferredBackend
from tidemill.runtime.shutdown import ShutdownSignals

REQUEST = GenerationRequest(
    request_id="r", model="tiny", prompts=(TextPrompt(text="x"),), sampling=SamplingParams(seed=1)
)


async def test_a_backend_to_come_refuses_and_then_is_the_one_that_came() -> None:
    deferred = DeferredBackend()
    assert deferred.health().state is BackendState.STARTING
    assert deferred.models() == ()
    with pytest.raises(UnavailableError):
        await anext(deferred.generate(REQUEST))
    deferred.become(backend := FakeBackend())
    assert deferred.health().is_ready
    assert deferred.models() == backend.models()
    chunks = deferred.generate(REQUEST)
    assert isinstance(await anext(chunks), Accepted)
    await chunks.aclose()
    assert backend.num_closed == 1


async def test_a_server_that_stops_before_its_backend_came_is_not_starting_any_more() -> None:
    deferred = DeferredBackend()
    deferred.end()
    assert deferred.health().state is BackendState.DRAINING


async def test_the_first_signal_asks_and_the_second_insists() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with ShutdownSignals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(signals.asked.wait(), 5)
        assert not signals.insisted.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait_for(signals.insisted.wait(), 5)
    assert signal.getsignal(signal.SIGTERM) == before
