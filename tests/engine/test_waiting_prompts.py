"""The mirror of the engine's queue: order and sums of prompts, whatever comes, gets on and goes."""

import random
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.test_promise import SLOW
from tidemill.config.settings import SchedulerSettings, Settings, SloSettings
from tidemill.core.objectives import Objectives
from tidemill.core.requests import SamplingParams
from tidemill.core.stats import PromiseOutcome
from tidemill.engine.client import foresight as foresight_module
from tidemill.engine.client.offer import Offer, OfferedPrompt
from tidemill.engine.client.outstanding import OutstandingSequences
from tidemill.engine.client.outstanding_sequence import OutstandingSequence
from tidemill.engine.client.promise import Promise
from tidemill.engine.protocol import Submit
from tidemill.scheduler import forecast as forecast_module
from tidemill.scheduler.prompt_order import Rank


def sequence(number: int, rng: random.Random) -> OutstandingSequence:
    arrival = rng.choice((1.0, 2.0, 3.0))
    return OutstandingSequence(
        sequence_id=number,
        tenant=rng.choice("abc"),
        priority=rng.choice((-1, 0, 0, 3)),
        objectives=Objectives(ttft_seconds=rng.choice((None, 0.5, 2.0))),
        arrival=arrival,
        due=arrival + rng.choice((0.5, 2.0, 60.0)),
        submitted_at=arrival,
        num_prompt_tokens=rng.randint(10, 500),
        max_new_tokens=rng.randint(1, 300),
        num_expected_cached=rng.choice((0, 0, 7)),
    )


def rank_of(sequences: OutstandingSequences, one: OutstandingSequence) -> Rank:
    return one.priority, sequences.shares.is_in_debt(one.tenant), one.due, one.arrival, one.sequence_id


@given(st.integers(0, 2**32), st.integers(1, 80), st.integers(0, 20))
@settings(max_examples=100, deadline=None)
def test_order_and_sums_are_what_a_look_at_each_says(seed: int, num_events: int, num_first: int) -> None:
    rng = random.Random(seed)
    sequences = OutstandingSequences(200, keeps_promises=rng.random() < 0.5)
    for number in range(num_events):
        sequences.add(sequence(number, rng), 1.0)
        known = sequences.get(rng.randrange(number + 1))
        if known is None:
            continue
        event = rng.randrange(5)
        if event == 0:
            sequences.note_tokens(known, (5, 6), 2.0)
        elif event == 1 and not known.is_stream:
            sequences.note_progress([(known.sequence_id, rng.randint(1, 9))])
        elif event == 2:
            sequences.remove(known.sequence_id, 2.0)
    everybody = list(sequences)
    prompts = sorted((s for s in everybody if not s.is_stream), key=lambda s: rank_of(sequences, s))
    waiting = [s for s in prompts if not s.is_begun]
    head = sequences.head(num_first)
    expected = [s for s in prompts if s.is_begun or s in waiting[:num_first]]
    assert head == [(rank_of(sequences, s), s) for s in expected]

    newcomer = sequence(num_events, rng)
    sequences.shares.join(newcomer.tenant, 2.0)
    head, rank, yielders = sequences.head(num_first), rank_of(sequences, newcomer), sequences.yielders(2.0)
    shown = {s.sequence_id for _, s in head}
    left = [s for s in waiting if s.sequence_id not in shown and rank_of(sequences, s) < rank]
    crowds = sequences.crowds(rank, head, yielders)
    assert [crowd.yields for crowd in crowds] == sorted({s.tenant in yielders for s in left})
    for crowd in crowds:
        own = [s for s in left if (s.tenant in yielders) == crowd.yields]
        assert crowd.num == len(own)
        assert crowd.num_tokens == sum(s.num_prompt_tokens - s.num_expected_cached for s in own)
        assert crowd.context == sum(s.num_expected_cached for s in own)
        mean = sum(sequences.expected_tokens(s.max_new_tokens) for s in own) / len(own)
        assert crowd.num_output_tokens >= int(mean), "never reckoned to end too soon"

    promised = [s.objectives.ttft_seconds for s in prompts if s.objectives.ttft_seconds is not None]
    assert sequences.least_ttft_seconds == min(promised, default=None)
    assert sequences.num_tokens == sum(s.num_prompt_tokens + s.num_output_tokens for s in everybody)
    sequences.note_surprise(less_urgent_than=0)
    assert {s.sequence_id for s in prompts if not s.is_telling} == {s.sequence_id for s in prompts if s.priority > 0}


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 2000)), max_size=12), st.floats(0.0, 120.0))
def test_who_is_in_debt_and_who_yields_is_the_same_for_all_at_once(
    charges: list[tuple[str, int]], later: float
) -> None:
    shares = OutstandingSequences(200, keeps_promises=True).shares
    for index, (tenant, num_tokens) in enumerate(charges):
        shares.join(tenant, float(index))
        shares.charge(tenant, num_tokens)
        if index % 3 == 2:
            shares.leave(tenant, float(index))
    names = {tenant for tenant, _ in charges}
    assert shares.debtors() == {name for name in names if name in shares._tenants and shares.is_in_debt(name)}
    assert shares.yielders(later) == {name for name in names if shares.should_yield(name, later)}


