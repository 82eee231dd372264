"""Engines that stall, die, hang, lie and come back, played by hand in virtual time."""

import asyncio

import pytest

from tests.engine.conftest import MakeStage, Stage, ask, ask_anything, collect, wait_for
from tests.fakes.fake_engine import INFO, finish
from tests.fakes.virtual_time import settle
from tidemill.core import errors
from tidemill.core.backend import BackendState
from tidemill.core.errors import CapacityError, EngineFailedError, SetupError, UnavailableError
from tidemill.core.requests import FinishReason
from tidemill.engine.client.events import EngineDied, EngineLoaded, LoadProgress
from tidemill.engine.protocol import Fatal, Heartbeat, Loading, Ready, WireFinish

READY, STALLED = BackendState.READY, BackendState.STALLED
STARTING, RESTARTING = BackendState.STARTING, BackendState.RESTARTING


async def test_a_start_goes_through_loading_to_ready(make_stage: MakeStage) -> None:
    stage = await make_stage()
    engine = await stage.yard.next()
    assert stage.client.health().state is STARTING
    assert stage.client.models() == ()
    await engine.send(Loading(epoch=1, stage="loading weights", fraction=0.5))
    await stage.log.until(lambda: LoadProgress("loading weights", 0.5) in stage.log.events)
    with pytest.raises(UnavailableError):
        await anext(stage.client.generate(ask_anything()))
    await engine.ready()
    await stage.client.wait_ready()
    assert stage.client.health().is_ready
    assert stage.log.states() == [STARTING, READY]
    (info,) = stage.client.models()
    assert (info.max_model_len, info.license, len(info.digest)) == (512, "apache-2.0", 64)


async def test_the_boot_frame_carries_settings_folder_and_end_tokens(make_stage: MakeStage) -> None:
    stage = await make_stage(scheduler={"max_num_seqs": 3})
    boot = (await stage.yard.next()).boot
    assert boot is not None
    assert boot.settings.scheduler.max_num_seqs == 3
    assert boot.model_folder == boot.settings.model.model
    assert boot.eos_token_ids == (256,)


async def test_a_stall_makes_it_not_ready_and_a_heartbeat_ready_again(make_stage: MakeStage) -> None:
    stage = await make_stage()
    engine = await stage.ready_engine()
    await stage.time.advance(4.9)
    assert stage.client.health().is_ready
    await stage.time.advance(0.2)
    assert stage.client.health().state is STALLED
    assert stage.log.states()[-1] is STALLED
    with pytest.raises(UnavailableError, match="silent"):
        await anext(stage.client.generate(ask(stage.client)))
    await engine.beat()
    await wait_for(lambda: stage.client.health().is_ready)
    await stage.time.advance(1.0)
    assert stage.log.states()[-1] is READY
    assert len(stage.yard.engines) == 1


async def test_a_stream_outlives_a_stall(make_stage: MakeStage) -> None:
    stage = await make_stage()
    engine = await stage.ready_engine()
    stream = asyncio.create_task(collect(stage.client, ask(stage.client, max_tokens=2)))
    (submit,) = await engine.submitted(1)
    await engine.say(submit.sequence_id, "a")
    await stage.time.advance(25.0)
    assert stage.client.health().state is STALLED
    await engine.say(submit.sequence_id, "b", end=length())
    assert "".join(delta.text for delta in (await stream)[0]) == "ab"


async def test_silence_kills_and_restarts_and_ends_streams_with_one_error(make_stage: MakeStage) -> None:
    stage = await make_stage()
    engine = await stage.ready_engine()
    streams = [asyncio.create_task(collect(stage.client, ask(stage.client))) for _ in range(3)]
    await engine.submitted(3)
    await stage.time.advance(30.5)
    results = await asyncio.gather(*streams, return_exceptions=True)
    assert [type(result) for result in results] == [EngineFailedError] * 3
    assert engine.was_killed
    assert stage.client.health().state is RESTARTING
    assert stage.client.num_outstanding == 0
    died = [event for event in stage.log.events if isinstance(event, EngineDied)]
    assert [event.num_failed_requests for event in died] == [3]
    await stage.time.advance(1.1)
    await stage.ready_engine()
    assert stage.log.num_of(EngineLoaded) == 2


async def test_a_hung_loop_is_killed_though_its_heart_beats(make_stage: MakeStage) -> None:
    stage = await make_stage()
    engine = await stage.ready_engine()
    for second in range(30):
        await engine.beat(float(second))
        await settle()
        assert stage.client.health().is_ready
        await stage.time.advance(1.0)
    await stage.log.until_state(RESTARTING)
    assert engine.was_killed
    assert "hung" in last_death(stage)


async def test_a_long_load_is_left_alone(make_stage: MakeStage) -> None:
    stage = await make_stage()
    engine = await stage.yard.next()
    for _ in range(10):
        await engine.beat()
        await settle()
        await stage.time.advance(20.0)
    assert not engine.was_killed
    await engine.ready()
    await stage.client.wait_ready()


