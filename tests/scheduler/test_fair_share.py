"""Tenants: who goes first when they differ in what they were served, and what a pause is worth."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.scheduling import make_bench, request
from tidemill.core.objectives import Objectives
from tidemill.scheduler.fair_share import SEEN_SECONDS, FairShare
from tidemill.scheduler.sequence import SequenceRequest, new_sequence
from tidemill.scheduler.waiting_queue import WaitingQueue


def asked(sequence_id: int, *, tenant: str = "", ttft: float | None = None, **fields: object) -> SequenceRequest:
    """A request of a tenant with a promise."""
    import dataclasses

    objectives = Objectives(ttft_seconds=ttft)
    return dataclasses.replace(request(sequence_id, **fields), tenant=tenant, objectives=objectives)  # type: ignore[arg-type]


def test_a_lone_tenant_is_never_in_debt() -> None:
    shares = FairShare(quantum=10)
    shares.join("a", 0.0)
    shares.charge("a", 10_000)
    assert not shares.is_in_debt("a")
    assert not shares.has_others("a", 0.0)
    assert not shares.should_yield("a", 0.0)


def test_who_was_served_a_quantum_more_is_in_debt() -> None:
    shares = FairShare(quantum=10)
    shares.join("a", 0.0)
    shares.join("b", 0.0)
    shares.charge("a", 200)
    assert shares.is_in_debt("a")
    assert not shares.is_in_debt("b")
    shares.charge("b", 195 + 80)
    assert not shares.is_in_debt("a")


def test_a_pause_is_worth_a_bounded_credit() -> None:
    shares = FairShare(quantum=10)
    shares.join("a", 0.0)
    shares.charge("a", 1_000_000)
    shares.join("b", 0.0)
    assert shares.is_in_debt("a")
    shares.charge("b", 80 + 11)
    assert shares.is_in_debt("b"), "a newcomer cannot claim all that it never asked for"


def test_who_finds_nobody_here_has_no_credit() -> None:
    shares = FairShare(quantum=10)
    shares.join("old", 0.0)
    shares.charge("old", 1_000_000)
    shares.leave("old", 1.0)
    shares.join("new", 2.0)
    shares.join("old", 3.0)
    assert not shares.is_in_debt("old"), "what it had before, nobody else wanted"
    shares.charge("new", 11)
    assert shares.is_in_debt("new")


def test_who_comes_back_to_an_idle_machine_has_no_credit_either() -> None:
    shares = FairShare(quantum=10)
    for tenant in ("a", "b"):
        shares.join(tenant, 0.0)
    shares.charge("a", 1_000)
    for tenant in ("a", "b"):
        shares.leave(tenant, 1.0)
    shares.join("b", 2.0)
    shares.join("a", 2.0)
    assert not shares.is_in_debt("a")


def test_somebody_nobody_knows_has_a_smaller_credit_than_who_comes_back() -> None:
    first, back = FairShare(quantum=10), FairShare(quantum=10)
    back.join("b", 0.0)
    back.leave("b", 0.0)
    for shares in (first, back):
        shares.join("a", 1.0)
        shares.charge("a", 1_000)
        shares.join("b", 2.0)
        shares.charge("b", 20 + 11)
    assert first.is_in_debt("b")
    assert not back.is_in_debt("b")


def test_leaving_and_coming_back_gains_nothing() -> None:
    shares = FairShare(quantum=10)
    shares.join("a", 0.0)
    shares.join("b", 0.0)
    shares.charge("b", 500)
    for _ in range(10):
        shares.leave("b", 1.0)
        shares.join("b", 1.0)
    assert shares.is_in_debt("b")


def test_a_tenant_that_left_is_reckoned_with_for_a_minute() -> None:
    shares = FairShare(quantum=10)
    shares.join("a", 0.0)
    shares.join("b", 0.0)
    shares.leave("b", 0.0)
    assert shares.has_others("a", SEEN_SECONDS - 1)
    assert not shares.has_others("a", SEEN_SECONDS + 1)
    shares.charge("a", 1000)
    assert shares.should_yield("a", SEEN_SECONDS - 1)
    assert not shares.should_yield("a", SEEN_SECONDS + 1)


def test_the_queue_goes_by_priority_then_share_then_when_due() -> None:
    shares = FairShare(quantum=10)
    queue = WaitingQueue(shares)
    made = [
        asked(0, tenant="a", arrival=0.0),
        asked(1, tenant="a", arrival=3.0, ttft=1.0),
        asked(2, tenant="b", arrival=5.0),
        asked(3, tenant="a", arrival=9.0, priority=-1),
    ]
    for order, one in enumerate(made):
        shares.join(one.tenant, 0.0)
        queue.push(new_sequence(one, order, 1))
    shares.charge("b", 80)  # what it may be behind, having come later
    shares.charge("a", 5)
    taken = []
    while (first := queue.peek()) is not None:
        queue.remove(first)
        taken.append(first.sequence_id)
    assert taken == [3, 1, 0, 2], "within a share only when it is due counts"
    for order, one in enumerate(made):
        queue.push(new_sequence(one, order, 1))
    shares.charge("a", 500)
    first, without_b = queue.peek(), queue.peek({"a"})
    assert (first and first.sequence_id, without_b and without_b.sequence_id) == (3, 2)
    assert (of_all := queue.peek_of_all()) is not None
    assert of_all.sequence_id == 2


def test_the_last_places_are_kept_for_a_tenant_that_has_none() -> None:
    bench = make_bench(max_num_seqs=8)
    bench.add(*(asked(i, tenant="flood", max_new_tokens=20) for i in range(20)))
    bench.add(asked(20, tenant="quiet", max_new_tokens=2))
    for _ in range(4):
        bench.step()
    running = [s.request.tenant for s in bench.scheduler._running]
    assert running.count("flood") <= 7
    assert 20 in {new.sequence_id for batch in bench.batches for new in batch.new}, "it need not wait for an end"
    bench.drain()
    assert len(bench.finishes) == 21


@st.composite
def crowds(draw: st.DrawFn) -> list[SequenceRequest]:
    """Requests of some tenants and priorities, with and without promises."""
    num = draw(st.integers(1, 30))
    return [
        asked(
            i,
            tenant=draw(st.sampled_from(["", "a", "b", "c"])),
            ttft=draw(st.none() | st.floats(0.01, 5.0)),
            prompt=draw(st.integers(1, 40)),
            max_new_tokens=draw(st.integers(0, 12)),
            priority=draw(st.integers(-1, 2)),
            arrival=float(i),
        )
        for i in range(num)
    ]


@given(crowds(), st.integers(1, 6), st.integers(12, 40), st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_nobody_is_lost_whoever_they_are(crowd: list[SequenceRequest], places: int, num_blocks: int, rng) -> None:  # type: ignore[no-untyped-def]
    bench = make_bench(max_num_seqs=places, num_blocks=num_blocks, max_num_batched_tokens=16, max_model_len=48)
    crowd = [one for one in crowd if len(one.prompt_token_ids) + one.max_new_tokens <= 48]
    waiting = list(crowd)
    while waiting or bench.scheduler.has_work:
        while waiting and rng.random() < 0.5:
            bench.add(waiting.pop(0))
        bench.step()  # the runner checks budget, places and every cached position
    assert set(bench.finishes) == {one.sequence_id for one in crowd}
    shares = bench.scheduler._shares
    assert all(known.num_sequences == 0 for known in shares._tenants.values())
