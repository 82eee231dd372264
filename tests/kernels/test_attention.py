"""Paged attention in Numba: against its plain twin, and with the same bits however a query came to be computed."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.paging import arena, batch, fill, random
from tidemill.kernels import reference
from tidemill.kernels.attention_batch import AttentionBatch
from tidemill.kernels.cpu import attention
from tidemill.kernels.cpu.attention_work import share_out
from tidemill.kernels.cpu.backend import NumbaBackend
from tidemill.kernels.kv_tensors import KVTensors
from tidemill.kernels.torch_backend import TorchBackend

FAST, PLAIN = NumbaBackend(), TorchBackend()
DTYPES = [torch.float32, torch.bfloat16, torch.int8]
TOLERANCES = {torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.int8: 2e-3}
"""In bf16, a weight at the edge of two roundings may fall to either side."""
LONG_SUM, LONG_SUM_TOLERANCE = 256, 5e-5
"""Scores' errors are those of the weights they become; sums of so many products in float32 met 2.2e-5."""


def attend(kv: KVTensors, step: AttentionBatch, q: torch.Tensor) -> torch.Tensor:
    scale = kv.values[0].shape[3] ** -0.5
    got = FAST.attention(q, FAST.bind(kv)[1], FAST.plan(step), scale, torch.float32)
    assert isinstance(got, torch.Tensor)
    return got


def check(kv: KVTensors, step: AttentionBatch, q: torch.Tensor) -> torch.Tensor:
    """The kernel's result, compared with the twin's."""
    got = attend(kv, step, q)
    want = reference.paged_attention(q, kv.layers()[1], step, kv.values[0].shape[3] ** -0.5)
    dtype, head_dim = kv.keys[0].dtype, kv.values[0].shape[3]
    is_long = dtype == torch.float32 and head_dim >= LONG_SUM
    tolerance = LONG_SUM_TOLERANCE if is_long else TOLERANCES[dtype]
    torch.testing.assert_close(got, want, atol=tolerance, rtol=tolerance)
    assert not got[step.num_rows :].any()
    return got


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("heads", "kv_heads", "head_dim"),
    [(4, 4, 16), (9, 3, 64), (8, 1, 128), (4, 2, 40), (2, 2, 8), (64, 1, 32), (32, 2, 80), (5, 5, 48), (3, 1, 7)],
)
@pytest.mark.parametrize("window", [None, 1, 37])
@pytest.mark.parametrize("size", [7, 16])
def test_equals_the_twin(
    heads: int, kv_heads: int, head_dim: int, window: int | None, size: int, dtype: torch.dtype
) -> None:
    step = batch((1, 70, 9, 1), (1, 130, 9, 200), size=size, window=window)
    kv = fill(arena(dtype, heads=kv_heads, head_dim=head_dim, size=size, blocks=140))
    q = random(88, heads * head_dim, seed=2)
    got = check(kv, step, q)
    coarse = FAST.attention(q, FAST.bind(kv)[1], FAST.plan(step), head_dim**-0.5, torch.bfloat16)
    assert torch.equal(coarse, got.to(torch.bfloat16))


@settings(max_examples=40, deadline=None)
@given(
    dtype=st.sampled_from(DTYPES),
    group=st.integers(1, 16),
    kv_heads=st.integers(1, 3),
    head_dim=st.sampled_from([16, 32, 48, 64, 96, 128, 256]),
    size=st.sampled_from([1, 2, 3, 16, 31, 32, 48, 64, 100, 256]),
    window=st.none() | st.integers(1, 300),
    lens=st.lists(st.tuples(st.integers(1, 90), st.integers(0, 300)), min_size=1, max_size=4),
)
def test_equals_the_twin_in_any_shape(
    dtype: torch.dtype,
    group: int,
    kv_heads: int,
    head_dim: int,
    size: int,
    window: int | None,
    lens: list[tuple[int, int]],
) -> None:
    queries = tuple(n for n, _ in lens)
    step = batch(queries, tuple(n + before for n, before in lens), size=size, window=window)
    blocks = 1 + int(step.block_tables.max())
    kv = fill(arena(dtype, heads=kv_heads, head_dim=head_dim, size=size, blocks=blocks))
    check(kv, step, random(step.slot_mapping.shape[0], group * kv_heads * head_dim, seed=2))


