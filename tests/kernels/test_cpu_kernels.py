"""The Numba kernels against their plain twins, within float32 rounding (bf16: one unit in the last place)."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.kernels.paging import arena, batch, random
from tidemill.core.private_folder import private_cache_folder
from tidemill.kernels.backend import choose_backend
from tidemill.kernels.cpu import attention
from tidemill.kernels.cpu.backend import PARALLEL_ELEMENTS, NumbaBackend
from tidemill.kernels.quantized import Activation, QuantizedRows
from tidemill.kernels.torch_backend import TorchBackend

DTYPES = [torch.float32, torch.bfloat16]
FAST, PLAIN = NumbaBackend(), TorchBackend()


def close(got: Activation, want: Activation) -> None:
    assert isinstance(got, torch.Tensor)
    assert isinstance(want, torch.Tensor)
    tolerance = 2e-2 if got.dtype == torch.bfloat16 else 2e-6
    assert got.dtype == want.dtype
    torch.testing.assert_close(got, want, atol=tolerance, rtol=2 * tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [16, 24, 576, 1000])
@pytest.mark.parametrize("rows", [1, 8, 200])
def test_norms(rows: int, size: int, dtype: torch.dtype) -> None:
    residual, delta, weight = random(rows, size), random(rows, size, seed=1, dtype=dtype), random(size, seed=2)
    close(FAST.rms_norm(residual, weight, 1e-5, dtype), PLAIN.rms_norm(residual, weight, 1e-5, dtype))
    mine, its = residual.clone(), residual.clone()
    close(FAST.add_rms_norm(mine, delta, weight, 1e-5, dtype), PLAIN.add_rms_norm(its, delta, weight, 1e-5, dtype))
    assert torch.equal(mine, its)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "size"), [(1, 16), (8, 1536), (200, 500)])
def test_silu_mul(rows: int, size: int, dtype: torch.dtype) -> None:
    gate_up = random(rows, 2 * size, dtype=dtype) * 10
    close(FAST.silu_mul(gate_up, dtype), PLAIN.silu_mul(gate_up, dtype))


def equal_integers(got: Activation, want: QuantizedRows) -> None:
    assert isinstance(got, QuantizedRows)
    assert torch.equal(got.values, want.values)
    assert torch.equal(got.scales, want.scales)
    assert torch.equal(got.sums, want.sums)


@pytest.mark.parametrize(("rows", "size"), [(1, 24), (8, 576), (200, 500)])
def test_fused_integers_are_those_of_the_float_result(rows: int, size: int) -> None:
    x, delta, weight = random(rows, size), random(rows, size, seed=1), random(size, seed=2)
    gate_up = random(rows, 2 * size, seed=3)
    q = random(rows, 4 * 16, seed=4)
    step = batch((rows,), (rows + 3,), size=7, window=None)
    kv = arena(torch.float32, heads=2, head_dim=16, size=7)
    kv.values[0].copy_(random(*kv.values[0].shape))
    for backend in (FAST, PLAIN):
        cache, plan = backend.bind(kv)[0], backend.plan(step)
        results = {}
        for dtype in (torch.float32, torch.int8):
            residual = x.clone()
            results[dtype] = (
                backend.rms_norm(x, weight, 1e-5, dtype),
                backend.add_rms_norm(residual, delta, weight, 1e-5, dtype),
                backend.silu_mul(gate_up, dtype),
                backend.attention(q, cache, plan, 0.25, dtype),
            )
            assert torch.equal(residual, x + delta)
        for floats, integers in zip(results[torch.float32], results[torch.int8], strict=True):
            assert isinstance(floats, torch.Tensor)
            equal_integers(integers, PLAIN.quantize(floats))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8])
@pytest.mark.parametrize("size", [24, 576, 1000])
def test_a_row_is_the_same_alone_and_among_many(size: int, dtype: torch.dtype) -> None:
    """Over threads too: many rows go another way than one."""
    rows = 2 * PARALLEL_ELEMENTS // size
    x, delta, weight = random(rows, size), random(rows, size, seed=1), random(size, seed=2)
    gate_up = random(rows, 2 * size, seed=3)

    def run(chosen: slice) -> list[Activation]:
        return [
            FAST.rms_norm(x[chosen], weight, 1e-5, dtype),
            FAST.add_rms_norm(x[chosen].clone(), delta[chosen], weight, 1e-5, dtype),
            FAST.silu_mul(gate_up[chosen], dtype),
        ]

    for whole, alone in zip(run(slice(None)), run(slice(5, 6)), strict=True):
        if isinstance(whole, QuantizedRows):
            equal_integers(alone, QuantizedRows(whole.values[5:6], whole.scales[5:6], whole.sums[5:6]))
        else:
            assert torch.equal(alone, whole[5:6])


def test_silu_mul_at_the_ends_of_the_range() -> None:
    gates = torch.tensor([[0.0, -0.0, 1e-30, 80.0, -80.0, 200.0, -200.0, 1e30, -1e30]])
    got = FAST.silu_mul(torch.cat((gates, torch.ones_like(gates)), 1), torch.float32)
    close(got, torch.nn.functional.silu(gates))


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


def test_a_cpu_gets_the_fast_kernels() -> None:
    assert choose_backend(torch.device("cpu")).name == "numba"


def test_the_cache_folder_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = private_cache_folder("numba")
    assert folder is not None
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700  # noqa: PTH116


def test_no_cache_folder_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert private_cache_folder("numba") is None


def test_a_compiler_that_fails_or_lies_is_replaced_by_plain_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_backend(torch.device("cpu")).name == "numba"
    monkeypatch.setattr(attention, "paged_attention", lambda *_: None)
    assert choose_backend(torch.device("cpu")).name != "numba"


def test_numba_leaves_the_number_of_threads_alone() -> None:
    """In a process of its own: the pool starts once, and what it did on its start would be long past here."""
    program = """
import numba, torch
torch.set_num_threads(1)
from tidemill.kernels.cpu.backend import PARALLEL_ELEMENTS, NumbaBackend
backend = NumbaBackend()
for _ in range(3):
    backend.check()
    assert (torch.get_num_threads(), numba.get_num_threads()) == (1, 1)
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "2"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_torch_and_numba_share_one_pool_of_threads() -> None:
    """Two pools would wait for each other's cores. Torch, loaded first, lends its OpenMP runtime to what follows."""
    program = """
import os
import torch
torch.set_num_threads(2)
from tidemill.kernels.cpu.backend import NumbaBackend
backend = NumbaBackend()
rows = torch.randn(4096, 1024)
def num_threads():
    return len(os.listdir("/proc/self/task"))
before = num_threads()
rows.exp()
with_torch = num_threads()
backend.silu_mul(rows, torch.float32)
print(before, with_torch, num_threads())
assert before <= with_torch == num_threads()
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "2"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
