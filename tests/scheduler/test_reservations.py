"""A reservation can always be honoured, also while windows slide over pages that another sequence still reads."""

from tests.fakes.scheduling import request, window
from tidemill.core.kv_cache import KVCacheLayout
from tidemill.scheduler.fair_share import FairShare
from tidemill.scheduler.kv_cache import KVCache
from tidemill.scheduler.sequence import Sequence, new_sequence
from tidemill.scheduler.waiting_queue import WaitingQueue

PROMPT = tuple(range(40))


def advance(kv: KVCache, sequence: Sequence, num_positions: int) -> None:
    kv.extend(sequence.blocks, num_positions)
    sequence.num_computed = num_positions
    kv.settle(sequence)


def test_what_others_may_take_stays_the_same_while_a_reserved_sequence_advances() -> None:
    layout = KVCacheLayout(num_blocks=21, block_size=4, block_bytes=1, groups=(window(8),))
    kv = KVCache(layout, prefix_caching=True, model_fingerprint=b"m", max_chunk_tokens=4)
    first, second = (new_sequence(request(i, PROMPT, 1), i, 1) for i in range(2))
    kv.reserve(first.blocks, first.max_positions)
    assert kv.num_available == 20 - 4, "8 positions back and a chunk of 4 touch at most 4 blocks of 4"
    for num_positions in range(4, 21, 4):
        advance(kv, first, num_positions)
        assert kv.num_available == 16

    hit = kv.find_prefix(second)
    assert (hit.num_blocks, hit.num_held, hit.num_shared) == (5, 2, 2)
    assert kv.fits(hit, 40, spare=12, reserve=False)
    assert not kv.fits(hit, 40, spare=13, reserve=False), "what is shared must be there a second time"
    kv.take_prefix(second.blocks, hit)
    second.num_computed = 20
    assert kv.num_available == 14
    for num_positions in range(24, 41, 4):
        advance(kv, first, num_positions)
        assert kv.num_available == 14, "left-behind pages are still read by the second, and paid for"
    assert kv.num_used == 4
    kv.release(second.blocks)
    assert kv.num_available == 16
    kv.release(first.blocks)
    assert (kv.num_available, kv.num_used) == (20, 0)


def test_a_preempted_sequence_waits_ahead_of_new_ones_of_its_priority() -> None:
    queue = WaitingQueue(FairShare(quantum=1))
    early, late, urgent = (new_sequence(request(i, 3, arrival=float(i), priority=-(i // 2)), i, 1) for i in range(3))
    late.num_preemptions = 1
    for sequence in (early, late, urgent):
        queue.push(sequence)
    order = []
    while (first := queue.peek()) is not None:
        queue.remove(first)
        order.append(first)
    assert order == [urgent, late, early]
