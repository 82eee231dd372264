"""The simulated engine: its model of time on a virtual clock, its tokens, its failures; the real scheduler above it."""

import math

import pytest

from tests.fakes.scheduling import request
from tidemill.config.settings import CacheSettings, SchedulerSettings, SimulationSettings
from tidemill.core.clock import VirtualClock
from tidemill.core.requests import FinishReason
from tidemill.engine.core.simulated import SimulatedRunner, simulated_layout
from tidemill.engine.core.simulation import SequenceRecord, simulate
from tidemill.scheduler.batch import Batch, ScheduledSequence
from tidemill.scheduler.scheduler import Scheduler
from tidemill.scheduler.sequence import SequenceRequest, announcement, new_sequence

ALLOWED = tuple(range(32, 127))
TIMES = SimulationSettings(
    sim_ttft_seconds=1.0,
    sim_seconds_per_token=0.25,
    sim_seconds_per_prompt_token=0.0625,
    sim_seconds_per_sequence=0.03125,
)


def run(
    simulation: SimulationSettings,
    *arrivals: SequenceRequest,
    scheduling: SchedulerSettings | None = None,
    max_model_len: int = 256,
) -> tuple[SequenceRecord, ...]:
    clock = VirtualClock()
    scheduler = Scheduler(
        scheduling or SchedulerSettings(),
        simulated_layout(simulation, CacheSettings()),
        prefix_caching=True,
        model_fingerprint=b"simulated",
        max_model_len=max_model_len,
        clock=clock,
    )
    runner = SimulatedRunner(simulation, ALLOWED, clock=clock, sleep=clock.advance)
    return simulate(scheduler, runner, arrivals, clock)


def test_a_lone_request_takes_what_the_settings_say() -> None:
    (record,) = run(TIMES, request(0, 16, 3, arrival=10.0))
    assert record.time_to_first_token_seconds == 1.0 + 0.25 + 16 * 0.0625
    assert record.token_seconds == [12.25, 12.5, 12.75]
    assert record.finished_seconds == 12.75


def test_streams_share_a_step_and_a_prompt_delays_them() -> None:
    first, second = run(TIMES, request(0, 16, 5), request(1, 16, 2, arrival=2.3))
    # Steps end at 2.25, 2.5 (the second arrives), then one with a stream and a whole prompt, then two streams.
    with_prompt = 2.5 + 0.25 + 16 * 0.0625 + 1.0
    both = with_prompt + 0.25 + 0.03125
    assert first.token_seconds == [2.25, 2.5, with_prompt, both, both + 0.25]
    assert second.token_seconds == [with_prompt, both]


def test_a_chunk_that_does_not_complete_its_prompt_costs_its_rows_only() -> None:
    (record,) = run(TIMES, request(0, 40, 1), scheduling=SchedulerSettings(max_num_batched_tokens=16))
    assert record.token_seconds == [3 * 0.25 + 40 * 0.0625 + 1.0]


def test_prefix_hits_save_time() -> None:
    prompt = tuple(range(64))
    first, second = run(TIMES, request(0, prompt, 1), request(1, prompt, 1, arrival=100.0))
    assert first.time_to_first_token_seconds == 1.25 + 64 * 0.0625
    assert second.time_to_first_token_seconds == 1.25 + 16 * 0.0625


def test_tokens_do_not_depend_on_company_or_pressure() -> None:
    arrivals = [request(i, 20 + i, 60, seed=i, temperature=i % 2) for i in range(12)]
    calm = run(SimulationSettings(), *arrivals, max_model_len=128)
    pressed = run(SimulationSettings(sim_kv_tokens=256), *arrivals, max_model_len=128)
    alone = [run(SimulationSettings(), one, max_model_len=128)[0] for one in arrivals]
    assert [r.token_ids for r in calm] == [r.token_ids for r in pressed] == [r.token_ids for r in alone]
    assert sum(r.finish.num_preemptions for r in pressed if r.finish) > 0
    assert len({tuple(r.token_ids) for r in calm}) == 12
    assert set().union(*(r.token_ids for r in calm)) <= set(ALLOWED)


