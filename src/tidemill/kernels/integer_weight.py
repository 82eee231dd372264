"""Integer weights in plain torch, for any device: the twin of the CPU's panels, one byte a weight in either format."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tidemill.kernels import reference
from tidemill.kernels.packed_weight import PackedWeight, aligned_array
from tidemill.kernels.quantized import Activation, QuantizedRows, QuantizedWeight


class TorchIntegerWeight:
    """A matrix of integers, ready to be multiplied with."""

    input_dtype = torch.int8

    def __init__(self, weight: QuantizedWeight) -> None:
        self.out_features, self.in_features = weight.values.shape
        self._weight = weight

    def multiply(self, x: Activation) -> torch.Tensor:
        """Multiply x (rows, in_features) -> (rows, out_features) float32."""
        assert isinstance(x, QuantizedRows)
        return reference.integer_product(x, self._weight)


def pack(weight: QuantizedWeight) -> PackedWeight:
    """The weight's own tensors as arrays."""
    out_features, in_features = weight.values.shape
    parts = {
        "values": weight.values,
        "group_scales": weight.group_scales,
        "scales": weight.scales,
        "bias": weight.bias,
    }
    arrays = {name: _aligned(tensor) for name, tensor in parts.items() if tensor is not None}
    return PackedWeight(weight.format, in_features, out_features, arrays)


def unpack(packed: PackedWeight, device: torch.device) -> QuantizedWeight:
    """The weight that `pack` was given, on `device`."""
    tensors = {name: torch.tensor(array, device=device) for name, array in packed.arrays.items()}
    return QuantizedWeight(
        packed.format, tensors["values"], tensors.get("group_scales"), tensors["scales"], tensors.get("bias")
    )


def _aligned(tensor: torch.Tensor) -> NDArray[Any]:
    source = tensor.cpu().numpy()
    array = aligned_array(source.shape, source.dtype)
    np.copyto(array, source)
    return array
