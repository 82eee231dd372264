"""The MLP of long prompts: in blocks of rows it gives the same bits as at once, and holds less."""

import pytest
import torch

from tests.kernels.test_integer_product import random_weight
from tidemill.kernels.backend import KernelBackend
from tidemill.kernels.cpu.backend import NumbaBackend
from tidemill.kernels.quantized import QuantizedRows
from tidemill.kernels.torch_backend import TorchBackend
from tidemill.models.layers import mlp
from tidemill.models.layers.linear import Linear
from tidemill.models.layers.mlp import MLP

HIDDEN, INNER, ROWS = 48, 80, 150


def make(kernels: KernelBackend, *, is_integer: bool) -> MLP:
    shapes = ((2 * INNER, HIDDEN), (HIDDEN, INNER))
    if is_integer:
        weights = [kernels.prepare_integer(random_weight("int8", *shape, seed)) for seed, shape in enumerate(shapes)]
    else:
        generator = torch.Generator().manual_seed(1)
        weights = [kernels.prepare(torch.randn(shape, generator=generator), None, row_tile=16) for shape in shapes]
    return MLP(Linear(weights[0]), Linear(weights[1]), kernels)


@pytest.mark.parametrize("is_integer", [True, False])
@pytest.mark.parametrize("kernels", [NumbaBackend(), TorchBackend()], ids=["numba", "torch"])
def test_blocks_of_rows_give_the_same_bits(
    kernels: KernelBackend, is_integer: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = make(kernels, is_integer=is_integer)
    rows = torch.randn(ROWS if is_integer else 160, HIDDEN, generator=torch.Generator().manual_seed(2))
    x = kernels.quantize(rows) if is_integer else rows
    at_once = layer(x)
    seen: list[int] = []
    multiply = kernels.silu_mul

    def watched(gate_up: torch.Tensor, dtype: torch.dtype) -> torch.Tensor | QuantizedRows:
        seen.append(gate_up.shape[0])
        return multiply(gate_up, dtype)

    monkeypatch.setattr(mlp, "BLOCK_ROWS", 64)
    monkeypatch.setattr(kernels, "silu_mul", watched)
    assert torch.equal(layer(x), at_once)
    assert seen == ([64, 64, 22] if is_integer else [64, 64, 32])