def test_a_continuation_goes_on_where_the_stream_stopped() -> None:
    (whole,) = run(SimulationSettings(), request(0, (1, 2, 3), 20))
    (rest,) = run(SimulationSettings(), request(9, (1, 2, 3, *whole.token_ids[:8]), 12))
    assert whole.token_ids[8:] == rest.token_ids


def test_seeds_matter_only_when_sampling() -> None:
    def tokens(seed: int, temperature: float, sim_seed: int = 0) -> list[int]:
        settings = SimulationSettings(sim_seed=sim_seed)
        return run(settings, request(0, (1, 2), 16, seed=seed, temperature=temperature))[0].token_ids

    assert tokens(1, 0.0) == tokens(2, 0.0)
    assert tokens(1, 1.0) != tokens(2, 1.0)
    assert tokens(1, 0.0) != tokens(1, 0.0, sim_seed=1)


@pytest.mark.parametrize(("rate", "expected"), [(0.0, (0, 0)), (0.25, (60, 140)), (1.0, (400, 400))])
def test_failures_come_at_their_rate_and_again_in_the_same_places(rate: float, expected: tuple[int, int]) -> None:
    settings = SimulationSettings(sim_failure_rate=rate, sim_seed=3)
    arrivals = [request(i, 4, 2, arrival=float(i)) for i in range(400)]
    reasons = [record.finish.reason for record in run(settings, *arrivals) if record.finish]
    assert expected[0] <= reasons.count(FinishReason.ERROR) <= expected[1]
    assert reasons == [record.finish.reason for record in run(settings, *arrivals) if record.finish]


def test_answers_end_by_themselves_if_they_are_set_to() -> None:
    settings = SimulationSettings(sim_mean_output_tokens=8)
    eos = frozenset({2})
    free = [request(i, 4, 200, eos=eos, arrival=float(i)) for i in range(100)]
    lengths = [len(record.token_ids) for record in run(settings, *free)]
    assert 5 < sum(lengths) / 100 < 12
    bound = run(settings, request(0, 4, 50, eos=eos, ignore_eos=True), request(1, 4, 200, eos=eos, min_tokens=90))
    assert len(bound[0].token_ids) == 50
    assert len(bound[1].token_ids) > 90
    assert bound[1].token_ids[-1] == 2


def test_stop_tokens_are_honoured() -> None:
    (plain,) = run(SimulationSettings(), request(0, (5, 6), 20))
    stop = plain.token_ids[7]
    (stopped,) = run(SimulationSettings(), request(0, (5, 6), 20, stop_token_ids=(stop,)))
    assert stopped.token_ids == plain.token_ids[: plain.token_ids.index(stop) + 1]
    assert stopped.finish
    assert stopped.finish.stop_token_id == stop


def test_logprobs_are_uniform_over_what_may_be_answered() -> None:
    clock = VirtualClock()
    runner = SimulatedRunner(SimulationSettings(), ALLOWED, clock=clock, sleep=clock.advance)
    asked = request(0, (40, 41, 7), 4, num_logprobs=3, num_prompt_logprobs=2)
    sequence = new_sequence(asked, 0, 1)
    batch = Batch(1, 0, (announcement(sequence),), (ScheduledSequence(0, 0, 3, ([1],), samples=True),), ())
    (result,) = runner.launch(batch).result().sequences
    logprob = pytest.approx(-math.log(len(ALLOWED)))
    (entry,) = result.logprobs
    assert (entry.token_id, entry.logprob) == (result.token_ids[0], logprob)
    assert entry.top_token_ids[0] == entry.token_id
    assert len(set(entry.top_token_ids)) == len(entry.top_logprobs) == 3
    assert [prompt.token_id for prompt in result.prompt_logprobs] == [41, 7]
    assert all(len(prompt.top_token_ids) == 2 for prompt in result.prompt_logprobs)


def test_overload_is_refused_and_says_so() -> None:
    scheduling = SchedulerSettings(max_num_seqs=2, max_queue=3)
    records = run(TIMES, *(request(i, 4, 4) for i in range(8)), scheduling=scheduling)
    assert [record.was_refused for record in records] == [False] * 5 + [True] * 3
