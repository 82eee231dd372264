"""A linear layer: a strategy of how a matrix is stored and multiplied. Nothing outside asks which."""

from dataclasses import dataclass

import torch

from tidemill.kernels.linear import Weight
from tidemill.kernels.quantized import Activation


@dataclass(frozen=True, slots=True)
class Linear:
    """y = x W^T + b. The weight's format knows how; an adapter by row or a shard would wrap this call, unseen."""

    weight: Weight

    @property
    def input_dtype(self) -> torch.dtype:
        """What it wants its input to be; torch.int8 stands for QuantizedRows."""
        return self.weight.input_dtype

    def __call__(self, x: Activation) -> torch.Tensor:
        """Map x (rows, in_features) -> (rows, out_features)."""
        return self.weight.multiply(x)
