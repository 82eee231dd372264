"""Who sits out a step for whom, and that it costs nobody what was promised."""

from itertools import pairwise

from tests.fakes.promise_rig import Answer, Arrival, PromiseRig, Truth, percentile
from tests.fakes.scheduling import CONSTANT, ROW, Stage
from tidemill.config.settings import SchedulerSettings, SloSettings


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


def test_who_sat_out_has_time_for_the_next_step() -> None:
    stage = Stage()
    flood = stage.flood(6, tpot=0.045)
    num_sat_out = 0
    for _ in range(100):
        stage.add("quiet", 50, max_new_tokens=1)
        for sequence_id in flood - set(stage.step(None)):
            num_sat_out += 1
            next_due = stage.sequence(sequence_id).next_due
            assert next_due is not None
            assert next_due >= stage.clock() + CONSTANT + len(flood) * ROW - 1e-9
    assert num_sat_out


def test_streams_that_were_promised_no_time_per_token_do_not_sit_out_twice_in_a_row() -> None:
    stage = Stage()
    flood = stage.flood(6, tpot=None, ttft=1.0)
    steps = []
    for _ in range(40):
        stage.add("quiet", 50, tpot=None, ttft=1.0, max_new_tokens=1)
        steps.append(flood & set(stage.step()))
    assert all(one | other == flood for one, other in pairwise(steps))
    assert not all(steps)


def test_nobody_sits_out_for_a_less_urgent_prompt() -> None:
    stage = Stage()
    stage.knows("quiet")
    flood = stage.flood(6)
    for _ in range(20):
        stage.add("quiet", 50, max_new_tokens=1, priority=9)
        assert flood <= set(stage.step())


def test_nobody_sits_out_for_a_prompt_that_cannot_begin_while_others_do() -> None:
    stage = Stage(max_num_seqs=6)
    flood = stage.flood(5)
    long = stage.add("flood", 2000)
    assert set(stage.step()) == flood | {long}
    stage.add("quiet", 50)
    for _ in range(4):
        assert set(stage.step()) == flood | {long}, "the quiet one waits for a place, and they for nothing"


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
    for keeps_promises, quiet in ((True, False), (False, True)):
        stage = Stage(keeps_promises=keeps_promises)
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
