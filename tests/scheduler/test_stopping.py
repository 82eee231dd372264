"""Where a sequence ends, also when a step yields several tokens or none."""

import pytest

from tests.fakes.scheduling import Bench, check_books, make_bench, request
from tidemill.core.requests import FinishReason
from tidemill.scheduler.batch import NewSequence

EOS = frozenset({90, 91})


def counting(step: int = 1) -> Bench:
    """A runner that yields 80, 81, 82, ... by output position, `step` at a time."""

    def following(new: NewSequence, tokens: tuple[int, ...]) -> tuple[int, ...]:
        num_output_tokens = len(tokens) - len(new.prompt_token_ids)
        return tuple(80 + num_output_tokens + i for i in range(step))

    return make_bench(next_tokens=following)


@pytest.mark.parametrize("step", [1, 2, 5])
def test_end_of_text_ends_without_naming_a_token(step: int) -> None:
    bench = counting(step)
    bench.add(request(0, 5, 40, eos=EOS))
    bench.drain()
    assert bench.tokens[0] == list(range(80, 91))
    assert (bench.finishes[0].reason, bench.finishes[0].stop_token_id) == (FinishReason.STOP, None)


@pytest.mark.parametrize("step", [1, 3])
def test_stop_token_is_named(step: int) -> None:
    bench = counting(step)
    bench.add(request(0, 5, 40, eos=EOS, stop_token_ids=(85, 83)))
    bench.drain()
    assert bench.tokens[0] == [80, 81, 82, 83]
    assert (bench.finishes[0].reason, bench.finishes[0].stop_token_id) == (FinishReason.STOP, 83)


@pytest.mark.parametrize("step", [1, 3])
def test_length(step: int) -> None:
    bench = counting(step)
    bench.add(request(0, 5, 7, eos=EOS))
    bench.drain()
    assert bench.tokens[0] == list(range(80, 87))
    assert bench.finishes[0].reason is FinishReason.LENGTH


def test_ignored_end_of_text_goes_on_unless_it_is_a_stop_token() -> None:
    bench = counting()
    bench.add(request(0, 5, 20, eos=EOS, ignore_eos=True))
    bench.add(request(1, 5, 20, eos=EOS, ignore_eos=True, stop_token_ids=(91,)))
    bench.drain()
    assert (len(bench.tokens[0]), bench.finishes[0].reason) == (20, FinishReason.LENGTH)
    assert (bench.tokens[1][-1], bench.finishes[1].stop_token_id) == (91, 91)


def test_nothing_but_length_ends_before_min_tokens() -> None:
    bench = counting(4)
    bench.add(request(0, 5, 20, eos=EOS, min_tokens=11), request(1, 5, 20, eos=EOS, stop_token_ids=(81,), min_tokens=2))
    bench.drain()
    assert bench.tokens[0][-1] == 91
    assert bench.tokens[1][-1] == 90


def test_no_new_tokens_computes_the_prompt_only() -> None:
    bench = counting()
    bench.add(request(0, 30, 0, num_prompt_logprobs=0))
    bench.drain()
    assert bench.finishes[0].reason is FinishReason.LENGTH
    assert bench.tokens[0] == []
    assert len(bench.prompt_logprobs[0]) == 29
    assert not any(s.samples for batch in bench.batches for s in batch.sequences)


def test_a_step_may_yield_nothing() -> None:
    answers = iter([(), (70,), (), (), (71,)])
    bench = make_bench(next_tokens=lambda new, tokens: next(answers))
    bench.add(request(0, 4, 2))
    bench.drain()
    assert bench.tokens[0] == [70, 71]
    assert [(b.sequences[0].start, b.sequences[0].num_tokens) for b in bench.batches] == [
        (0, 4),
        (3, 1),
        (4, 1),
        (4, 1),
        (4, 1),
    ]
    assert len(bench.stats) == 5


def test_a_step_that_yields_nothing_gives_its_block_back() -> None:
    answers = iter([(), (70,)])
    bench = make_bench(next_tokens=lambda new, tokens: next(answers))
    bench.add(request(0, 5, 1))
    bench.step()
    check_books(bench)
    assert bench.stats[-1].num_used_blocks == 1, "position 4 is computed again"
    bench.drain()


def test_logprobs_are_cut_with_their_tokens() -> None:
    bench = counting(3)
    bench.add(request(0, 2, 4, num_logprobs=0), request(1, 2, 4))
    bench.drain()
    assert [entry.token_id for entry in bench.logprobs[0]] == [80, 81, 82, 83]
    assert bench.logprobs[1] == []
