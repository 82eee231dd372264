"""The Numba kernels against their plain twins, within float32 rounding (bf16: one unit in the last place)."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tidemill.core.kv_cache import KVCacheGroup, KVCacheLayout
from tidemill.kernels import reference
from tidemill.kernels.attention_batch import AttentionBatch
from tidemill.kernels.backend import choose_backend
from tidemill.kernels.cpu import attention, numba_setup
from tidemill.kernels.cpu.backend import NumbaBackend
from tidemill.kernels.kv_tensors import KVTensors, block_bytes
from tidemill.kernels.torch_backend import TorchBackend

DTYPES = [torch.float32, torch.bfloat16]
FAST, PLAIN = NumbaBackend(), TorchBackend()


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 2).to(dtype)


def close(got: torch.Tensor, want: torch.Tensor) -> None:
    tolerance = 2e-2 if got.dtype == torch.bfloat16 else 2e-6
    assert got.dtype == want.dtype
    torch.testing.assert_close(got, want, atol=tolerance, rtol=2 * tolerance)


def arena(dtype: torch.dtype, *, heads: int, head_dim: int, size: int, blocks: int = 64) -> KVTensors:
    bytes_each = block_bytes(layers_per_group=2, num_kv_heads=heads, head_dim=head_dim, block_size=size, dtype=dtype)
    layout = KVCacheLayout(blocks, size, bytes_each, (KVCacheGroup((0, 1), None),))
    device = torch.device("cpu")
    return KVTensors.allocate(layout, num_kv_heads=heads, head_dim=head_dim, dtype=dtype, device=device)


def batch(query_lens: tuple[int, ...], contexts: tuple[int, ...], *, size: int, window: int | None) -> AttentionBatch:
    widest = -(-max(contexts) // size)
    tables = 1 + torch.randperm(len(contexts) * widest, generator=torch.Generator().manual_seed(2))
    tables = tables.view(len(contexts), widest).int()
    places = [
        (int(tables[s, p // size]) * size + p % size)
        for s, (n, context) in enumerate(zip(query_lens, contexts, strict=True))
        for p in range(context - n, context)
    ]
    places += [0] * (-len(places) % 8)
    return AttentionBatch(
        num_rows=sum(query_lens),
        query_starts=torch.tensor([0, *query_lens]).cumsum(0).int(),
        start_positions=torch.tensor(contexts).int() - torch.tensor(query_lens).int(),
        context_lens=torch.tensor(contexts).int(),
        block_tables=tables,
        slot_mapping=torch.tensor(places),
        block_size=size,
        window=window,
        query_lens=query_lens,
        context_lens_list=contexts,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [16, 24, 576, 1000])
@pytest.mark.parametrize("rows", [1, 8, 200])
def test_norms(rows: int, size: int, dtype: torch.dtype) -> None:
    residual, delta, weight = random(rows, size), random(rows, size, seed=1, dtype=dtype), random(size, seed=2)
    close(FAST.rms_norm(residual, weight, 1e-5, dtype), PLAIN.rms_norm(residual, weight, 1e-5, dtype))
    mine, its = residual.clone(), residual.clone()
    close(FAST.add_rms_norm(mine, delta, weight, 1e-5), PLAIN.add_rms_norm(its, delta, weight, 1e-5))
    assert torch.equal(mine, its)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "size"), [(1, 16), (8, 1536), (200, 500)])
def test_silu_mul(rows: int, size: int, dtype: torch.dtype) -> None:
    gate_up = random(rows, 2 * size, dtype=dtype) * 10
    close(FAST.silu_mul(gate_up), PLAIN.silu_mul(gate_up))


def test_silu_mul_at_the_ends_of_the_range() -> None:
    gates = torch.tensor([[0.0, -0.0, 1e-30, 80.0, -80.0, 200.0, -200.0, 1e30, -1e30]])
    close(FAST.silu_mul(torch.cat((gates, torch.ones_like(gates)), 1)), torch.nn.functional.silu(gates))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("normed", "rotated"), [(True, True), (False, True), (False, False)])
@pytest.mark.parametrize("length", [3, 400])
def test_rotate_and_write(length: int, normed: bool, rotated: bool, dtype: torch.dtype) -> None:
    step = batch((length,), (length + 5,), size=16, window=None)
    rows = step.slot_mapping.shape[0]
    qkv = random(rows, (6 + 2 + 2) * 24, dtype=dtype)
    positions = torch.arange(5, 5 + rows)
    rotations = random(rows + 5, 24, seed=3) if rotated else torch.empty(1, 0)
    norms = (random(24, seed=4), random(24, seed=5)) if normed else (torch.empty(0), torch.empty(0))
    queries, arenas = [], []
    for backend in (FAST, PLAIN):
        kv = arena(dtype, heads=2, head_dim=24, size=16)
        cache, plan = backend.bind(kv)[1], backend.plan(step)
        queries.append(backend.rotate_and_write(qkv, positions, rotations, norms, 1e-6, cache, plan))
        arenas.append(kv)
    close(*queries)
    close(arenas[0].keys[1][1:], arenas[1].keys[1][1:])
    assert torch.equal(arenas[0].values[1][1:], arenas[1].values[1][1:])
    assert not arenas[0].keys[0].any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("heads", "kv_heads", "head_dim"), [(4, 4, 16), (9, 3, 64), (8, 1, 128), (4, 2, 40), (2, 2, 8), (64, 1, 32)]
)
@pytest.mark.parametrize("window", [None, 1, 37])
def test_attention(heads: int, kv_heads: int, head_dim: int, window: int | None, dtype: torch.dtype) -> None:
    step = batch((1, 70, 9, 1), (1, 130, 9, 200), size=7, window=window)
    kv = arena(dtype, heads=kv_heads, head_dim=head_dim, size=7, blocks=140)
    kv.keys[1].copy_(random(*kv.keys[1].shape))
    kv.values[1].copy_(random(*kv.values[1].shape, seed=1))
    q = random(88, heads * head_dim, seed=2)
    scale = head_dim**-0.5
    got = FAST.attention(q, FAST.bind(kv)[1], FAST.plan(step), scale, torch.float32)
    want = reference.paged_attention(q, kv.keys[1], kv.values[1], step, scale)
    torch.testing.assert_close(got, want, atol=2e-5, rtol=1e-5)
    assert not got[81:].any()
    coarse = FAST.attention(q, FAST.bind(kv)[1], FAST.plan(step), scale, torch.bfloat16)
    assert torch.equal(coarse, got.to(torch.bfloat16))


def test_reference_attention_equals_torch() -> None:
    step = batch((50,), (130,), size=16, window=60)
    kv = arena(torch.float32, heads=2, head_dim=16, size=16)
    kv.keys[0].copy_(random(*kv.keys[0].shape))
    kv.values[0].copy_(random(*kv.values[0].shape, seed=1))
    q = random(56, 4 * 16, seed=2)
    pages = step.block_tables[0].long()
    keys = kv.keys[0][pages].permute(1, 0, 3, 2).reshape(2, -1, 16)[:, :130]
    values = kv.values[0][pages].permute(1, 0, 2, 3).reshape(2, -1, 16)[:, :130]
    at, where = torch.arange(80, 130)[:, None], torch.arange(130)[None]
    want = torch.nn.functional.scaled_dot_product_attention(
        q[:50].view(50, 4, 16).transpose(0, 1)[None], keys[None], values[None],
        attn_mask=(where <= at) & (where > at - 60), enable_gqa=True,
    )[0].transpose(0, 1).reshape(50, -1)  # fmt: skip
    got = reference.paged_attention(q, kv.keys[0], kv.values[0], step, 0.25)
    torch.testing.assert_close(got[:50], want, atol=1e-5, rtol=1e-5)


def test_garbage_beyond_a_sequence_is_never_read() -> None:
    step = batch((1,), (20,), size=16, window=10)
    kv = arena(torch.float32, heads=1, head_dim=16, size=16)
    for tensor in (kv.keys[0], kv.values[0]):
        tensor.fill_(float("nan"))
    flat_keys, flat_values = kv.keys[0].transpose(2, 3), kv.values[0]
    for position in range(10, 20):
        page = int(step.block_tables[0, position // 16])
        flat_keys[page, 0, position % 16] = 1.0
        flat_values[page, 0, position % 16] = float(position)
    for backend in (FAST, PLAIN):
        out = backend.attention(random(8, 16), backend.bind(kv)[0], backend.plan(step), 1.0, torch.float32)
        torch.testing.assert_close(out[0], torch.full((16,), 14.5))


def test_a_cpu_gets_the_fast_kernels() -> None:
    assert choose_backend(torch.device("cpu")).name == "numba"


def test_the_cache_folder_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = numba_setup.private_cache_folder()
    assert folder is not None
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700  # noqa: PTH116


def test_no_cache_folder_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert numba_setup.private_cache_folder() is None


def test_a_compiler_that_fails_or_lies_is_replaced_by_plain_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_backend(torch.device("cpu")).name == "numba"
    monkeypatch.setattr(attention, "paged_attention", lambda *_: None)
    assert choose_backend(torch.device("cpu")).name != "numba"


def test_numba_leaves_the_number_of_threads_alone() -> None:
    """In a process of its own: the pool starts once, and what it did on its start would be long past here."""
    program = """
import numba, torch
torch.set_num_threads(1)
from tidemill.kernels.cpu.backend import NumbaBackend
backend = NumbaBackend()
for _ in range(3):
    backend.check()
    assert (torch.get_num_threads(), numba.get_num_threads()) == (1, 1)
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "2"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
