"""Workloads: the same for the same seed, of the wanted lengths, sharing what they should and nothing else."""

import itertools

from tidemill.bench.arrivals import Arrivals
from tidemill.bench.lengths import Between, Fixed
from tidemill.bench.trace import TraceRow
from tidemill.bench.words import VOCABULARY, Calibration
from tidemill.bench.workload import Workload

CALIBRATION = Calibration(tokens_per_word=1.5, overhead_tokens=3.0)


def workload(seed: int = 0, shared: float = 0.0, **more: object) -> Workload:
    return Workload(Between(30, 300), Between(5, 9), shared, seed, CALIBRATION, **more)  # type: ignore[arg-type]


def test_a_request_is_a_function_of_seed_and_index() -> None:
    one, other = workload(), workload()
    backwards = [other.request(index) for index in reversed(range(20))]
    assert [one.request(index) for index in range(20)] == list(reversed(backwards))
    assert one.request(3) != workload(seed=1).request(3)
    assert len({one.request(index).prompt for index in range(-5, 50)}) == 55


def test_shared_prefixes_do_not_depend_on_who_came_first() -> None:
    one, other = workload(shared=0.5), workload(shared=0.5)
    forwards = [one.request(index) for index in range(20)]
    assert forwards == list(reversed([other.request(index) for index in reversed(range(20))]))
    words = sorted((request.prompt.split() for request in forwards), key=len)
    num_shared = len(words[0]) // 2
    assert num_shared > 5
    assert len({tuple(w[:num_shared]) for w in words}) == 1
    assert len({tuple(w[len(w) // 2 :]) for w in words}) == 20
    assert len({" ".join(r.prompt.split()[:3]) for r in (workload().request(i) for i in range(20))}) == 20


def test_prompts_have_the_number_of_words_that_the_calibration_says() -> None:
    load = Workload(Fixed(153), Fixed(7), 0.0, 0, CALIBRATION)
    request = load.request(0)
    assert len(request.prompt.split()) == 100
    assert (request.num_prompt_tokens, request.num_output_tokens) == (153, 7)
    assert set(request.prompt.split()) <= set(VOCABULARY)
    assert CALIBRATION.num_words(1) == 1


def test_words_are_used_equally_often() -> None:
    words = Workload(Fixed(3 + 3 * len(VOCABULARY)), Fixed(1), 0.0, 0, CALIBRATION).request(0).prompt.split()
    assert {words.count(word) for word in VOCABULARY} == {2}


def test_arrivals_do_not_change_what_is_sent() -> None:
    load = workload()
    timed = list(itertools.islice(load.timed(Arrivals("constant", 2.0)), 3))
    assert [request.offset_seconds for request in timed] == [0.0, 0.5, 1.0]
    untimed = list(itertools.islice(load.untimed(), 3))
    assert [request.prompt for request in timed] == [request.prompt for request in untimed]
    assert untimed[0].offset_seconds is None


def test_a_trace_is_replayed_once_or_gives_its_lengths() -> None:
    rows = (TraceRow(0.0, 63, 5), TraceRow(1.5, 33, 6))
    load = workload(rows=rows)
    assert [(r.offset_seconds, r.num_prompt_tokens, r.num_output_tokens) for r in load.replay()] == [
        (0.0, 63, 5),
        (1.5, 33, 6),
    ]
    assert [r.num_prompt_tokens for r in itertools.islice(load.untimed(), 5)] == [63, 33, 63, 33, 63]


def test_what_does_not_fit_is_shortened_and_counted() -> None:
    load = workload(rows=(TraceRow(0.0, 5000, 20), TraceRow(0.0, 10, 5000), TraceRow(0.0, 50, 50)), max_tokens=100)
    lengths = [(r.num_prompt_tokens, r.num_output_tokens) for r in load.replay()]
    assert lengths == [(80, 20), (10, 50), (50, 50)]
    assert load.num_clipped == 2
