"""The books balance, and each request's share is about what it truly took."""

import random
import statistics
from collections.abc import Sequence

import pytest

from tests.fakes.ledger_rig import IDLE_WATTS, LedgerRig, mixed
from tidemill.core.footprint import Charge
from tidemill.ledger.entries import IntervalEntry, RequestEntry


def test_there_were_aborts_failures_hits_and_preemptions(rig: LedgerRig) -> None:
    requests = [entry for entry in rig.entries if isinstance(entry, RequestEntry)]
    assert len(requests) == 10_000
    assert {entry.outcome for entry in requests} == {"finished", "aborted", "failed"}
    assert rig.num_preemptions > 100
    assert sum(entry.waste_joules["recomputed"] for entry in requests) > 0.0
    assert sum(entry.avoided_joules for entry in requests) > 0.0


def test_each_share_is_about_the_truth(rig: LedgerRig) -> None:
    errors = [
        abs(entry.joules / rig.true_joules[int(entry.request_id)] - 1.0)
        for entry in rig.entries
        if isinstance(entry, RequestEntry)
    ]
    assert statistics.median(errors) < 0.05
    assert statistics.quantiles(errors, n=20)[-1] < 0.20


def test_the_books_balance(rig: LedgerRig) -> None:
    requests = [entry for entry in rig.entries if isinstance(entry, RequestEntry)]
    intervals = [entry for entry in rig.entries if isinstance(entry, IntervalEntry)]
    metered = sum(entry.meter_joules for entry in intervals)
    assert metered == pytest.approx(rig.meter.exact, abs=0.01)
    assert rig.open_joules == 0.0
    spent = sum(entry.joules for entry in requests) + sum(entry.idle_joules for entry in intervals)
    assert spent == pytest.approx(metered, rel=1e-9)
    assert sum(rig.true_joules.values()) == pytest.approx(sum(entry.joules for entry in requests), rel=0.01)
    for interval in rig.intervals:
        charged = sum(charge.joules for charge in interval.charges)
        assert charged + interval.idle_joules == pytest.approx(interval.meter_joules, abs=1e-9)
        assert interval.idle_joules >= -1e-9


def test_idle_is_what_the_machine_draws_between_steps(rig: LedgerRig) -> None:
    assert rig.books.model.idle_watts == pytest.approx(IDLE_WATTS, rel=0.05)


def test_every_sequence_is_charged_in_full_once(rig: LedgerRig) -> None:
    finals = [c.sequence_id for interval in rig.intervals for c in interval.charges if c.is_final]
    assert sorted(finals) == sorted(rig.true_joules)


def test_the_residual_is_small_on_a_load_it_was_not_fitted_on(rig: LedgerRig) -> None:
    """Coefficients of the mixed load, frozen, on other lengths and another occupancy, interval by interval."""
    other = LedgerRig(kv_tokens=16_384, max_num_seqs=8, seed=5)
    errors, metered = 0.0, 0.0
    observe = other.books.model.observe

    def judge(idle_seconds: float, busy_seconds: float, features: Sequence[float], joules: float) -> float | None:
        nonlocal errors, metered
        errors += abs(joules - rig.books.model.joules(idle_seconds, busy_seconds, features))
        metered += joules
        return observe(idle_seconds, busy_seconds, features, joules)

    other.books.model.observe = judge  # type: ignore[method-assign]
    other.serve(mixed(800, random.Random(3), prompt=5.5, output=4.4))
    assert metered > 1000.0
    assert errors / metered < 0.05


def test_what_leaves_before_it_ran_is_closed_at_no_cost() -> None:
    rig = LedgerRig()
    rig.books.left(17)
    rig.clock.advance(1.0)
    interval = rig.books.close_if_due()
    assert interval is not None
    assert interval.charges == (Charge(17, 0.0, 0.0, is_final=True),)


def test_a_meter_that_is_gone_keeps_nobody_waiting_for_ever() -> None:
    rig = LedgerRig()
    rig.meter.joules = lambda: None  # type: ignore[method-assign]
    rig.books.left(17)
    rig.clock.advance(61.0)
    interval = rig.books.close_if_due()
    assert interval is not None
    assert interval.meter_joules == interval.idle_joules == 0.0
    assert interval.charges == (Charge(17, 0.0, 0.0, is_final=True),)


def test_a_meter_that_fails_for_a_while_loses_nothing() -> None:
    rig = LedgerRig()
    reading, rig.meter.joules = rig.meter.joules, lambda: None  # type: ignore[method-assign]
    rig.clock.advance(3.0)
    rig.meter.exact += 60.0
    assert rig.books.close_if_due() is None
    rig.meter.joules = reading  # type: ignore[method-assign]
    rig.clock.advance(1.0)
    rig.meter.exact += 20.0
    interval = rig.books.close_if_due()
    assert interval is not None
    assert interval.meter_joules == pytest.approx(80.0)
    assert interval.seconds == pytest.approx(4.0)
