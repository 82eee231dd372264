"""A linear layer: a strategy of how a matrix is stored and multiplied. Nothing outside asks which."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tidemill.kernels.backend import KernelBackend
from tidemill.kernels.linear import Weight


@dataclass(frozen=True, slots=True)
class Linear:
    """y = x W^T + b. The weight's format knows how; an adapter by row or a shard would wrap this call, unseen."""

    weight: Weight

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Map x (rows, in_features) -> (rows, out_features)."""
        return self.weight.multiply(x)


def stacked(
    kernels: KernelBackend,
    weights: Sequence[torch.Tensor],
    biases: Sequence[torch.Tensor],
    *,
    row_tile: int | None,
) -> Linear:
    """One layer that computes several of the same input side by side: outputs in the order of `weights`."""
    weight = weights[0] if len(weights) == 1 else torch.cat(tuple(weights))
    bias = torch.cat(tuple(biases)) if biases else None
    return Linear(kernels.prepare(weight.contiguous(), bias, row_tile=row_tile))
