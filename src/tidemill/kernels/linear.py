"""Matrix products by a weight, with the same bits for a row whatever the number of rows.

A product's order of summation may depend on its number of rows, so rows are cut into tiles of one size. Larger ones
are faster where there are many rows; they are used only if a probe at load finds their bits equal to the base tile's.
"""

from collections.abc import Callable
from typing import Protocol

import torch

from tidemill.kernels.quantized import Activation

DEFAULT_ROW_TILE = 8
"""Rows of the base tile."""
LARGEST_TILE = 256

Product = Callable[[torch.Tensor], torch.Tensor]


class Weight(Protocol):
    """A matrix in some format, ready to be multiplied with."""

    in_features: int
    out_features: int
    input_dtype: torch.dtype
    """What it multiplies: float32 or bfloat16 tensors, or QuantizedRows, which int8 stands for."""

    def multiply(self, x: Activation) -> torch.Tensor:
        """Multiply x (rows, in_features) -> (rows, out_features), in its data type; float32 from QuantizedRows."""
        ...


class TileProbe:
    """Finds which tile sizes give the bits of the base tile, once for each shape of weight.

    The order of summation depends on shapes and not on data, so a random tile that agrees stands for all.
    """

    def __init__(self, row_tile: int, device: torch.device) -> None:
        self.row_tile = row_tile
        self._generator = torch.Generator(device).manual_seed(0)
        self._found: dict[tuple[object, ...], tuple[int, ...]] = {}

    def sizes(self, kind: str, weight: torch.Tensor, bias: torch.Tensor | None, product: Product) -> tuple[int, ...]:
        """Usable tile sizes, largest first, the base tile last."""
        key = (kind, tuple(weight.shape), weight.dtype, bias is None)
        if key not in self._found:
            self._found[key] = self._probe(weight, product)
        return self._found[key]

    def _probe(self, weight: torch.Tensor, product: Product) -> tuple[int, ...]:
        # A large matrix is an output matrix, which meets one row a sequence: it needs no large tiles.
        largest = LARGEST_TILE if weight.numel() < 1 << 25 else 64
        rows = max(largest, self.row_tile)
        x = torch.randn(rows, weight.shape[1], device=weight.device, generator=self._generator).to(weight.dtype)
        base = torch.cat([product(part) for part in torch.split(x, self.row_tile)])
        found = [self.row_tile]
        size = self.row_tile * 2
        while size <= largest:
            whole = torch.cat([product(part) for part in torch.split(x, size) if part.shape[0] == size])
            if torch.equal(whole, base[: whole.shape[0]]):
                found.append(size)
            size *= 2
        return tuple(reversed(found))


class TorchWeight:
    """A float matrix in torch's own layout, or in oneDNN's blocked one where that exists; fp32 and bf16."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, probe: TileProbe | None) -> None:
        """Take weight (out_features, in_features) and bias (out_features,); without a probe rows go at once."""
        self.out_features, self.in_features = weight.shape
        self.input_dtype = weight.dtype
        self._product = _packed_product(weight, bias) or _plain_product(weight, bias)
        self._tiles = None if probe is None else probe.sizes("torch", weight, bias, self._product)

    def multiply(self, x: Activation) -> torch.Tensor:
        """Multiply x (rows, in_features) -> (rows, out_features); with tiles, rows are a multiple of the base tile."""
        assert isinstance(x, torch.Tensor), "a float matrix multiplies floats"
        rows = x.shape[0]
        if self._tiles is None or rows in self._tiles:
            return self._product(x)
        assert rows % self._tiles[-1] == 0, f"{rows} rows are no multiple of the row tile {self._tiles[-1]}"
        out = x.new_empty(rows, self.out_features)
        done = 0
        for size in self._tiles:
            while rows - done >= size:
                out[done : done + size] = self._product(x[done : done + size])
                done += size
        return out


def _plain_product(weight: torch.Tensor, bias: torch.Tensor | None) -> Product:
    return lambda x: torch.nn.functional.linear(x, weight, bias)


def _packed_product(weight: torch.Tensor, bias: torch.Tensor | None) -> Product | None:
    """A product with oneDNN's blocked layout: 1.5 to 3 times faster for few rows. None where it cannot be had."""
    mkldnn = torch.ops.mkldnn
    if weight.device.type != "cpu" or not hasattr(mkldnn, "_linear_pointwise"):
        return None
    if weight.dtype == torch.bfloat16 and not mkldnn._is_mkldnn_bf16_supported():  # noqa: SLF001
        return None
    packed = mkldnn._reorder_linear_weight(weight, None)  # noqa: SLF001
    multiply = mkldnn._linear_pointwise.default  # noqa: SLF001
    return lambda x: multiply(x, packed, bias, "none", [], "")
