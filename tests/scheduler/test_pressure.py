"""Too little KV for the demand: everything finishes, nobody is preempted too often, nobody's tokens change."""

import random

import pytest

from tests.fakes.scheduling import FULL, check_books, make_bench, request, unpressed, window
from tidemill.core.kv_cache import KVCacheGroup
from tidemill.core.requests import FinishReason
from tidemill.scheduler.sequence import SequenceRequest

LAYOUTS: list[tuple[tuple[KVCacheGroup, ...], int]] = [
    ((FULL,), 21),
    ((window(6),), 10),
    ((FULL, window(6)), 31),
    ((window(9), window(18)), 22),
]


def crowd(randomness: random.Random, num: int) -> list[SequenceRequest]:
    """Requests with a few prefixes in common, short prompts and long answers: the kind that runs out of blocks."""
    made = []
    for sequence_id in range(num):
        prompt = (9,) * randomness.randint(1, 14) + tuple(
            randomness.randrange(2) for _ in range(randomness.randint(0, 6))
        )
        made.append(request(sequence_id, prompt, randomness.randint(0, 60), priority=randomness.randrange(3)))
    return made


@pytest.mark.parametrize("max_preemptions", [0, 1, 3])
@pytest.mark.parametrize(("groups", "num_blocks"), LAYOUTS)
@pytest.mark.parametrize("seed", range(3))
def test_random_pressure_with_aborts(
    groups: tuple[KVCacheGroup, ...], num_blocks: int, max_preemptions: int, seed: int
) -> None:
    randomness = random.Random(seed)
    bench = make_bench(num_blocks=num_blocks, groups=groups, max_preemptions=max_preemptions, max_num_batched_tokens=16)
    asked = crowd(randomness, 40)
    bench.add(*asked)
    gone = set()
    while bench.scheduler.has_work:
        bench.step()
        check_books(bench)
        if randomness.random() < 0.02:
            victim = randomness.randrange(len(asked))
            if bench.scheduler.abort(victim):
                gone.add(victim)
    assert bench.stats[-1].num_used_blocks == 0 or gone
    assert bench.scheduler._kv.num_used == 0
    for one in asked:
        if one.sequence_id not in gone:
            assert bench.tokens[one.sequence_id] == unpressed(one)
            assert bench.finishes[one.sequence_id].num_preemptions <= max_preemptions


def test_thrash() -> None:
    """KV at a tenth of what 500 requests want at once: at most three preemptions each, and the same greedy tokens."""
    randomness = random.Random(5)
    asked = [request(i, randomness.randint(4, 40), randomness.randint(8, 60)) for i in range(500)]
    demand = sum(-(-(len(one.prompt_token_ids) + one.max_new_tokens) // 4) for one in asked)
    roomy, pressed = (
        make_bench(
            num_blocks=num_blocks,
            max_num_seqs=500,
            max_num_batched_tokens=512,
            max_model_len=128,
        )
        for num_blocks in (demand, demand // 10)
    )
    for bench in (roomy, pressed):
        bench.add(*asked)
        bench.drain()
        assert {finish.reason for finish in bench.finishes.values()} == {FinishReason.LENGTH}
    assert roomy.num_preemptions == 0
    assert pressed.num_preemptions > 0
    assert max(finish.num_preemptions for finish in pressed.finishes.values()) <= 3
    assert pressed.tokens == roomy.tokens


def test_most_urgent_is_never_preempted() -> None:
    bench = make_bench(num_blocks=21, max_model_len=80)
    bench.add(*(request(i, 8, 60) for i in range(6)))
    bench.drain()
    assert bench.num_preemptions > 0
    assert bench.finishes[0].num_preemptions == 0


def test_newest_goes_first_and_comes_back_before_new_ones() -> None:
    bench = make_bench(num_blocks=20, max_num_seqs=3)
    bench.add(*(request(i, 12, 40, arrival=float(i)) for i in range(4)))
    started: list[int] = []
    while bench.step() is not None:
        started += [new.sequence_id for new in bench.batches[-1].new]
        if bench.num_preemptions == 1 and bench.stats[-1].num_preemptions:
            running = [s.sequence_id for s in bench.scheduler._running]
            assert running == [0, 1], "the newest of three gave way"
            assert bench.scheduler._waiting.peek().sequence_id == 2
    assert started == [0, 1, 2, 3]
    assert bench.finishes[2].num_preemptions > 0


def test_lowest_priority_gives_way_before_the_newest() -> None:
    bench = make_bench(num_blocks=20, max_num_seqs=3)
    bench.add(request(0, 12, 40, priority=1), request(1, 12, 40), request(2, 12, 40))
    bench.drain()
    assert bench.finishes[0].num_preemptions > 0
    assert bench.finishes[1].num_preemptions == 0


def test_preempted_often_enough_it_comes_back_with_all_it_will_need() -> None:
    bench = make_bench(num_blocks=21, max_preemptions=1, max_num_seqs=4)
    bench.add(*(request(i, 4, 60) for i in range(6)))
    num_reserved_runs = 0
    while bench.step() is not None:
        for sequence in bench.scheduler._running:
            if sequence.num_preemptions == 1:
                assert sequence.blocks.num_reserved is not None
                assert len(sequence.blocks) + sequence.blocks.num_reserved == -(-sequence.max_positions // 4)
                num_reserved_runs += 1
    assert num_reserved_runs > 0
    assert {finish.num_preemptions for finish in bench.finishes.values()} == {0, 1}


def test_no_cap_on_preemption_of_zero_means_everything_is_reserved_at_once() -> None:
    bench = make_bench(num_blocks=21, max_preemptions=0)
    bench.add(*(request(i, 4, 36) for i in range(6)))
    bench.step()
    assert len(bench.scheduler._running) == 2
    bench.drain()
    assert bench.num_preemptions == 0


def test_prompt_logprobs_come_once_although_they_are_computed_again() -> None:
    bench = make_bench(num_blocks=20, max_num_seqs=3)
    asked = [request(i, 12, 40, num_prompt_logprobs=0) for i in range(3)]
    bench.add(*asked)
    bench.drain()
    assert bench.num_preemptions > 0
    for one in asked:
        spoken_of = [entry.token_id for entry in bench.prompt_logprobs[one.sequence_id]]
        assert spoken_of == list(one.prompt_token_ids[1:])