async def test_restarts_back_off_and_forget_after_a_minute_of_health(make_stage: MakeStage) -> None:
    stage = await make_stage()
    engine = await stage.ready_engine()
    waits = []
    for _ in range(4):
        engine.exit()
        deaths = stage.log.num_of(EngineDied)
        await stage.log.until(lambda deaths=deaths: stage.log.num_of(EngineDied) > deaths)
        waits.append(last_event(stage).restart_in_seconds)
        await stage.time.advance((waits[-1] or 0.0) + 0.01)
        engine = await stage.ready_engine()
    assert waits == [1.0, 2.0, 4.0, 8.0]
    for _ in range(70):
        await engine.beat()
        await settle()
        await stage.time.advance(1.0)
    engine.exit()
    await stage.log.until(lambda: stage.log.num_of(EngineDied) == 5)
    assert last_event(stage).restart_in_seconds == 1.0


async def test_a_fatal_start_raises_its_own_error_once(make_stage: MakeStage) -> None:
    stage = await make_stage()
    engine = await stage.yard.next()
    await engine.send(Fatal(epoch=1, kind="CapacityError", message="It does not fit.", next_step="Buy memory."))
    engine.exit("it exited with status 2")
    with pytest.raises(CapacityError, match="It does not fit") as caught:
        await stage.client.wait_ready()
    assert caught.value.next_step == "Buy memory."
    assert stage.client.health().state is BackendState.STOPPED
    assert len(stage.yard.engines) == 1


@pytest.mark.parametrize("kind", ["internal", "FrameError", "__doc__", "RequestError"])
def test_only_setup_errors_are_named_by_a_fatal_frame(kind: str) -> None:
    named = getattr(errors, kind, None)
    assert not (isinstance(named, type) and issubclass(named, SetupError))


async def test_an_internal_fatal_start_is_a_setup_error(make_stage: MakeStage) -> None:
    stage = await make_stage()
    engine = await stage.yard.next()
    await engine.send(Fatal(epoch=1, kind="internal", message="It broke."))
    engine.exit()
    with pytest.raises(SetupError, match="It broke"):
        await stage.client.wait_ready()


async def test_an_engine_that_never_comes_up_is_given_up(make_stage: MakeStage) -> None:
    stage = await make_stage()
    for _ in range(3):
        (await stage.yard.next()).exit("it was ended by SIGKILL")
        await settle()
        await wait_for(lambda: stage.log.num_of(EngineDied) == len(stage.yard.engines))
        await stage.time.advance(5.0)
    with pytest.raises(SetupError, match="SIGKILL"):
        await stage.client.wait_ready()
    assert len(stage.yard.engines) == 3


async def test_a_fatal_restart_is_tried_again(make_stage: MakeStage) -> None:
    stage = await make_stage()
    (await stage.ready_engine()).exit()
    await stage.log.until_state(RESTARTING)
    await stage.time.advance(1.1)
    engine = await stage.yard.next()
    await engine.send(Fatal(epoch=2, kind="CapacityError", message="It does not fit now."))
    engine.exit()
    await stage.log.until(lambda: stage.log.num_of(EngineDied) == 2)
    assert "does not fit now" in last_death(stage)
    await stage.time.advance(2.1)
    await stage.ready_engine()


@pytest.mark.parametrize("data", [b"\xff" * 16, b"\x02\x00\x00\x00\xc1\xc1"], ids=["too long", "not msgpack"])
async def test_an_engine_that_talks_nonsense_is_killed(make_stage: MakeStage, data: bytes) -> None:
    stage = await make_stage()
    engine = await stage.ready_engine()
    await engine.send_bytes(data)
    await stage.log.until_state(RESTARTING)
    assert engine.was_killed


async def test_frames_of_another_epoch_are_not_believed(make_stage: MakeStage) -> None:
    stage = await make_stage()
    engine = await stage.yard.next()
    await engine.send(Ready(epoch=7, info=INFO))
    await stage.log.until(lambda: stage.log.num_of(EngineDied) == 1)
    assert "epoch" in last_death(stage)


async def test_time_in_which_we_were_asleep_is_not_held_against_the_engine(make_stage: MakeStage) -> None:
    stage = await make_stage()
    engine = await stage.ready_engine()
    await stage.time.advance(1.0)
    stage.time.jump(3600.0)
    await stage.time.advance(1.0)
    assert not engine.was_killed
    await engine.send(Heartbeat(epoch=1, loop_age_seconds=0.0))
    await wait_for(lambda: stage.client.health().is_ready)


async def test_stop_asks_the_engine_and_leaves_no_task(make_stage: MakeStage) -> None:
    before = asyncio.all_tasks()
    stage = await make_stage()
    engine = await stage.ready_engine()
    stopping = asyncio.create_task(stage.client.stop())
    assert type(await engine.receive()).__name__ == "Shutdown"
    engine.exit("it exited")
    await stopping
    assert not engine.was_killed
    assert stage.client.health().state is BackendState.STOPPED
    assert asyncio.all_tasks() == before
    await stage.client.stop()


def length() -> WireFinish:
    return finish(FinishReason.LENGTH)


def last_event(stage: Stage) -> EngineDied:
    return [event for event in stage.log.events if isinstance(event, EngineDied)][-1]


def last_death(stage: Stage) -> str:
    return last_event(stage).reason


async def test_a_supervision_that_fails_starts_another_engine(
    make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = await make_stage()
    engine = await stage.ready_engine()

    def broken(*_: object) -> None:
        raise RuntimeError("a tick that cannot be")

    monkeypatch.setattr("tidemill.engine.client.vitals.Vitals.tick", broken)
    await stage.time.advance(2.0)
    await stage.log.until_state(BackendState.RESTARTING)
    assert "a tick that cannot be" in last_death(stage)
    monkeypatch.undo()
    assert engine is stage.yard.engines[0]
