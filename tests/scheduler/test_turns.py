"""Who sits out a step for whom, and that it costs nobody what was promised."""

import dataclasses

from tests.fakes.promise_rig import Answer, Arrival, PromiseRig, Truth, percentile
from tests.fakes.scheduling import request
from tests.scheduler.test_step_sharing import Known
from tidemill.config.settings import CacheSettings, SchedulerSettings, SimulationSettings, SloSettings
from tidemill.core.clock import VirtualClock
from tidemill.core.objectives import Objectives
from tidemill.engine.core.simulated import simulated_layout
from tidemill.scheduler.batch import Batch, SequenceResult, StepResult
from tidemill.scheduler.scheduler import Scheduler

TPOT = 0.5


class Stage:
    """A scheduler by hand: every step takes 10 ms and every sequence yields a token when it is complete."""

    def __init__(self, *, guards: bool = True, max_num_seqs: int = 32) -> None:
        self.clock = VirtualClock()
        self.scheduler = Scheduler(
            SchedulerSettings(max_num_seqs=max_num_seqs, max_num_batched_tokens=256),
            simulated_layout(SimulationSettings(), CacheSettings()),
            prefix_caching=False, model_fingerprint=b"", max_model_len=4096, clock=self.clock, costs=Known(),
            guards_oldest=guards,
        )  # fmt: skip
        self._number = 0

    def add(self, tenant: str, num_tokens: int, tpot: float = TPOT) -> int:
        self._number += 1
        one = request(self._number, num_tokens, 200, arrival=self.clock())
        self.scheduler.add(dataclasses.replace(one, tenant=tenant, objectives=Objectives(tpot_seconds=tpot)))
        return self._number

    def step(self, seconds: float = 0.01) -> dict[int, int]:
        batch = self.scheduler.schedule()
        assert isinstance(batch, Batch)
        self.clock.advance(seconds)
        results = tuple(SequenceResult(s.sequence_id, token_ids=(7,) if s.samples else ()) for s in batch.sequences)
        self.scheduler.update(batch, StepResult(batch.step, results))
        return {s.sequence_id: s.num_tokens for s in batch.sequences}

    def flood(self, num: int, tpot: float = TPOT) -> set[int]:
        """`num` streams of a tenant that has had far more than anybody else."""
        ids = {self.add("flood", 10, tpot) for _ in range(num)}
        while not ids <= set(self.step()):
            pass
        self.scheduler._shares.charge("flood", 50_000)
        return ids


def test_streams_beyond_their_share_sit_out_beside_a_prompt_within_its_own() -> None:
    stage = Stage()
    flood = stage.flood(6)
    quiet = stage.add("quiet", 50)
    assert stage.step() == {quiet: 50}
    assert flood <= set(stage.step())


def test_streams_that_are_late_do_not_sit_out() -> None:
    stage = Stage()
    flood = stage.flood(6, tpot=0.06)
    stage.clock.advance(2.0)
    quiet = stage.add("quiet", 50)
    assert set(stage.step()) == flood | {quiet}


def test_where_somebody_may_come_prompts_and_streams_take_turns() -> None:
    stage = Stage()
    stage.scheduler._shares.join("quiet", 0.0)
    stage.scheduler._shares.leave("quiet", 0.0)
    flood = stage.flood(6)
    long = stage.add("flood", 600)
    steps = [set(stage.step()) for _ in range(6)]
    assert [step == {long} for step in steps] == [True, False] * 3
    assert [step == flood for step in steps] == [False, True] * 3


def test_nobody_sits_out_without_other_tenants_or_without_a_promise() -> None:
    for guards, quiet in ((True, False), (False, True)):
        stage = Stage(guards=guards)
        if quiet:
            stage.scheduler._shares.join("quiet", 0.0)
        flood = stage.flood(6)
        prompt = stage.add("flood", 100)
        assert set(stage.step()) == flood | {prompt}


def test_a_prompt_that_finds_no_place_costs_streams_no_step() -> None:
    stage = Stage(max_num_seqs=7)
    stage.scheduler._shares.join("quiet", 0.0)
    flood = stage.flood(6)
    stage.add("flood", 50)
    assert all(set(stage.step()) == flood for _ in range(4))


def test_those_who_sat_out_keep_their_time_per_token() -> None:
    truth = Truth(weights_seconds=0.0006, row_seconds=4e-5, sample_seconds=2e-4, turn_seconds=3e-4)
    slo, scheduling = SloSettings(slo_ttft_seconds=0.3, slo_tpot_seconds=0.045), SchedulerSettings(max_num_seqs=16)
    rig = PromiseRig(slo=slo, truth=truth, scheduling=scheduling)
    quiet = [Arrival(0.5 + 0.25 * i, 200, 8, "quiet") for i in range(40)]
    flood = [Arrival(0.02 * i, 250, 40, "flood") for i in range(500)]
    answers = [answer for answer in rig.serve([*quiet, *flood]) if not answer.is_refused]

    def first_token(answer: Answer) -> float:
        return answer.ttft_seconds

    assert all(sum(answer.gaps) / len(answer.gaps) <= 0.045 for answer in answers)
    own = [first_token(answer) for answer in answers if answer.arrival.tenant == "quiet"]
    alone = [first_token(answer) for answer in PromiseRig(slo=slo, truth=truth).serve(quiet)]
    assert len(own) == len(quiet)
    longest_turn = truth.weights_seconds + truth.turn_seconds + 16 * truth.sample_seconds
    assert percentile(own, 0.95) <= 1.2 * percentile(alone, 0.95) + longest_turn
