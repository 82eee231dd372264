"""Who computes how much in a step: budget, order, places, queue, and the announcements to the runner."""

import pytest

from tests.fakes.scheduling import FULL, Bench, make_bench, request, window
from tidemill.core.errors import CapacityError, ContextLengthError, InvalidRequestError, OverloadedError
from tidemill.core.requests import FinishReason


def granted(bench: Bench) -> list[tuple[int, int, int]]:
    batch = bench.step()
    assert batch is not None
    return [(s.sequence_id, s.start, s.num_tokens) for s in batch.sequences]


def test_streams_come_first_and_prompts_take_the_rest() -> None:
    bench = make_bench(max_num_batched_tokens=10)
    bench.add(request(0, 4, 10), request(1, 4, 10))
    assert granted(bench) == [(0, 0, 4), (1, 0, 4)]
    bench.add(request(2, 20, 5), request(3, 3, 5))
    assert granted(bench) == [(0, 4, 1), (1, 4, 1), (2, 0, 8)]
    assert granted(bench) == [(0, 5, 1), (1, 5, 1), (2, 8, 8)]
    assert granted(bench) == [(0, 6, 1), (1, 6, 1), (2, 16, 4), (3, 0, 3)]


def test_longest_prompt_never_holds_up_a_stream() -> None:
    """Head of line: every one of eight streams gets a token in every step while a prompt of full length is computed."""
    bench = make_bench(max_num_seqs=9, max_num_batched_tokens=16, max_model_len=400)
    bench.add(*(request(i, 1, 70) for i in range(8)))
    bench.step()
    bench.add(request(8, 399, 1))
    while 8 not in bench.finishes:
        batch = bench.step()
        assert batch is not None
        assert {s.sequence_id for s in batch.sequences} == set(range(9))
        assert batch.num_rows <= 16
    assert all(len(bench.tokens[i]) == len(bench.batches) for i in range(8))


def test_priority_then_arrival_decides() -> None:
    bench = make_bench(max_num_seqs=1)
    bench.add(
        request(0, 3, 1, arrival=5.0),
        request(1, 3, 1, arrival=3.0),
        request(2, 3, 1, arrival=9.0, priority=-1),
        request(3, 3, 1, arrival=3.0),
    )
    bench.drain()
    assert list(bench.finishes) == [2, 1, 3, 0]


def test_samples_only_when_the_last_token_is_computed() -> None:
    bench = make_bench(max_num_batched_tokens=8)
    bench.add(request(0, 20, 2))
    bench.drain()
    assert [b.sequences[0].samples for b in bench.batches] == [False, False, True, True]


def test_announced_once_and_forgotten_once() -> None:
    bench = make_bench(num_blocks=21, max_num_seqs=4)
    bench.add(*(request(i, 8, 40) for i in range(6)))
    bench.drain()
    bench.add(request(6, 2, 1))
    bench.drain()
    assert bench.num_preemptions > 0
    announced = [new.sequence_id for batch in bench.batches for new in batch.new]
    forgotten = [sequence_id for batch in bench.batches for sequence_id in batch.finished]
    assert sorted(announced) == list(range(7))
    assert sorted(forgotten) == list(range(6))


def test_an_abort_before_any_step_is_never_told() -> None:
    bench = make_bench()
    bench.add(request(0), request(1))
    assert bench.scheduler.abort(0)
    bench.drain()
    bench.add(request(2))
    bench.drain()
    assert [new.sequence_id for batch in bench.batches for new in batch.new] == [1, 2]
    assert 0 not in [sequence_id for batch in bench.batches for sequence_id in batch.finished]


def test_abort_while_under_way_drops_the_result_and_frees_everything() -> None:
    bench = make_bench()
    bench.add(request(0), request(1))
    tables = []

    def abort() -> None:
        tables.append([list(t) for t in bench.scheduler._sequences[0].blocks.tables])
        assert bench.scheduler.abort(0)
        assert bench.scheduler._kv.num_used == 2

    batch = bench.step(meanwhile=abort)
    assert batch is not None
    assert [list(t) for t in batch.sequences[0].block_tables] == tables[0], "the step keeps the tables it was given"
    assert list(bench.tokens) == [1]
    bench.drain()
    assert bench.batches[1].finished == (0,)


def test_queue_is_bounded() -> None:
    bench = make_bench(max_num_seqs=2, max_queue=3)
    bench.add(*(request(i) for i in range(5)))
    with pytest.raises(OverloadedError, match="5 sequences"):
        bench.add(request(5))
    bench.scheduler.abort(4)
    bench.add(request(6))
    bench.drain()
    assert sorted(bench.finishes) == [0, 1, 2, 3, 6]


