"""Activations as integers: the kernel and its twin give the same bits, and hold what QuantizedRows says."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tidemill.kernels.cpu.backend import PARALLEL_ELEMENTS, NumbaBackend
from tidemill.kernels.quantized import GROUP, TINY, QuantizedRows
from tidemill.kernels.torch_backend import TorchBackend

FAST, PLAIN = NumbaBackend(), TorchBackend()
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
ANY = st.one_of(FINITE, st.just(np.nan), st.just(np.inf), st.just(-np.inf))


def same(a: QuantizedRows, b: QuantizedRows) -> bool:
    scales = torch.equal(a.scales.view(torch.int32), b.scales.view(torch.int32))
    return scales and torch.equal(a.values, b.values) and torch.equal(a.sums, b.sums)


@settings(max_examples=200, deadline=None)
@given(x=arrays.arrays(np.float32, arrays.array_shapes(min_dims=2, max_dims=2, max_side=70), elements=ANY))
def test_kernel_and_twin_agree_to_the_bit(x: np.ndarray) -> None:
    rows = torch.from_numpy(x)
    got = FAST.quantize(rows)
    assert same(got, PLAIN.quantize(rows))
    assert same(FAST.quantize(rows.bfloat16()), PLAIN.quantize(rows.bfloat16()))
    assert got.values.shape == (rows.shape[0], -(-rows.shape[1] // GROUP) * GROUP)
    assert not got.values[:, rows.shape[1] :].any()
    assert torch.equal(got.scales.isnan(), ~rows.isfinite().all(-1))
    assert (got.scales.nan_to_num(1.0) > 0).all()


@settings(max_examples=100, deadline=None)
@given(x=arrays.arrays(np.float32, arrays.array_shapes(min_dims=2, max_dims=2, max_side=40), elements=FINITE))
def test_values_are_within_half_a_step(x: np.ndarray) -> None:
    got = FAST.quantize(torch.from_numpy(x))
    step = got.scales.double()[:, None]
    error = (got.values[:, : x.shape[1]] * step - torch.from_numpy(x).double()).abs()
    large = np.abs(x).max(-1) >= TINY
    assert (error <= step * (0.5 + 1e-4))[torch.from_numpy(large)].all()
    assert int(got.values.min()) >= -127
    assert (got.values.abs().amax(-1) == 127)[torch.from_numpy(large)].all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [1, 31, 64, 2048])
def test_many_rows_over_threads(size: int, dtype: torch.dtype) -> None:
    rows = torch.randn(2 * PARALLEL_ELEMENTS // size + 3, size, generator=torch.Generator().manual_seed(size)).to(dtype)
    got = FAST.quantize(rows)
    assert same(got, PLAIN.quantize(rows))
    alone = FAST.quantize(rows[5:6])
    assert torch.equal(alone.values[0], got.values[5])


def test_halves_round_to_even_and_zeros_stay_zeros() -> None:
    got = FAST.quantize(torch.tensor([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5], [0.0] * 6, [TINY / 2] * 6]))
    assert got.values[0, :6].tolist() == [127, 0, 2, 2, 0, -2]
    assert got.scales.tolist() == [1.0, 1.0, 1.0]
    assert got.sums.tolist() == [129, 0, 0]
