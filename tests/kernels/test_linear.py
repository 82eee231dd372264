"""Tiled products: the bits of a row do not depend on the rows beside it."""

import pytest
import torch

from tidemill.kernels.linear import TileProbe, TorchWeight
from tidemill.kernels.torch_backend import TorchBackend


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("outputs", "inputs"), [(960, 576), (48, 24), (100, 1000), (576, 1536)])
def test_bits_of_a_row_are_its_own(outputs: int, inputs: int, dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(0)
    weight = (torch.randn(outputs, inputs, generator=random) / inputs**0.5).to(dtype)
    bias = torch.randn(outputs, generator=random).to(dtype)
    x = torch.randn(296, inputs, generator=random).to(dtype)
    linear = TorchBackend().prepare(weight, bias, row_tile=8)
    whole = linear.multiply(x)
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    want = (x.float() @ weight.float().T + bias.float()).to(dtype)
    torch.testing.assert_close(whole, want, atol=tolerance, rtol=tolerance)
    order = torch.randperm(296, generator=random)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            assert torch.equal(linear.multiply(x[order]), whole[order])
            assert torch.equal(torch.cat([linear.multiply(part) for part in x.split(8)]), whole)
    finally:
        torch.set_num_threads(before)


def test_the_probe_refuses_tiles_that_differ() -> None:
    def product(x: torch.Tensor) -> torch.Tensor:
        return x + (x.shape[0] == 32)

    weight = torch.zeros(4, 4)
    assert TileProbe(8, torch.device("cpu")).sizes("test", weight, None, product) == (256, 128, 64, 16, 8)


def test_without_a_tile_any_number_of_rows_will_do() -> None:
    weight = torch.eye(6)
    x = torch.arange(18.0).view(3, 6)
    assert torch.equal(TorchWeight(weight, None, None).multiply(x), x)