def test_what_could_never_run_is_refused() -> None:
    bench = make_bench(max_model_len=16)
    with pytest.raises(ContextLengthError, match="10 tokens and 7"):
        bench.add(request(0, 10, 7))
    with pytest.raises(InvalidRequestError):
        bench.add(request(1, (), 1))
    with pytest.raises(InvalidRequestError):
        bench.add(request(2, 1, -1))
    assert not bench.scheduler.has_work


def test_cache_too_small_for_one_sequence_is_an_error_with_numbers() -> None:
    with pytest.raises(CapacityError, match=r"80 tokens needs 20 KV blocks of 4 tokens, but the KV cache has 19"):
        make_bench(num_blocks=19)
    make_bench(num_blocks=20)
    make_bench(num_blocks=9, groups=(window(6),))
    with pytest.raises(CapacityError):
        make_bench(num_blocks=20, groups=(FULL, window(6)))


def test_waiting_time_runs_from_arrival_to_the_first_admission() -> None:
    bench = make_bench(max_num_seqs=1)
    bench.add(request(0, 2, 1), request(1, 2, 1))
    bench.clock.advance(1.5)
    bench.step()
    bench.clock.advance(2.0)
    bench.drain()
    assert [bench.finishes[i].queue_seconds for i in (0, 1)] == [1.5, 3.5]


def test_a_failed_step_ends_its_sequences_and_no_others() -> None:
    bench = make_bench(max_num_seqs=2)
    bench.add(*(request(i) for i in range(3)))
    batch = bench.scheduler.schedule()
    assert batch is not None
    bench.scheduler.abort(1)
    outputs = bench.scheduler.fail(batch, "out of memory")
    assert [(o.sequence_id, o.finish and o.finish.reason, o.finish and o.finish.error) for o in outputs] == [
        (0, FinishReason.ERROR, "out of memory")
    ]
    assert bench.scheduler._kv.num_used == 0
    bench.runner.known = {0: None, 1: None}  # type: ignore[dict-item]
    bench.drain()
    assert list(bench.finishes) == [2]


def test_one_failing_sequence_leaves_its_neighbours_alone() -> None:
    bench = make_bench()
    bench.add(request(0), request(1))
    bench.runner.errors[0] = "not a number"
    bench.drain()
    assert bench.finishes[0].error == "not a number"
    assert bench.finishes[1].reason is FinishReason.LENGTH
    assert len(bench.tokens[1]) == 4


def test_window_gives_back_what_it_has_left_behind() -> None:
    bench = make_bench(num_blocks=12, groups=(window(6),), max_num_batched_tokens=16)
    bench.add(request(0, 40, 40))
    bench.drain()
    assert max(stats.num_used_blocks for stats in bench.stats) <= 6
    for stats in bench.stats[4:-1]:
        assert stats.num_used_blocks <= 3, "a window of 6 spans at most 3 blocks of 4"


def test_rows_are_counted() -> None:
    bench = make_bench(max_num_batched_tokens=8)
    bench.add(request(0, 10, 3))
    bench.drain()
    assert [s.num_rows for s in bench.stats] == [8, 2, 1, 1]
    assert [s.num_prompt_rows for s in bench.stats] == [8, 2, 0, 0]
    assert [s.num_output_tokens for s in bench.stats] == [0, 1, 1, 1]
    assert [s.num_kv_tokens_read for s in bench.stats] == [8, 10, 11, 12]
    assert [s.step for s in bench.stats] == [1, 2, 3, 4]


def test_waste_is_half_a_block_a_sequence_at_most() -> None:
    """Blocks of 16, a mean length over 200: under 4 % of the allocated positions are empty."""
    bench = make_bench(num_blocks=2000, block_size=16, max_num_seqs=16, max_num_batched_tokens=512, max_model_len=512)
    bench.add(*(request(i, 150 + 7 * i, 110 + 5 * i) for i in range(16)))
    wastes, empties = [], []
    while bench.step() is not None:
        stats = bench.stats[-1]
        if stats.num_running == 16 and stats.num_prompt_rows == 0:
            wastes.append(stats.kv_waste_ratio)
            empties.append(stats.kv_waste_ratio * stats.num_used_blocks * 16 / 16)
    assert len(wastes) > 50
    assert 0 < sum(wastes) / len(wastes) < 0.04
    assert sum(empties) / len(empties) <= 8
    assert bench.stats[-1].kv_waste_ratio == 0
