"""Which requests of a probe are judged, and when it is clear that the load fails."""

from tests.bench.records import record
from tidemill.bench.judge import Judge
from tidemill.bench.objectives import Objectives


def judge(first: int = 0) -> Judge:
    return Judge(Objectives(ttft_seconds=1.0), 0.75, first, 8)


def test_requests_of_an_unloaded_server_are_not_judged() -> None:
    made = judge(first=2)
    for index in range(4):
        made.see(record(9.0, index=index))
    first = record(9.0, index=5)
    first.is_first_of_user = True
    cancelled = record(index=6)
    cancelled.is_cancelled = True
    made.see(first)
    made.see(cancelled)
    assert (made.num_judged, made.num_met) == (2, 0)


def test_hope_ends_with_the_first_miss_too_many() -> None:
    made = judge()
    for seconds, is_hopeless in ((0.5, False), (2.0, False), (1.0, False), (2.0, False), (0.9, False), (2.0, True)):
        made.see(record(seconds))
        assert made.is_hopeless is is_hopeless
    assert (made.num_judged, made.num_met) == (6, 3)


def test_a_whole_probe_is_hopeless_only_if_it_failed() -> None:
    for num_met in range(9):
        made = judge()
        for number in range(8):
            made.see(record(0.5 if number < num_met else 2.0))
        assert made.is_hopeless is (num_met / 8 < 0.75)
