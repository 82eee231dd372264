"""The promise at the client's door, over engines that a test plays: refusals, outcomes, and what the engine is told."""

from collections.abc import AsyncGenerator

import msgspec
import pytest

from tests.engine.conftest import MakeStage, Stage, ask, collect
from tests.fakes.fake_engine import INFO, STATS, FakeEngine, finish
from tidemill.core.errors import OverloadedError, PromiseUnkeepableError
from tidemill.core.objectives import Objectives
from tidemill.core.requests import Accepted, FinishReason, GenerationChunk, GenerationRequest
from tidemill.core.stats import PromiseOutcome
from tidemill.cost.step_times import CostParameters
from tidemill.engine.client.events import EngineDied
from tidemill.engine.protocol import Ready, SequenceOutput, StepOutput

SLOW = CostParameters(
    coefficients=(0.01, 0.001, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    corrections={},
    paces=(1.0, 1.0),
    p99_ratios=(1.1, 1.1),
    gap_ratio=1.1,
    delay_seconds=0.0011,
    error_ratio=0.02,
    num_steps=100,
)
"""A step takes 10 ms, and 1 ms a row."""


async def staged(make_stage: MakeStage, **slo: object) -> tuple[object, FakeEngine, list[PromiseOutcome]]:
    stage = await make_stage(slo=slo)
    outcomes: list[PromiseOutcome] = []
    stage.client._promise._on_outcome = outcomes.append
    engine = await stage.yard.next()
    await engine.send(Ready(epoch=1, info=msgspec.structs.replace(INFO, costs=SLOW)))
    await stage.log.until(lambda: stage.client.health().is_ready)
    return stage, engine, outcomes


async def test_the_engine_is_told_who_asks_and_what_was_promised(make_stage: MakeStage) -> None:
    stage, engine, _ = await staged(make_stage, slo_profile="relaxed")
    request = msgspec.structs.replace(
        ask(stage.client, max_tokens=4), tenant="t1", priority=2, objectives=Objectives(tpot_seconds=0.5)
    )
    stream, now = stage.client.generate(request), stage.time()
    assert isinstance(await anext(stream), Accepted)
    (submit,) = await engine.submitted(1)
    assert (submit.tenant, submit.priority) == ("t1", 2)
    assert submit.objectives == Objectives(ttft_seconds=1.0, tpot_seconds=0.5)
    assert submit.arrival == now
    await stream.aclose()


async def test_what_would_miss_its_own_promise_is_refused_with_the_wait(make_stage: MakeStage) -> None:
    stage, _, outcomes = await staged(make_stage)
    hasty = msgspec.structs.replace(ask(stage.client, "x" * 200), objectives=Objectives(ttft_seconds=0.05))
    with pytest.raises(PromiseUnkeepableError, match=r"nothing else .* 0\.2\d+ s are expected, and 0.05 s") as caught:
        await anext(stage.client.generate(hasty))
    assert caught.value.retry_after_seconds is None
    assert [outcome.is_refused for outcome in outcomes] == [True]
    assert stage.client.num_outstanding == 0


async def test_what_the_cache_holds_is_not_reckoned_again(make_stage: MakeStage) -> None:
    stage, engine, _ = await staged(make_stage)
    talk = "x" * 300
    hasty = msgspec.structs.replace(ask(stage.client, talk + " And?"), objectives=Objectives(ttft_seconds=0.1))
    with pytest.raises(OverloadedError):
        await anext(stage.client.generate(hasty))
    await anext(first := stage.client.generate(ask(stage.client, talk, max_tokens=2)))
    (submit,) = await engine.submitted(1)
    await engine.say(submit.sequence_id, "ab", finish(FinishReason.LENGTH), first=True)
    async for _ in first:
        pass
    other = msgspec.structs.replace(hasty, cache_salt="of another owner")
    with pytest.raises(OverloadedError):
        await anext(stage.client.generate(other))
    again = stage.client.generate(hasty)
    assert isinstance(await anext(again), Accepted)
    await again.aclose()


async def test_a_restarted_engine_has_nothing_cached(make_stage: MakeStage) -> None:
    stage, engine, _ = await staged(make_stage)
    await anext(first := stage.client.generate(ask(stage.client, "x" * 300, max_tokens=2)))
    (submit,) = await engine.submitted(1)
    await engine.say(submit.sequence_id, "ab", finish(FinishReason.LENGTH), first=True)
    async for _ in first:
        pass
    engine.exit()
    await stage.log.until(lambda: stage.log.num_of(EngineDied) == 1)
    await stage.time.advance(1.1)
    await stage.ready_engine()
    hasty = msgspec.structs.replace(ask(stage.client, "x" * 300), objectives=Objectives(ttft_seconds=0.1))
    with pytest.raises(OverloadedError):
        await anext(stage.client.generate(hasty))


async def answered(stage: Stage, engine: FakeEngine, request: GenerationRequest, seconds: float) -> None:
    """One token after `seconds`, and the end."""
    await anext(stream := stage.client.generate(request))
    (submit,) = await engine.submitted(1)
    stage.time.jump(seconds)
    await engine.say(submit.sequence_id, "a", finish(FinishReason.LENGTH), first=True)
    async for _ in stream:
        pass


async def test_a_stall_is_not_held_against_those_who_come_after(make_stage: MakeStage) -> None:
    stage, engine, _ = await staged(make_stage)
    await answered(stage, engine, ask(stage.client, "x", max_tokens=1), 1.5)
    hasty = msgspec.structs.replace(ask(stage.client, "y", max_tokens=1), objectives=Objectives(ttft_seconds=0.05))
    other = stage.client.generate(ask(stage.client, "z"))
    await anext(other)
    await engine.submitted(1)
    await answered(stage, engine, hasty, 0.02)
    await other.aclose()


async def test_whom_the_more_urgent_overtook_tells_nothing_of_predictions(make_stage: MakeStage) -> None:
    stage, engine, outcomes = await staged(make_stage, slo_profile="relaxed")
    streams = []
    for priority in (5, 0):
        request = msgspec.structs.replace(ask(stage.client, max_tokens=1), priority=priority)
        streams.append(stage.client.generate(request))
        await anext(streams[-1])
    first, second = await engine.submitted(2)
    for submit in (second, first):
        stage.time.jump(0.2)
        await engine.say(submit.sequence_id, "a", finish(FinishReason.LENGTH), first=True)
    for stream in streams:
        async for _ in stream:
            pass
    assert len(outcomes) == 2
    promise = stage.client._promise
    assert promise.foresight.errors.num_known(0, promise._clock()) == 1


async def test_a_time_per_token_that_cannot_be_kept_now_is_refused(make_stage: MakeStage) -> None:
    stage, engine, _ = await staged(make_stage)

    def tight(seconds: float) -> AsyncGenerator[GenerationChunk, None]:
        objectives = Objectives(tpot_seconds=seconds)
        return stage.client.generate(msgspec.structs.replace(ask(stage.client), objectives=objectives))

    with pytest.raises(OverloadedError, match=r"nothing else .* 0\.011 s are expected, and 0.01 s"):
        await anext(tight(0.01))
    taken = tight(0.0125)
    await anext(taken)
    await engine.submitted(1)
    second = tight(0.0125)
    await anext(second)
    with pytest.raises(OverloadedError, match="too busy to keep this request's time per token"):
        await anext(tight(0.0125))
    for stream in (taken, second):
        await stream.aclose()


async def test_an_idle_server_keeps_to_what_a_request_itself_asked(make_stage: MakeStage) -> None:
    stage, _, _ = await staged(make_stage, slo_profile="interactive")
    patient = msgspec.structs.replace(
        ask(stage.client, "x" * 400, max_tokens=1), objectives=Objectives(deadline_seconds=60.0)
    )
    stream = stage.client.generate(patient)
    assert isinstance(await anext(stream), Accepted), "its first token is later than the server's own promise"
    await stream.aclose()


async def test_a_time_per_token_is_judged_by_the_rows_that_may_run(make_stage: MakeStage) -> None:
    stage = await make_stage(scheduler={"max_num_seqs": 2, "max_queue": 40})
    engine = await stage.yard.next()
    await engine.send(Ready(epoch=1, info=msgspec.structs.replace(INFO, costs=SLOW)))
    await stage.log.until(lambda: stage.client.health().is_ready)
    queued = [stage.client.generate(ask(stage.client)) for _ in range(20)]
    for stream in queued:
        await anext(stream)
    tight = msgspec.structs.replace(ask(stage.client), objectives=Objectives(tpot_seconds=0.015))
    stream = stage.client.generate(tight)
    assert isinstance(await anext(stream), Accepted), "two rows take 12 ms, and no step has more"
    for each in (*queued, stream):
        await each.aclose()


async def test_a_deadline_counts_the_whole_answer(make_stage: MakeStage) -> None:
    stage, _, _ = await staged(make_stage)
    for num_tokens, is_taken in ((10, True), (200, False)):
        request = ask(stage.client, "x" * 20, max_tokens=num_tokens)
        stream = stage.client.generate(msgspec.structs.replace(request, objectives=Objectives(deadline_seconds=1.0)))
        if is_taken:
            assert isinstance(await anext(stream), Accepted)
            await stream.aclose()
        else:
            with pytest.raises(OverloadedError, match="deadline of the answer"):
                await anext(stream)


async def test_queueing_takes_everything(make_stage: MakeStage) -> None:
    stage, _, outcomes = await staged(make_stage, on_overload="queue")
    hasty = msgspec.structs.replace(ask(stage.client, "x" * 200), objectives=Objectives(ttft_seconds=0.001))
    stream = stage.client.generate(hasty)
    assert isinstance(await anext(stream), Accepted)
    await stream.aclose()
    assert outcomes == [], "nobody waited for its first token"


async def test_the_servers_own_promise_lets_a_lone_long_prompt_pass_but_not_one_behind_it(
    make_stage: MakeStage,
) -> None:
    stage, engine, _ = await staged(make_stage, slo_profile="interactive")
    first = stage.client.generate(ask(stage.client, "x" * 400))
    assert isinstance(await anext(first), Accepted)
    await engine.submitted(1)
    with pytest.raises(OverloadedError, match="time to the first token"):
        await anext(stage.client.generate(ask(stage.client, "y")))
    await first.aclose()
    last = stage.client.generate(ask(stage.client, "y"))
    assert isinstance(await anext(last), Accepted)
    await last.aclose()


async def test_an_outcome_has_what_was_predicted_and_what_came(make_stage: MakeStage) -> None:
    stage, engine, outcomes = await staged(make_stage, slo_profile="relaxed")
    stream = stage.client.generate(ask(stage.client, "x" * 50, max_tokens=3))
    await anext(stream)
    (submit,) = await engine.submitted(1)
    for number in range(3):
        stage.time.jump(0.1)
        end = finish(FinishReason.LENGTH) if number == 2 else None
        output = SequenceOutput(sequence_id=submit.sequence_id, token_ids=(97,), finish=end)
        await engine.send(StepOutput(epoch=1, outputs=(output,), stats=STATS))
        await anext(stream)
    await stream.aclose()
    (outcome,) = outcomes
    assert outcome.ttft_seconds == pytest.approx(0.1)
    assert outcome.tpot_seconds == pytest.approx(0.1)
    assert outcome.total_seconds == pytest.approx(0.3)
    assert outcome.predicted_ttft_seconds == pytest.approx(0.061, abs=0.005)
    assert outcome.p99_ttft_seconds is not None
    assert outcome.p99_ttft_seconds > outcome.predicted_ttft_seconds
    assert not outcome.is_failed


async def test_who_leaves_early_sees_no_end(make_stage: MakeStage) -> None:
    stage, engine, outcomes = await staged(make_stage, slo_profile="relaxed")
    request = msgspec.structs.replace(ask(stage.client, max_tokens=9), objectives=Objectives(deadline_seconds=60.0))
    await anext(stream := stage.client.generate(request))
    (submit,) = await engine.submitted(1)
    stage.time.jump(0.1)
    await engine.say(submit.sequence_id, "ab", first=True)
    await anext(stream)
    await stream.aclose()
    (outcome,) = outcomes
    assert outcome.ttft_seconds == pytest.approx(0.1)
    assert outcome.total_seconds is None


async def test_an_engine_that_dies_fails_what_it_had(make_stage: MakeStage) -> None:
    stage, engine, outcomes = await staged(make_stage, slo_profile="relaxed")
    stream = stage.client.generate(ask(stage.client))
    await anext(stream)
    await engine.submitted(1)
    engine.exit()
    with pytest.raises(Exception, match="engine failed"):
        await anext(stream)
    assert [outcome.is_failed for outcome in outcomes] == [True]
    assert len(stage.client._promise._sequences) == 0


async def test_a_key_leaves_room_for_others_and_a_full_queue_is_a_refusal(make_stage: MakeStage) -> None:
    stage = await make_stage(scheduler={"max_num_seqs": 8, "max_queue": 8})
    outcomes: list[PromiseOutcome] = []
    stage.client._promise._on_outcome = outcomes.append
    engine = await stage.ready_engine()
    own = msgspec.structs.replace(ask(stage.client), tenant="flood")
    streams = [stage.client.generate(own) for _ in range(14)]
    for stream in streams:
        await anext(stream)
    await engine.submitted(14)
    with pytest.raises(OverloadedError, match="kept for other keys"):
        await anext(stage.client.generate(own))
    others = [stage.client.generate(msgspec.structs.replace(own, tenant="quiet")) for _ in range(2)]
    for stream in others:
        await anext(stream)
    with pytest.raises(OverloadedError, match="queue is full"):
        await anext(stage.client.generate(msgspec.structs.replace(own, tenant="third")))
    assert [outcome.is_refused for outcome in outcomes] == [True, True]
    for stream in (*streams, *others):
        await stream.aclose()


async def test_a_simulated_engine_measures_itself_where_something_is_promised(make_client) -> None:  # type: ignore[no-untyped-def]
    fast = {"sim_ttft_seconds": 0.0, "sim_seconds_per_token": 0.001, "sim_seconds_per_prompt_token": 0.00001}
    client, log = await make_client(simulation=fast, slo={"slo_profile": "relaxed"}, scheduler={"max_num_seqs": 8})
    assert client._promise.foresight._times is not None
    await collect(client, ask(client, "x" * 30, max_tokens=8))
    assert log.steps[-1].predicted_seconds is not None
    assert log.steps[-1].prediction_error_ratio is not None
