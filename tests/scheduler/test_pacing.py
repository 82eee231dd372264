"""What a time per token lets a step hold."""

import dataclasses
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.promise_rig import TrueRunner, Truth
from tests.fakes.scheduling import request
from tidemill.config.settings import CacheSettings, SchedulerSettings, SimulationSettings
from tidemill.core.clock import VirtualClock
from tidemill.core.objectives import Objectives
from tidemill.cost.model import CostModel
from tidemill.engine.core.calibration import calibrate, synthetic_steps
from tidemill.engine.core.simulated import simulated_layout
from tidemill.scheduler.fair_share import FairShare
from tidemill.scheduler.pacing import Pacing, shape_of
from tidemill.scheduler.scheduler import Scheduler
from tidemill.scheduler.sequence import Sequence, new_sequence


def calibrated() -> CostModel:
    """A model of the simulated machine: some 20 ms a step, and 1.1 ms a row beyond about 18."""
    model, clock = CostModel(), VirtualClock()
    steps = synthetic_steps(max_num_seqs=64, max_num_batched_tokens=512, max_model_len=4096)
    layout = simulated_layout(SimulationSettings(), CacheSettings())
    runner = TrueRunner(Truth(), clock, 1)
    num = calibrate(
        model, runner, layout, steps, model_id=0, clock=clock, budget_seconds=1e9, progress=lambda _fraction: None
    )
    assert 40 <= num <= 200, "a few dozen steps, each twice"
    assert model.is_calibrated
    assert not runner._known
    return model


MODEL = calibrated()


def paced() -> Pacing:
    return Pacing(MODEL, FairShare(512))


def stream(sequence_id: int, tpot: float | None, context: int = 200) -> Sequence:
    one = dataclasses.replace(request(sequence_id, context, 500), objectives=Objectives(tpot_seconds=tpot))
    made = new_sequence(one, sequence_id, 1)
    made.first_token_at = 0.0
    made.tokens.append(1)
    return made


def prompt(ttft: float | None) -> Sequence:
    return new_sequence(dataclasses.replace(request(99, 5, 1), objectives=Objectives(ttft_seconds=ttft)), 99, 1)


def share(pacing: Pacing, streams: list[Sequence], *, ttft: float | None = None, yields: bool = False) -> int:
    first = prompt(ttft)
    limit = pacing.step_limit(streams, [first], first=first, yields=yields, now=0.0)
    return pacing.prompt_share(streams, limit.seconds, context=0, most=512)


def test_without_a_promise_there_is_no_limit() -> None:
    pacing = paced()
    assert share(pacing, [stream(i, None) for i in range(8)]) == 512
    assert share(pacing, []) == 512
    assert pacing.has_room([stream(i, None) for i in range(60)], stream(60, None), num_spare=0)


def test_the_chunk_is_what_the_tightest_stream_allows() -> None:
    loose, tight = [stream(i, 0.4) for i in range(8)], [stream(9, 0.1)]
    wide, narrow = share(paced(), loose), share(paced(), loose + tight)
    assert 512 > wide > narrow > 0
    assert MODEL.times.seconds(shape_of(loose + tight).with_prompt(narrow, 0)) <= 0.125


def test_a_stream_behind_its_time_leaves_less() -> None:
    behind = stream(0, 0.2)
    behind.first_token_at = -1.0
    assert share(paced(), [behind]) < share(paced(), [stream(0, 0.2)])


def test_what_not_even_a_lone_stream_could_keep_holds_nobody_back() -> None:
    pacing, impossible = paced(), [stream(i, 1e-9) for i in range(8)]
    assert share(pacing, impossible) == 512
    assert pacing.has_room(impossible, stream(9, None), num_spare=0)
    mixed = [*impossible, stream(9, 0.1)]
    assert share(pacing, mixed) == share(pacing, [*(stream(i, None) for i in range(8)), stream(9, 0.1)])


def test_prompts_get_on_though_no_time_is_left_for_them() -> None:
    pacing = paced()
    streams = [stream(i, 0.024) for i in range(8)]
    granted = [share(pacing, streams) for _ in range(20)]
    assert 0 in granted
    gaps = "".join("." if tokens else "x" for tokens in granted).split(".")
    assert max(len(gap) for gap in gaps) <= 4, "never more than four steps in a row without one"


def test_steps_are_short_beside_a_time_to_a_first_token_and_shorter_still_where_others_may_come() -> None:
    alone = share(paced(), [])
    beside = share(paced(), [], ttft=1.0)
    yielding = share(paced(), [], ttft=1.0, yields=True)
    assert alone > beside > yielding > 0


def test_so_many_streams_run_that_decoding_alone_keeps_their_time() -> None:
    pacing = paced()
    running: list[Sequence] = []
    while len(running) < 200 and pacing.has_room(running, stream(len(running), 0.05), num_spare=0):
        running.append(stream(len(running), 0.05))
    assert 1 < len(running) < 200
    assert MODEL.times.seconds(shape_of(running)) <= 0.05
    assert not pacing.has_room(running, stream(999, 0.05), num_spare=0)
    assert not pacing.has_room(running[:-1], stream(999, 0.05), num_spare=8), "some are kept for others"


def test_one_stream_always_may_run() -> None:
    assert paced().has_room([], stream(0, 1e-6), num_spare=0)


@given(st.integers(0, 2**32), st.floats(0.0005, 1.0), st.integers(32, 512), st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_whatever_is_promised_everybody_is_served_within_the_budget(
    seed: int, tpot: float, budget: int, places: int
) -> None:
    rng, clock = random.Random(seed), VirtualClock()
    limits = SchedulerSettings(max_num_seqs=places, max_num_batched_tokens=budget, max_queue=500)
    layout = simulated_layout(SimulationSettings(sim_kv_tokens=4096), CacheSettings())
    scheduler = Scheduler(
        limits, layout, prefix_caching=False, model_fingerprint=b"", max_model_len=2048, clock=clock,
        costs=CostModel.recall(MODEL.memory()), keeps_promises=True,
    )  # fmt: skip
    runner = TrueRunner(Truth(), clock, seed)
    left = {}
    for i in range(12):
        one = request(i, rng.randint(1, 900), rng.randint(1, 20), priority=rng.randrange(2), arrival=0.0)
        promised = Objectives(tpot_seconds=tpot, ttft_seconds=rng.choice((None, 0.2, 2.0)))
        scheduler.add(dataclasses.replace(one, objectives=promised, tenant=rng.choice("ab")))
        left[i] = one.max_new_tokens
    for _ in range(20_000):
        batch = scheduler.schedule()
        if batch is None:
            break
        assert 0 < batch.num_rows <= budget
        assert len(batch.sequences) <= places
        started = clock()
        for output in scheduler.update(batch, runner.launch(batch).result()):
            left[output.sequence_id] -= len(output.token_ids)
        scheduler.learn(clock() - started)
    assert not scheduler.has_work
    assert set(left.values()) == {0}
