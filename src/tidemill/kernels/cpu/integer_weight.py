"""Integer weights on a CPU: what multiplies, and the memory that products share."""

import threading

import numba
import numpy as np
import torch
from numba.core import config

from tidemill.kernels.cpu import integer_product
from tidemill.kernels.cpu.instruction_path import Tag
from tidemill.kernels.cpu.turns import LINE
from tidemill.kernels.packed_weight import PackedWeight, aligned_array
from tidemill.kernels.quantized import GROUP, Activation, QuantizedRows

SERIAL_WORK = 1 << 18
"""Weight bytes, counted again for every 8 rows, up to which one thread is faster than starting others."""


class IntegerMultiplier:
    """Runs products on one instruction path, one at a time: they share a scratch."""

    def __init__(self, tag: Tag) -> None:
        self.name = tag.path().name
        self.tag = tag
        self._lock = threading.Lock()
        self._ticket = aligned_array((config.NUMBA_NUM_THREADS * LINE,), np.uint8)
        self._ticket_at = self._ticket.ctypes.data
        self._scratch = aligned_array((0,), np.uint8)

    def multiply(self, weight: "IntegerWeight", x: QuantizedRows) -> torch.Tensor:
        """Multiply x (rows, in_features) -> (rows, out_features) float32."""
        rows, inputs = x.values.shape
        assert inputs == weight.inputs, f"{inputs} inputs for a weight of {weight.inputs}"
        assert x.values.is_contiguous()
        assert x.scales.is_contiguous()
        assert x.sums.is_contiguous()
        out = torch.empty(rows, weight.out_features)
        work = inputs * weight.out_features * (1 + rows // 8)
        threads = 1 if work < SERIAL_WORK else numba.get_num_threads()
        with self._lock:
            integer_product.multiply(
                self.tag,
                threads,
                weight.is_int4,
                inputs,
                weight.out_features,
                rows,
                *weight.addresses,
                x.values.data_ptr(),
                x.scales.data_ptr(),
                x.sums.data_ptr(),
                out.data_ptr(),
                self._scratch_at(threads, inputs),
                self._ticket_at,
            )
        return out

    def _scratch_at(self, threads: int, inputs: int) -> int:
        needed = threads * integer_product.scratch_bytes(inputs, self.tag.most_rows)
        if self._scratch.nbytes < needed:
            self._scratch = aligned_array((needed,), np.uint8)
        return self._scratch.ctypes.data


class IntegerWeight:
    """A packed int8 or int4 matrix, ready to be multiplied with; its arrays may be mapped from disk."""

    input_dtype = torch.int8

    def __init__(self, packed: PackedWeight, multiplier: IntegerMultiplier) -> None:
        self.in_features, self.out_features = packed.in_features, packed.out_features
        self.inputs = -(-packed.in_features // GROUP) * GROUP
        self.is_int4 = int(packed.format == "int4")
        arrays = packed.arrays
        bias = arrays.get("bias")
        if bias is None:
            bias = np.full(arrays["scales"].shape, -0.0, np.float32)  # the number whose addition changes nothing
        self._held = [arrays["panels"], arrays["scales"], bias]
        if self.is_int4:
            self._held.insert(1, arrays["group_scales"])
        assert all(array.flags.c_contiguous and array.ctypes.data % 64 == 0 for array in self._held[:2])
        found = [array.ctypes.data for array in self._held]
        self.addresses = tuple(found) if self.is_int4 else (found[0], 0, *found[1:])
        """Of panels, group scales, channel scales and biases."""
        self._multiplier = multiplier

    def multiply(self, x: Activation) -> torch.Tensor:
        """Multiply x (rows, in_features) -> (rows, out_features) float32."""
        assert isinstance(x, QuantizedRows)
        return self._multiplier.multiply(self, x)
