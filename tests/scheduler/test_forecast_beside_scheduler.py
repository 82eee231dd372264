"""The forecast beside the scheduler that it plays: from the same state, on steps that take what is predicted."""

import dataclasses
from collections.abc import Callable

import pytest

from tests.fakes.scheduling import CONSTANT, ROW, Known, Stage
from tidemill.scheduler.ahead import PromptAhead, StepLimits, StreamAhead
from tidemill.scheduler.forecast import Forecast
from tidemill.scheduler.sequence import Sequence

TPOT = 0.5


def prompt_of(stage: Stage, sequence: Sequence) -> PromptAhead:
    order = stage.scheduler._composer._order
    return PromptAhead(
        num_tokens=len(sequence.tokens) - sequence.num_computed,
        context=sequence.num_computed,
        num_output_tokens=sequence.request.max_new_tokens,
        has_place=sequence.num_computed > 0,
        standing=order.class_of(sequence),
        yields=order.should_yield(sequence, stage.clock()),
    )


def stream_of(stage: Stage, sequence: Sequence) -> StreamAhead:
    due = sequence.next_due if stage.scheduler._composer._order.is_in_debt(sequence) else None
    left = sequence.request.max_new_tokens - sequence.num_output_tokens
    return StreamAhead(len(sequence.tokens), left, None if due is None else due - stage.clock())


def ahead_of(stage: Stage, num_others: int = 0) -> tuple[Forecast, list[PromptAhead]]:
    """A forecast from here, and the prompts in their order, but for the last `num_others`."""
    sequences, order = stage.scheduler._sequences.values(), stage.scheduler._composer._order
    prompts = sorted((s for s in sequences if s.first_token_at is None), key=order.rank)
    asked, others = prompts[: len(prompts) - num_others], prompts[len(prompts) - num_others :]
    richer = stage.scheduler._shares.served_more_than(asked[-1].request.tenant)
    streams = [s for s in sequences if s.first_token_at is not None]
    richer_tpots = [s.tpot_seconds for s in streams if s.request.tenant in richer and s.tpot_seconds is not None]
    settings = stage.scheduler._settings
    limits = StepLimits(
        max_num_batched_tokens=settings.max_num_batched_tokens,
        max_num_seqs=settings.max_num_seqs,
        tpot_seconds=TPOT,
        richer_tpot_seconds=min(richer_tpots, default=None),
        num_richer=len(richer_tpots),
        ttft_seconds=None,
        keeps_promises=order.keeps_promises,
    )
    forecast = Forecast(
        Known().times,
        limits,
        [stream_of(stage, s) for s in streams],
        num_others=len(others),
        num_other_places=sum(s.num_computed > 0 for s in others),
    )
    return forecast, [prompt_of(stage, s) for s in asked]


def seconds_until_first_token(stage: Stage, sequence_id: int) -> float:
    began, sequence = stage.clock(), stage.sequence(sequence_id)
    while sequence.first_token_at is None:
        stage.step(None)
    return stage.clock() - began


def quiet_beside_streams(stage: Stage) -> int:
    stage.flood(6)
    return stage.add("quiet", 600)


def quiet_behind_its_own(stage: Stage) -> int:
    stage.knows("quiet")
    stage.flood(6)
    stage.add("quiet", 300)
    return stage.add("quiet", 300)


def quiet_with_streams_of_its_own(stage: Stage) -> int:
    stage.flood(12)
    for _ in range(2):
        stage.add("quiet", 10)
    for _ in range(3):
        stage.step()
    return stage.add("quiet", 600)


def quiet_before_prompts_of_others(stage: Stage) -> int:
    stage.flood(6)
    for _ in range(5):
        stage.add("flood", 30)
    return stage.add("quiet", 30)


def quiet_beside_streams_with_little_time(stage: Stage) -> int:
    stage.flood(6, tpot=0.1)
    return stage.add("quiet", 30)


def debtors_late(stage: Stage) -> int:
    stage.flood(6)
    stage.clock.advance(100.0)
    return stage.add("quiet", 60)


def taking_turns(stage: Stage) -> int:
    stage.scheduler._shares.join("quiet", 0.0)
    stage.scheduler._shares.leave("quiet", 0.0)
    stage.flood(6)
    return stage.add("flood", 600)


def no_place(stage: Stage) -> int:
    stage.flood(8)
    return stage.add("quiet", 100)


def many_short_ones(stage: Stage) -> int:
    for _ in range(7):
        last = stage.add("a", 20, max_new_tokens=1)
    return last


def a_lesser_priority(stage: Stage) -> int:
    stage.add("a", 4, max_new_tokens=1)
    return stage.add("a", 4, priority=1)