class Door:
    """A promise with many prompts ahead."""

    def __init__(self, num_waiting: int, *, max_num_seqs: int = 32) -> None:
        self._rng, self._now = random.Random(7), 0.0
        settings = Settings(
            slo=SloSettings(slo_profile="relaxed", on_overload="queue"),
            scheduler=SchedulerSettings(max_num_seqs=max_num_seqs, max_queue=100_000),
        )
        outcomes: list[PromiseOutcome] = []
        self.promise = Promise(settings, lambda: self._now, outcomes.append)
        self.promise.learnt(SLOW)
        for number in range(num_waiting):
            self._now += 0.0001
            offer = self.offer()
            submit = Submit(
                sequence_id=number, prompt_token_ids=(), sampling=SamplingParams(seed=0), max_new_tokens=64,
                prompt_index=0, sample_index=0, priority=0, cache_salt="", tenant=offer.tenant,
                objectives=offer.objectives, arrival=self._now,
            )  # fmt: skip
            self.promise.submitted(submit, offer.prompts[0], offer, None)

    def offer(self) -> Offer:
        objectives = Objectives(ttft_seconds=self._rng.choice((1.0, 5.0)), tpot_seconds=0.18)
        return Offer(
            prompts=(OfferedPrompt(self._rng.randint(10, 400), 0, None),), max_new_tokens=64, is_length_asked=True,
            is_length_known=False,
            priority=0, tenant=self._rng.choice("abcd"), objectives=objectives, asked=objectives, arrival=self._now,
        )  # fmt: skip

    def predicted(self) -> float:
        prediction = self.promise.foresight.predict(self.offer())
        assert prediction is not None
        return prediction.ttft_seconds


def num_calls(door: Door) -> int:
    """Calls of functions, Python's own too, while a request is predicted."""
    counted: Counter[str] = Counter()
    sys.setprofile(lambda _frame, event, _argument: counted.update((event,)))
    try:
        door.predicted()
    finally:
        sys.setprofile(None)
    return counted["call"] + counted["c_call"]


def test_the_door_does_not_slow_down_behind_a_long_queue() -> None:
    some, many = num_calls(Door(400)), num_calls(Door(8_000))
    assert many <= 1.2 * some


def test_a_long_queue_is_predicted_about_as_if_it_were_played_prompt_by_prompt() -> None:
    for num_waiting in (150, 600, 2000):
        bounded = Door(num_waiting).predicted()
        with pytest.MonkeyPatch.context() as played_out:
            played_out.setattr(foresight_module, "head_size", lambda _places: 10**9)
            played_out.setattr(forecast_module, "MAX_STEPS", 10**9)
            plain = Door(num_waiting).predicted()
        assert 0.95 <= bounded / plain <= 1.1