def positions_of(step: AttentionBatch) -> Iterator[tuple[int, int]]:
    """Sequence and position of each row."""
    for sequence, (n, context) in enumerate(zip(step.query_lens, step.context_lens_list, strict=True)):
        yield from ((sequence, position) for position in range(context - n, context))


@settings(max_examples=25, deadline=None)
@given(
    dtype=st.sampled_from(DTYPES),
    group=st.integers(1, 9),
    head_dim=st.sampled_from([16, 40, 64, 128]),
    size=st.sampled_from([1, 16, 24, 64]),
    window=st.none() | st.integers(1, 1500),
    context=st.integers(100, 2300),
    cuts=st.lists(st.integers(1, 90), min_size=1, max_size=5),
)
def test_a_query_has_one_result(
    dtype: torch.dtype, group: int, head_dim: int, size: int, window: int | None, context: int, cuts: list[int]
) -> None:
    """The last rows of a sequence at once, in chunks, one by one beside others, on one thread: the same bits."""
    cuts = list(itertools.takewhile(lambda _: True, cuts))
    num_rows = min(sum(cuts), context)
    whole = batch((num_rows,), (context,), size=size, window=window)
    kv = fill(arena(dtype, heads=2, head_dim=head_dim, size=size, blocks=1 + int(whole.block_tables.max())))
    q = random(num_rows, group * 2 * head_dim, seed=2)
    want = attend(kv, whole, q)
    done = 0
    for cut in cuts:
        cut = min(cut, num_rows - done)
        if cut:
            stop = context - num_rows + done + cut
            chunk = batch((cut,), (stop,), size=size, window=window, tables=whole.block_tables)
            assert torch.equal(attend(kv, chunk, q[done : done + cut])[:cut], want[done : done + cut])
            done += cut
    alone = batch((1,), (context,), size=size, window=window, tables=whole.block_tables)
    assert torch.equal(attend(kv, alone, q[-1:])[0], want[-1])
    beside = batch((1, 3, 1), (context, 50, 60), size=size, window=window, tables=whole.block_tables.repeat(3, 1))
    rows = torch.cat((q[-1:], random(4, q.shape[1])))
    assert torch.equal(attend(kv, beside, rows)[0], want[-1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("window", [None, 1700])
def test_neither_threads_nor_the_share_of_work_change_a_bit(dtype: torch.dtype, window: int | None) -> None:
    step = batch((1, 20), (5000, 3000), size=16, window=window)
    kv = fill(arena(dtype, heads=1, head_dim=64, size=16, blocks=1 + int(step.block_tables.max())))
    q = random(21, 3 * 64, seed=2)
    layer = FAST.bind(kv)[1]
    results = []
    for threads in (1, 2, 5):
        work = share_out(step, layer, 3, threads)
        assert (work.folds.size > 0) == (threads > 0)
        out = np.empty((21, 3 * 64), np.float32)
        attention.paged_attention(
            q.numpy(), layer, step.block_tables.numpy(), work.items, work.folds, work.partials, work.turns, work.spaces,
            window or 0, np.float32(0.125), out,
        )  # fmt: skip
        results.append(out)
    one_by_one = batch((1,) * 9, (5000,) + (3000,) * 8, size=16, window=window, tables=step.block_tables[[0] + [1] * 8])
    undivided = share_out(one_by_one, layer, 3, 1)
    assert undivided.folds.size == 0
    out = np.empty((9, 3 * 64), np.float32)
    attention.paged_attention(
        q[[0] + [20] * 8].numpy(), layer, one_by_one.block_tables.numpy(), undivided.items, undivided.folds,
        undivided.partials, undivided.turns, undivided.spaces, window or 0, np.float32(0.125), out,
    )  # fmt: skip
    for result in results:
        assert np.array_equal(result, results[0])
        assert np.array_equal(result[[0, 20]], out[:2])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.int8])
