"""What refused requests are told of an engine that is gone: when to come back."""

import asyncio

import pytest

from tests.engine.conftest import MakeStage, Stage, ask, ask_anything, collect, wait_for
from tests.fakes.virtual_time import settle
from tidemill.core.backend import BackendState
from tidemill.core.errors import EngineFailedError, UnavailableError
from tidemill.engine.client.events import EngineDied


async def test_a_refused_request_says_when_the_engine_is_back(make_stage: MakeStage) -> None:
    stage = await make_stage(engine={"restart_backoff_seconds": 8.0})
    engine = await stage.ready_engine()
    engine.exit()
    await stage.log.until_state(BackendState.RESTARTING)
    await stage.log.until(lambda: stage.log.num_of(EngineDied) == 1)
    await stage.time.advance(3.0)
    with pytest.raises(UnavailableError) as caught:
        await anext(stage.client.generate(ask(stage.client)))
    assert caught.value.retry_after_seconds == pytest.approx(5.0)


async def test_a_refused_request_is_told_what_the_last_start_took(make_stage: MakeStage) -> None:
    stage = await make_stage(engine={"restart_backoff_seconds": 2.0})
    engine = await stage.yard.next()
    assert await retry_after(stage) == 1.0, "nothing is known of a first start"
    await stage.time.advance(6.5)
    await engine.ready()
    await stage.client.wait_ready()
    under_way = asyncio.create_task(collect(stage.client, ask(stage.client)))
    await engine.submitted(1)
    engine.exit()
    with pytest.raises(EngineFailedError) as failed:
        await under_way
    assert failed.value.retry_after_seconds == pytest.approx(8.5), "the wait and the start"
    await stage.time.advance(1.5)
    assert await retry_after(stage) == pytest.approx(7.0)
    await stage.time.advance(0.6)
    engine = await stage.yard.next()
    await stage.time.advance(4.0)
    assert await retry_after(stage) == pytest.approx(2.5, abs=0.2)
    await stage.time.advance(20.0)
    assert await retry_after(stage) == 1.0, "later than it was expected, it may come at any moment"
    await engine.ready()
    await wait_for(lambda: stage.client.health().is_ready)
    engine.exit()
    await stage.log.until(lambda: stage.log.num_of(EngineDied) == 2)
    assert await retry_after(stage) == pytest.approx(4.0 + 24.0, abs=0.2), "the last start counts, not the first"


async def test_what_a_start_took_is_told_within_bounds(make_stage: MakeStage) -> None:
    stage = await make_stage()
    engine = await stage.yard.next()
    for _ in range(60):
        await engine.beat()
        await settle()
        await stage.time.advance(1.0)
    await engine.ready()
    await stage.client.wait_ready()
    engine.exit()
    await stage.log.until(lambda: stage.log.num_of(EngineDied) == 1)
    assert await retry_after(stage) == 31.0, "all of the wait, and of a start that took a minute no more than 30 s"


async def test_a_long_wait_is_told_whole(make_stage: MakeStage) -> None:
    stage = await make_stage(engine={"restart_backoff_seconds": 50.0})
    engine = await stage.ready_engine()
    engine.exit()
    await stage.log.until(lambda: stage.log.num_of(EngineDied) == 1)
    assert await retry_after(stage) == pytest.approx(50.0)


async def retry_after(stage: Stage) -> float | None:
    """What a request is told that comes now, while no engine is ready."""
    with pytest.raises(UnavailableError) as caught:
        await anext(stage.client.generate(ask_anything()))
    return caught.value.retry_after_seconds
