"""What shares a step with the prompts that it completes."""

import dataclasses
import math

from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.promise_rig import TrueRunner, Truth
from tests.fakes.scheduling import ROW, Known, known_scheduler, request
from tidemill.core.clock import VirtualClock
from tidemill.core.objectives import Objectives
from tidemill.cost.step_shape import StepShape, streams_shape
from tidemill.cost.step_times import StepTimes
from tidemill.scheduler.batch import Batch
from tidemill.scheduler.scheduler import Scheduler
from tidemill.scheduler.step_sharing import may_share


def first_step(engine: Scheduler, *prompts: tuple[int, str, int]) -> dict[int, int]:
    """Rows by number of prompt, each of (tokens, tenant, priority)."""
    for number, (num_tokens, tenant, priority) in enumerate(prompts):
        one = request(number, num_tokens, 4, priority=priority)
        engine.add(dataclasses.replace(one, tenant=tenant, objectives=Objectives(tpot_seconds=10.0)))
    batch = engine.schedule()
    assert isinstance(batch, Batch)
    return {s.sequence_id: s.num_tokens for s in batch.sequences}


def test_a_prompt_is_not_held_up_for_the_next() -> None:
    assert first_step(known_scheduler(), (100, "", 0), (100, "", 0)) == {0: 100}


def test_short_prompts_are_computed_together() -> None:
    assert first_step(known_scheduler(), *[(4, "", 0)] * 3) == {0: 4, 1: 4, 2: 4}


def test_the_more_wait_the_more_go_together() -> None:
    few = first_step(known_scheduler(), *[(20, "", 0)] * 3)
    many = first_step(known_scheduler(), *[(20, "", 0)] * 30)
    assert len(few) < len(many) < 30


def test_where_nothing_is_promised_steps_are_full() -> None:
    assert first_step(known_scheduler(keeps_promises=False), *[(100, "", 0)] * 8) == {
        0: 100,
        1: 100,
        2: 100,
        3: 100,
        4: 100,
        5: 12,
    }


def test_a_lesser_class_does_not_lengthen_the_step_of_a_better_one() -> None:
    assert first_step(known_scheduler(), (4, "", 0), (4, "", 1)) == {0: 4}
    engine = known_scheduler()
    engine._shares.join("flood", 0.0)
    engine._shares.join("quiet", 0.0)
    engine._shares.charge("flood", 5000)
    assert first_step(engine, (4, "quiet", 0), *[(4, "flood", 0)] * 20) == {0: 4}


@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 8), st.integers(1, 50), st.integers(0, 16))
def test_the_smaller_sum_of_waits_is_chosen(
    first: int, second: int, num_completed: int, num_behind: int, num_streams: int
) -> None:
    times = Known().times
    streams = streams_shape(num_streams, 100 * num_streams)
    step = streams.with_prompt(first, 0)
    together = times.seconds(step.with_prompt(second, 0))
    apart = (
        times.seconds(step),
        times.seconds(step) + times.seconds(streams_shape(max(1, num_streams), 0)) + second * ROW,
    )
    sums = (num_completed + num_behind) * together, num_completed * apart[0] + num_behind * apart[1]
    shares = may_share(
        times, streams, step, step.with_prompt(second, 0), num_completed=num_completed, num_behind=num_behind
    )
    assert shares == (sums[0] <= sums[1]) or math.isclose(*sums)


def test_a_step_that_completes_nobody_takes_whoever_is_next() -> None:
    shape = StepShape(1, 1, 1, 1)
    assert may_share(StepTimes(), shape, shape, shape.with_prompt(500, 0), num_completed=0, num_behind=1)


def test_nobody_is_left_behind_by_many_who_are_completed_first() -> None:
    clock = VirtualClock()
    engine = known_scheduler(clock, max_num_seqs=8, max_queue=500)
    runner, served = TrueRunner(Truth(), clock, 1), set()
    patient = request(0, 300, 2, priority=9)
    engine.add(dataclasses.replace(patient, objectives=Objectives(ttft_seconds=10.0)))
    for step in range(1, 200):
        urgent = request(step, 40, 1, arrival=clock())
        engine.add(dataclasses.replace(urgent, objectives=Objectives(ttft_seconds=5.0)))
        batch = engine.schedule()
        assert batch is not None
        outputs = engine.update(batch, runner.launch(batch).result())
        served |= {output.sequence_id for output in outputs if output.token_ids}
        if 0 in served:
            break
    assert 0 in served, "its time came, whatever came after it"
