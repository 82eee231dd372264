"""Torch tensors and the numpy arrays of the same memory: what kernels are given, and what they write into."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tidemill.kernels.quantized import GROUP, Activation, QuantizedRows

Array = NDArray[Any]
RowsOut = Array | tuple[Array, Array, Array]
"""What `put_row` writes to: an array, or the values, scales and sums of QuantizedRows."""


def array_of(tensor: torch.Tensor) -> Array:
    """The tensor's memory as numpy sees it; bf16 as uint16."""
    array: Array = tensor.view(torch.uint16).numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()
    return array


def new_rows(num_rows: int, size: int, dtype: torch.dtype) -> tuple[Activation, RowsOut]:
    """Room for (num_rows, size) in dtype, torch.int8 standing for QuantizedRows: as its reader and its writer see it.

    The memory is numpy's, which is had in half the time of torch's: three times a layer and step, that counts.
    """
    if dtype == torch.int8:
        values = np.empty((num_rows, -(-size // GROUP) * GROUP), np.int8)
        scales, sums = np.empty(num_rows, np.float32), np.empty(num_rows, np.int32)
        integers = QuantizedRows(torch.from_numpy(values), torch.from_numpy(scales), torch.from_numpy(sums))
        return integers, (values, scales, sums)
    if dtype == torch.bfloat16:
        bits = np.empty((num_rows, size), np.uint16)
        return torch.from_numpy(bits).view(torch.bfloat16), bits
    assert dtype == torch.float32, dtype
    floats = np.empty((num_rows, size), np.float32)
    return torch.from_numpy(floats), floats
