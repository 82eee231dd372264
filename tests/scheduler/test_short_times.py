"""What the short times per token that one tenant asks for can cost another that was served less."""

import random

import pytest

from tests.fakes.promise_rig import Arrival, PromiseRig, Truth, poisson
from tests.fakes.scheduling import CONSTANT, ROW, Stage
from tidemill.config.settings import SchedulerSettings, SloSettings
from tidemill.core.objectives import Objectives

NUM_STREAMS = 12
DECODE = CONSTANT + NUM_STREAMS * ROW
TPOT = 1.06 * DECODE
"""Enough for one stream more, and for a few rows of a prompt at most."""
NUM_PROMPT = 300
STEPS_AT_HALF = -(-NUM_PROMPT // 16)
"""A step's decoding takes as long as 22 rows of a prompt, of which a whole tile is sure to be used."""


def even(*, keeps_promises: bool) -> Stage:
    """A stage on which steps take exactly what is predicted."""
    stage = Stage(keeps_promises=keeps_promises)
    stage.scheduler.costs.times.p99_ratios = (1.0, 1.0)
    stage.scheduler.costs.times.gap_ratio = 1.0
    return stage


def streaming(stage: Stage, num: int, tpot: float) -> set[int]:
    """As many streams of a tenant that has had far more than anybody else, all of them with their first token."""
    ids = stage.flood(num, tpot)
    while any(sequence.first_token_at is None for sequence in stage.scheduler._running):
        stage.step()
    return ids


def steps_until_served(stage: Stage, sequence_id: int, *, most: int) -> int:
    """Steps until its prompt is computed, each as long as it is predicted to be."""
    computed = 0
    for number in range(1, most + 1):
        running = len(stage.scheduler._running)
        computed += stage.step(CONSTANT + running * ROW).get(sequence_id, 0)
        if computed >= NUM_PROMPT:
            return number
    raise AssertionError(f"{computed} of {NUM_PROMPT} tokens after {most} steps")


@pytest.mark.parametrize("keeps_promises", [True, False])
@pytest.mark.parametrize("is_late", [True, False])
def test_prompts_have_as_much_time_as_the_streams_of_who_was_served_more(keeps_promises: bool, is_late: bool) -> None:
    stage = even(keeps_promises=keeps_promises)
    streaming(stage, NUM_STREAMS, TPOT)
    if is_late:
        stage.clock.advance(2.0)
    quiet = stage.add("quiet", NUM_PROMPT, tpot=10.0)
    assert steps_until_served(stage, quiet, most=60) <= STEPS_AT_HALF + 1


def test_streams_of_who_was_served_less_keep_their_time() -> None:
    stage = even(keeps_promises=False)
    streaming(stage, NUM_STREAMS, TPOT)
    stage.scheduler._shares.join("busy", 0.0)
    stage.scheduler._shares.charge("busy", 100_000)
    stage.clock.advance(2.0)
    busy = stage.add("busy", NUM_PROMPT, tpot=10.0)
    rows = [stage.step().get(busy, 0) for _ in range(20)]
    assert sorted(rows) == [0] * 16 + [32] * 4, "a little in every fifth step, and no more"


def test_what_is_given_to_one_prompt_is_not_used_by_those_who_were_served_more() -> None:
    stage = even(keeps_promises=False)
    flood = streaming(stage, NUM_STREAMS, TPOT)
    stage.clock.advance(2.0)
    other = stage.add("flood", NUM_PROMPT)
    quiet = stage.add("quiet", 5, tpot=10.0)
    assert stage.step() == dict.fromkeys(flood, 1) | {quiet: 5}
    assert other in stage.scheduler._sequences


@pytest.mark.parametrize("keeps_promises", [True, False])
def test_one_place_in_eight_is_borne_at_the_cost_of_who_was_served_more(keeps_promises: bool) -> None:
    for num_streams, num_borne in ((2, 1), (5, 1), (17, 2)):
        stage = even(keeps_promises=keeps_promises)
        tpot = CONSTANT + (num_streams + 0.5) * ROW
        flood = streaming(stage, num_streams, tpot)
        late = stage.add("flood", 10, tpot=tpot)
        quiet = [stage.add("quiet", 10, tpot=10.0) for _ in range(4)]
        for _ in range(8):
            stage.step()
        running = {sequence.sequence_id for sequence in stage.scheduler._running}
        assert running == flood | set(quiet[:num_borne])
        assert late not in running


def test_random_times_per_token_of_a_flood_cost_a_quiet_one_little() -> None:
    truth = Truth(weights_seconds=0.0006, row_seconds=4e-5, sample_seconds=2e-4, turn_seconds=3e-4)
    slo, scheduling = SloSettings(slo_profile="relaxed", on_overload="queue"), SchedulerSettings(max_queue=3000)
    quiet = [Arrival(1.0 + 1.7 * i, 1000, 8, "quiet") for i in range(6)]

    def waits(shortest: float | None, seed: int) -> list[float]:
        rng = random.Random(3)
        flood = []
        for seconds in poisson(60.0, 11.0, rng):
            tpot = rng.uniform(0.020, 0.200)
            asked = Objectives() if shortest is None else Objectives(tpot_seconds=max(shortest, tpot * rng.random()))
            flood.append(Arrival(seconds, rng.randint(20, 200), rng.randint(64, 200), "flood", objectives=asked))
        answers = PromiseRig(slo=slo, truth=truth, scheduling=scheduling, seed=seed).serve([*quiet, *flood])
        return [answer.ttft_seconds for answer in answers if answer.arrival.tenant == "quiet"]

    without, tight = ([waits(shortest, seed) for seed in (1, 2)] for shortest in (None, 0.020))
    assert sum(map(max, tight)) <= 1.9 * sum(map(max, without))
    assert sum(map(sum, tight)) <= 1.25 * sum(map(sum, without))
