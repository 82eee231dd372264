"""The figures of a run, from records whose times are worked out by hand."""

import pytest

from tests.bench.records import record
from tidemill.bench.objectives import Objectives, tpot_of_reading_speed
from tidemill.bench.summary import goodput, peak_in_flight, summarize


def test_the_formulas_of_one_request() -> None:
    # Due at 1, sent at 1.5; pieces at 2, 3, 5; nine tokens by the server's count.
    one = record(2.0, 3.0, 5.0, due=1.0, sent=1.5, tokens=9)
    assert one.ttft_seconds == 1.0
    assert one.tpot_seconds == pytest.approx(3.0 / 8)
    assert one.itl_seconds == [1.0, 2.0]
    assert one.e2e_seconds == 4.0
    assert record(2.0, tokens=1).tpot_seconds is None
    assert record().ttft_seconds is None


def test_a_run() -> None:
    records = [
        record(1.0, 2.0, 3.0, tokens=3, index=0),
        record(1.5, 2.0, due=1.0, tokens=4, prompt=30, index=1),
        record(due=2.0, error="status 429", index=2),
    ]
    records[2].detail = "too many"
    cancelled = record(due=3.0, index=3)
    cancelled.is_cancelled = True
    found = summarize([*records, cancelled], Objectives(), seconds=4.0)
    assert (found.num_requests, found.num_succeeded, found.num_failed, found.num_cancelled) == (4, 2, 1, 1)
    assert found.errors == {"status 429": 1}
    assert found.error_examples == {"status 429": "too many"}
    assert found.requests_per_second == 0.5
    assert found.output_tokens_per_second == 7 / 4
    assert found.prompt_tokens_per_second == 10.0
    assert found.total_tokens_per_second == 47 / 4
    assert found.tokens_per_piece == 7 / 5
    assert found.ttft_ms is not None
    assert found.ttft_ms.p50 == 750.0  # of 1.0 and 0.5
    assert found.itl_ms is not None
    assert (found.itl_ms.count, found.itl_ms.p50) == (3, 1000.0)
    assert found.tpot_ms is not None
    assert found.tpot_ms.max == 1000.0  # 2 s over 2; the other 0.5 s over 3
    assert (found.goodput, found.send_lag_ms) == (None, None)


def test_a_run_without_success_has_no_distributions() -> None:
    found = summarize([record(error="timeout")], Objectives(ttft_seconds=1.0), seconds=0.0)
    assert (found.ttft_ms, found.output_tokens, found.tokens_per_piece) == (None, None, None)
    assert found.goodput is not None
    assert (found.goodput.num_met, found.goodput.missed) == (0, {"success": 1})
    assert found.output_tokens_per_second == 0.0


def test_how_late_requests_were_sent() -> None:
    found = summarize([record(2.0, due=1.0, sent=1.25)], Objectives(), seconds=2.0, is_open=True)
    assert found.send_lag_ms is not None
    assert found.send_lag_ms.max == 250.0


def test_goodput_asks_for_every_objective() -> None:
    objectives = Objectives(ttft_seconds=1.0, tpot_seconds=0.5, itl_p99_seconds=0.9, e2e_seconds=10.0)
    records = [
        record(1.0, 1.5, 2.0),  # meets all, TTFT exactly at its bound
        record(1.1, 1.2),  # TTFT
        record(0.5, 1.4, 1.6),  # TPOT 0.55 and nothing else
        record(0.5, 0.6, 1.6, tokens=5),  # TPOT 0.275, but p99 of its gaps is 0.991
        record(0.1),  # one token: no TPOT, no gaps
        record(error="timeout"),
    ]
    found = goodput(records, objectives, seconds=2.0)
    assert found.num_met == 2
    assert found.requests_per_second == 1.0
    assert found.missed == {"ttft": 1, "tpot": 1, "itl_p99": 1, "success": 1}
    assert found.objectives_ms == {"ttft": 1000.0, "tpot": 500.0, "itl_p99": 900.0, "e2e": 10000.0}
    assert not Objectives().any


def test_a_reading_speed_as_tpot() -> None:
    # 250 words a minute at 0.75 words a token: 333 tokens a minute, 0.18 s each.
    assert tpot_of_reading_speed(250, 0.75) == pytest.approx(0.18)


def test_the_peak_counts_a_successor_once() -> None:
    records = [record(1.0, due=0.0), record(2.0, due=1.0), record(3.0, due=1.5)]
    assert peak_in_flight(records) == 2
