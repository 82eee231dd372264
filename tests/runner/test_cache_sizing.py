import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.core.errors import CapacityError, ConfigurationError
from tidemill.core.kv_cache import KVCacheGroup
from tidemill.runner.cache_sizing import (
    CacheShape,
    MemoryBudget,
    check_context_fits,
    check_weights_fit,
    size_cache,
)

MIB = 1024 * 1024
GIB = 1024 * MIB


def make_shape(*windows, block_size=16, block_bytes=MIB, max_num_seqs=4, max_step_tokens=64):
    groups = tuple(KVCacheGroup(layers=(i,), window=window) for i, window in enumerate(windows or (None,)))
    return CacheShape(groups, block_size, block_bytes, max_num_seqs, max_step_tokens)


def make_budget(available, activation=0, share=0.5):
    return MemoryBudget(available_bytes=available, activation_bytes=activation, default_share_ratio=share)


def size(shape, budget, *, max_model_len=1024, chosen=True, requested=None):
    return size_cache(shape, budget, max_model_len=max_model_len, is_len_chosen=chosen, requested_bytes=requested)


def most_blocks_held(shape, num_tokens):
    """By simulation: every chunk length at every alignment of a growing sequence."""
    worst = 0
    for group in shape.groups:
        held = 0
        for start in range(num_tokens):
            end = min(num_tokens, start + shape.max_step_tokens)
            first = 0 if group.window is None else max(0, start - group.window + 1)
            held = max(held, (end - 1) // shape.block_size - first // shape.block_size + 1)
        worst += held
    return worst


@given(
    st.lists(st.none() | st.integers(1, 60), min_size=1, max_size=3),
    st.integers(1, 20),
    st.integers(1, 40),
    st.integers(1, 150),
)
def test_blocks_of_a_sequence_cover_the_worst_case(windows, block_size, max_step_tokens, num_tokens):
    shape = make_shape(*windows, block_size=block_size, max_step_tokens=max_step_tokens)
    bound, held = shape.blocks_of_sequence(num_tokens), most_blocks_held(shape, num_tokens)
    assert held <= bound <= held + len(windows)


def test_the_cache_is_what_all_slots_can_need_and_no_more():
    assert size(make_shape(), make_budget(100 * GIB)) == 4 * 64 + 1


def test_unasked_it_takes_its_share():
    budget = make_budget(400 * MIB, activation=36 * MIB)
    assert budget.usable_bytes == 300 * MIB
    assert size(make_shape(), budget) == 150


def test_one_sequence_may_take_more_than_the_share():
    assert size(make_shape(), make_budget(400 * MIB, activation=36 * MIB), max_model_len=16 * 200) == 201


def test_what_is_asked_for_is_what_is_taken():
    assert size(make_shape(), make_budget(100 * GIB), requested=1000 * MIB + 5) == 1000
    assert size(make_shape(), None, requested=1000 * MIB) == 1000


def test_more_than_there_is_cannot_be_asked_for():
    with pytest.raises(CapacityError, match=r"1\.0 GiB was asked for, but 300\.0 MiB can be used \(400\.0 MiB avail"):
        size(make_shape(), make_budget(400 * MIB, activation=36 * MIB), requested=GIB)


def test_a_context_that_does_not_fit_names_the_numbers_and_the_longest_that_does():
    budget = make_budget(400 * MIB, activation=36 * MIB)
    with pytest.raises(CapacityError) as caught:
        size(make_shape(), budget, max_model_len=8192, chosen=False)
    assert "8192 tokens (the model's own) needs 513.0 MiB" in caught.value.message
    assert "300.0 MiB can be used" in caught.value.message
    assert "longest context that fits has 4784 tokens" in caught.value.message
    assert caught.value.next_step.startswith("Pass --max-model-len 4784")
    assert size(make_shape(), budget, max_model_len=4784) == 300


@given(
    st.lists(st.none() | st.integers(1, 500), min_size=1, max_size=3),
    st.integers(1, 2000),
    st.integers(1, 3000),
)
def test_the_longest_that_fits_is_the_longest(windows, num_blocks, at_most):
    shape = make_shape(*windows)
    longest = shape.longest_sequence(num_blocks, at_most)
    assert longest == 0 or shape.least_blocks(longest) <= num_blocks
    assert longest == at_most or shape.least_blocks(longest + 1) > num_blocks


def test_a_window_needs_fewer_blocks():
    budget = make_budget(400 * MIB, activation=36 * MIB)
    assert size(make_shape(512), budget, max_model_len=100_000) >= make_shape(512).least_blocks(100_000)
    with pytest.raises(CapacityError):
        size(make_shape(None), budget, max_model_len=100_000)


def test_too_small_a_request_says_so():
    with pytest.raises(CapacityError, match=r"--kv-cache-memory allows 10\.0 MiB; the longest .* has 144 tokens"):
        size(make_shape(), make_budget(GIB), requested=10 * MIB)
    with pytest.raises(CapacityError, match="not even one block"):
        size(make_shape(), make_budget(GIB), requested=MIB)


def test_nothing_known_and_nothing_asked():
    with pytest.raises(ConfigurationError, match="does not say"):
        size(make_shape(), None)


def test_weights_that_exceed_what_is_available():
    check_weights_fit(10 * GIB, 10 * GIB)
    check_weights_fit(10 * GIB, None)
    with pytest.raises(CapacityError, match=r"need 16\.0 GiB, but only 8\.5 GiB"):
        check_weights_fit(16 * GIB, 8 * GIB + 512 * MIB)


def check(shape, available, *, max_model_len=10_000_000, chosen=False, requested=None, position_bytes=128):
    check_context_fits(
        shape,
        available,
        max_model_len=max_model_len,
        is_len_chosen=chosen,
        requested_bytes=requested,
        position_bytes=position_bytes,
    )


def test_a_context_beyond_all_memory_is_refused_before_anything_is_loaded():
    with pytest.raises(CapacityError) as caught:
        check(make_shape(block_bytes=16 * 1024), GIB)
    assert "10000000 tokens (the model's own) needs at least 10.7 GiB, but 1.0 GiB are there" in caught.value.message
    longest = int(caught.value.next_step.split()[-1].rstrip("."))
    check(make_shape(block_bytes=16 * 1024), GIB, max_model_len=longest)
    with pytest.raises(CapacityError, match="too little beyond"):
        check(make_shape(block_bytes=16 * 1024), GIB, max_model_len=longest + 1)


def test_windows_do_not_hide_what_each_position_takes():
    shape = make_shape(64, block_bytes=16)
    check(shape, GIB, position_bytes=0)
    with pytest.raises(CapacityError, match=r"needs at least 1\.2 GiB"):
        check(shape, GIB)


def test_a_cache_that_was_asked_for_is_held_against_it_at_once():
    with pytest.raises(CapacityError, match=r"--kv-cache-memory allows 4\.0 MiB; the longest context that fits has 48"):
        check(make_shape(), 100 * GIB, max_model_len=1024, requested=4 * MIB)
    check(make_shape(), 100 * GIB, max_model_len=48, requested=4 * MIB)
    check(make_shape(), None)