def test_page_size_changes_no_bit(dtype: torch.dtype) -> None:
    k, v = random(333, 2, 64, seed=4), random(333, 2, 64, seed=5)
    q = random(333, 6 * 64, seed=6)
    results = []
    for size in (1, 5, 16, 33, 64, 256):
        step = batch((333,), (333,), size=size, window=None)
        kv = arena(dtype, heads=2, head_dim=64, size=size, blocks=1 + int(step.block_tables.max()))
        reference.write_kv(k, v, kv.layers()[1], step.slot_mapping[:333])
        results.append(attend(kv, step, q))
    assert all(torch.equal(result, results[0]) for result in results)


def test_reference_attention_equals_torch() -> None:
    step = batch((50,), (130,), size=16, window=60)
    kv = fill(arena(torch.float32, heads=2, head_dim=16, size=16))
    q = random(56, 4 * 16, seed=2)
    places = torch.arange(130)
    keys, values = reference.read_kv(kv.layers()[0], step.block_tables[0].long()[places // 16], places % 16)
    at, where = torch.arange(80, 130)[:, None], torch.arange(130)[None]
    want = torch.nn.functional.scaled_dot_product_attention(
        q[:50].view(50, 4, 16).transpose(0, 1)[None], keys.transpose(0, 1)[None], values.transpose(0, 1)[None],
        attn_mask=(where <= at) & (where > at - 60), enable_gqa=True,
    )[0].transpose(0, 1).reshape(50, -1)  # fmt: skip
    got = reference.paged_attention(q, kv.layers()[0], step, 0.25)
    torch.testing.assert_close(got[:50], want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("context", "window"), [(20, 10), (21, 10), (20, 9), (35, None), (36, 35)])
@pytest.mark.parametrize("size", [16, 8])
def test_garbage_beyond_a_sequence_is_never_read(
    context: int, window: int | None, size: int, dtype: torch.dtype
) -> None:
    step = batch((1,), (context,), size=size, window=window)
    kv = arena(dtype, heads=1, head_dim=16, size=size)
    for parts in (kv.keys, kv.values, kv.key_scales, kv.value_scales):
        if parts:
            parts[0].fill_(float("nan") if parts[0].is_floating_point() else 77)
    seen = range(max(0, context - (window or context)), context)
    values = torch.tensor(list(seen)).float()[:, None, None].expand(-1, 1, 16)
    slots = torch.tensor([int(step.block_tables[0, p // size]) * size + p % size for p in seen])
    reference.write_kv(torch.ones_like(values), values, kv.layers()[0], slots)
    for backend in (FAST, PLAIN):
        out = backend.attention(random(8, 16), backend.bind(kv)[0], backend.plan(step), 1.0, torch.float32)
        assert isinstance(out, torch.Tensor)
        torch.testing.assert_close(out[0], torch.full((16,), sum(seen) / len(seen)), atol=0, rtol=5e-3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_number_that_is_none_stays_one_and_stays_with_its_sequence(dtype: torch.dtype) -> None:
    step = batch((1, 1), (40, 40), size=16, window=None)
    kv = fill(arena(dtype, heads=1, head_dim=16, size=16))
    slot = torch.tensor([int(step.block_tables[0, 1]) * 16 + 3])
    broken = torch.full((1, 1, 16), torch.inf)
    reference.write_kv(broken, broken, kv.layers()[1], slot)
    got = attend(kv, step, random(8, 32, seed=2))
    assert got[0].isnan().all()
    assert got[1].isfinite().all()


def test_an_int8_cache_is_close_to_a_float_one() -> None:
    step = batch((300,), (300,), size=16, window=None)
    k, v, q = random(300, 2, 64, seed=4), random(300, 2, 64, seed=5), random(300, 4 * 64, seed=6)
    results = []
    for dtype in (torch.float32, torch.int8):
        kv = arena(dtype, heads=2, head_dim=64, size=16)
        reference.write_kv(k, v, kv.layers()[1], step.slot_mapping[:300])
        results.append(attend(kv, step, q))
    error = (results[1] - results[0]).norm() / results[0].norm()
    assert 1e-4 < error < 0.03