@pytest.mark.parametrize(
    "scene",
    [
        quiet_beside_streams,
        quiet_behind_its_own,
        quiet_with_streams_of_its_own,
        quiet_before_prompts_of_others,
        quiet_beside_streams_with_little_time,
        debtors_late,
        taking_turns,
        no_place,
        many_short_ones,
        a_lesser_priority,
    ],
)
def test_it_says_what_the_scheduler_does(scene: Callable[[Stage], int]) -> None:
    stage = Stage(max_num_seqs=8 if scene is no_place else 32)
    last = scene(stage)
    forecast, prompts = ahead_of(stage, num_others=5 if scene is quiet_before_prompts_of_others else 0)
    predicted = forecast.complete(prompts)
    assert predicted == pytest.approx(seconds_until_first_token(stage, last), rel=0.02)


@pytest.mark.parametrize("num_others", [0, 1, 5, 40])
def test_those_who_come_after_count_where_a_step_might_end(num_others: int) -> None:
    stage = Stage()
    stage.add("a", 30, max_new_tokens=1)
    second = stage.add("a", 30, max_new_tokens=1)
    for _ in range(num_others):
        stage.add("a", 200, max_new_tokens=1, priority=1)
    forecast, prompts = ahead_of(stage, num_others)
    assert forecast.complete(prompts) == pytest.approx(seconds_until_first_token(stage, second), rel=0.02)


def test_the_step_under_way_is_as_it_was_scheduled() -> None:
    """What it completes goes on as streams, what it does not goes on behind it, and who asks waits for its end."""
    stage = Stage()
    stage.flood(6)
    ids = [stage.add("quiet", num_tokens) for num_tokens in (4, 4, 4, 60, 200)]
    forecast, prompts = ahead_of(stage)
    began = stage.clock()
    rows = stage.step(None)
    seconds, taken = forecast.under_way(prompts, num_others=0, yields=False)
    assert dict(zip(ids, taken, strict=True)) == {number: rows.get(number, 0) for number in ids}
    assert seconds == pytest.approx(stage.clock() - began)
    left = [
        dataclasses.replace(prompt, num_tokens=prompt.num_tokens - num, context=num)
        for prompt, num in zip(prompts, taken, strict=True)
        if num < prompt.num_tokens
    ]
    assert len(left) < len(prompts)
    assert forecast.complete(left) == pytest.approx(seconds_until_first_token(stage, ids[-1]), rel=0.02)


def test_who_goes_first_waits_for_one_step_of_those_that_take_turns() -> None:
    streams = [StreamAhead(20, 100)] * 6
    limits = StepLimits(256, 32, TPOT, None, 0, None, keeps_promises=True)
    prompt = PromptAhead(600, 0, 10, has_place=True, standing=(0, True), yields=True)

    def under_way(streams: list[StreamAhead], *, yields: bool) -> float:
        forecast = Forecast(Known().times, limits, streams, num_others=0, num_other_places=0)
        return forecast.under_way([prompt], num_others=0, yields=yields)[0]

    both = CONSTANT + 32 * ROW + CONSTANT + 6 * ROW
    assert under_way(streams, yields=True) == pytest.approx(both)
    assert under_way(streams, yields=False) == pytest.approx(CONSTANT + 32 * ROW), "the longer one"
    assert under_way([], yields=False) == under_way([], yields=True), "prompts alone take no turns"


def test_who_does_not_yield_waits_for_the_whole_step_of_one_who_does_not() -> None:
    limits = StepLimits(256, 32, TPOT, None, 0, None, keeps_promises=True)
    prompt = PromptAhead(100, 0, 10, has_place=True)
    forecast = Forecast(Known().times, limits, [StreamAhead(20, 100)] * 6, num_others=0, num_other_places=0)
    assert forecast.under_way([prompt], num_others=0, yields=False)[0] == pytest.approx(CONSTANT + 106 * ROW)


def test_who_sits_out_has_a_place_all_the_same() -> None:
    patient = [StreamAhead(20, 50, patience_seconds=100.0)] * 4
    prompt = PromptAhead(10, 0, 10, has_place=False)
    seconds = {}
    for places in (4, 5):
        limits = StepLimits(256, places, TPOT, None, 0, None, keeps_promises=True)
        forecast = Forecast(Known().times, limits, patient, num_others=0, num_other_places=0)
        seconds[places] = forecast.complete([prompt])
    assert seconds[5] == pytest.approx(CONSTANT + 10 * ROW)
    assert seconds[4] == pytest.approx(50 * (CONSTANT + 4 * ROW) + seconds[5])


def test_streams_that_have_just_begun_sit_out_if_they_were_promised_enough_time() -> None:
    prompt = PromptAhead(20, 0, 10, has_place=True, standing=(0, True), yields=True)
    patient = [StreamAhead(20, 100, patience_seconds=10.0)] * 6
    seconds = {}
    for tpot in (TPOT, 0.05):
        limits = StepLimits(256, 32, TPOT, tpot, 6, None, keeps_promises=True)
        forecast = Forecast(Known().times, limits, patient, num_others=0, num_other_places=0)
        forecast.under_way([prompt], num_others=0, yields=False)
        seconds[tpot] = forecast.complete([PromptAhead(10, 0, 10, has_place=False)])
    assert seconds[TPOT] == pytest.approx(CONSTANT + 10 * ROW)
    assert seconds[0.05] >= CONSTANT + 11 * ROW, "the one that has begun goes along"
