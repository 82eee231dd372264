"""What rounding promises: integers in their ranges, errors of a known size, scales that clip for a reason."""

import pytest
import torch

from tidemill.kernels.backend import choose_backend
from tidemill.kernels.quantized import GROUP
from tidemill.models.quantization.rounding import quantize

KERNELS = choose_backend(torch.device("cpu"))


def gaussian(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def restored(weight):
    return weight.values.float() * weight.scales[:, None]


def error(weight, original):
    return float((restored(weight) - original).norm() / original.norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_int8_is_within_half_a_step(dtype):
    original = gaussian(40, 70).to(dtype)
    weight = quantize(original, "int8")
    assert weight.values.dtype == torch.int8
    assert int(weight.values.abs().max()) == 127
    assert ((restored(weight) - original.float()).abs() <= weight.scales[:, None] * 0.5001).all()


@pytest.mark.parametrize("in_features", [64, 70])
def test_int4_values_are_four_bits_times_a_group_scale(in_features):
    original = gaussian(40, in_features)
    weight = quantize(original, "int4")
    groups = weight.group_scales.long().repeat_interleave(GROUP, dim=1)[:, :in_features]
    assert weight.group_scales.shape == (40, -(-in_features // GROUP))
    assert int(groups.min()) >= 1
    assert int(groups.max()) <= 15
    assert (weight.values % groups == 0).all()
    steps = weight.values // groups
    assert int(steps.min()) >= -8
    assert int(steps.max()) <= 7
    assert error(weight, original) < 0.1


def test_what_is_never_fed_may_be_wrong_and_what_is_fed_often_may_not():
    original, importance = gaussian(64, 64), torch.ones(64)
    importance[::4] = 1000.0
    aware, blind = quantize(original, "int4", importance=importance), quantize(original, "int4")
    weighted = [float(((restored(w) - original).square() * importance).sum()) for w in (aware, blind)]
    assert weighted[0] < 0.97 * weighted[1]


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_rows_of_zeros_and_lone_outliers(kind):
    original = torch.zeros(3, 64)
    original[1, 5] = -3.0
    weight = quantize(original, kind)
    assert torch.equal(restored(weight)[0], torch.zeros(64))
    assert torch.isfinite(weight.scales).all()
    torch.testing.assert_close(restored(weight), original, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_factors_multiply_columns_and_a_bias_stays(kind):
    original, factors, bias = gaussian(16, 64), torch.rand(64) + 0.5, gaussian(16)
    scaled = quantize(original * factors, kind, bias=bias)
    weight = quantize(original, kind, factors=factors, bias=bias)
    assert torch.equal(weight.values, scaled.values)
    assert torch.equal(weight.scales, scaled.scales)
    assert torch.equal(weight.bias, bias)


@pytest.mark.parametrize(("kind", "limit"), [("int8", 0.013), ("int4", 0.1)])
def test_a_product_of_gaussians_has_the_error_the_bounds_assume(kind, limit):
    original, x = gaussian(256, 512), gaussian(64, 512, seed=1)
    product = KERNELS.prepare_integer(quantize(original, kind)).multiply(KERNELS.quantize(x))
    expected = x @ original.T
    assert limit / 4 < float((product - expected).norm() / expected.norm()) < limit
