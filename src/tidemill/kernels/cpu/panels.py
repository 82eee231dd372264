"""The layout of integer weights on a CPU: panels of 32 output channels, and how it is made and taken apart.

int8: (panels, inputs / 4, 32, 4) bytes, weight + 128. int4: (panels, inputs / 8, 32, 4) bytes with the q of inputs
k..k+3 in the low halves and of k+4..k+7 in the high ones; and (panels, groups, 32) group scales. Inputs are padded to
whole groups with whatever gives zero (activations are zero there), channels to whole panels.
"""

from typing import Any

import numpy as np
import torch
from numba import njit, prange
from numpy.typing import NDArray

from tidemill.kernels.cpu import numba_setup
from tidemill.kernels.cpu.numba_setup import INSIDE
from tidemill.kernels.packed_weight import PackedWeight, aligned_array
from tidemill.kernels.quantized import GROUP, QuantizedWeight

CACHED = numba_setup.configure()
PANEL = 32
"""Output channels of a panel."""
MAX_INPUTS = 1 << 16
"""Sums of 127 * 127 stay well within 32 bits."""


@njit(nogil=True, parallel=True, cache=CACHED)
def _pack_int8(values: Any, panels: Any) -> None:
    for panel in prange(panels.shape[0]):
        for lane in range(PANEL):
            channel = panel * PANEL + lane
            if channel < values.shape[0]:
                for k in range(values.shape[1]):
                    panels[panel, k // 4, lane, k % 4] = values[channel, k] + 128


@njit(nogil=True, **INSIDE)
def _pack_group(values: Any, scale: Any, lines: Any, lane: Any) -> Any:
    """One channel's values of one group into its 4 lines; how many of them are not (q - 8) * scale."""
    wrong = 0
    inverse = np.float32(1) / np.float32(scale)
    for k in range(values.shape[0]):
        value = np.int32(values[k])
        q = np.int32(np.rint(np.float32(value) * inverse)) + 8
        if (q - 8) * scale != value or q < 0 or q > 15:
            wrong += 1
        lines[k // 8, lane, k % 4] |= np.uint8(q << (k // 4 % 2 * 4))
    return wrong


@njit(nogil=True, parallel=True, cache=CACHED)
def _pack_int4(values: Any, group_scales: Any, panels: Any, scales: Any, wrong: Any) -> None:
    """Counts in `wrong`, by panel, values that are not (q - 8) * group scale: none, if the weight is what it says."""
    for panel in prange(panels.shape[0]):
        for channel in range(panel * PANEL, min((panel + 1) * PANEL, values.shape[0])):
            lane = channel - panel * PANEL
            for group in range(scales.shape[1]):
                scale = np.int32(group_scales[channel, group])
                scales[panel, group, lane] = scale
                ours = values[channel, group * GROUP : min((group + 1) * GROUP, values.shape[1])]
                lines = panels[panel, group * GROUP // 8 : (group + 1) * GROUP // 8]
                wrong[panel] += _pack_group(ours, scale, lines, lane)


def pack(weight: QuantizedWeight) -> PackedWeight:
    """Arrange a weight in panels."""
    out_features, in_features = weight.values.shape
    assert in_features <= MAX_INPUTS, f"{in_features} inputs are more than 32-bit sums can take"
    num_panels, num_groups = -(-out_features // PANEL), -(-in_features // GROUP)
    values = weight.values.contiguous().numpy()
    arrays = {"scales": _of_channels(weight.scales, num_panels)}
    if weight.bias is not None:
        arrays["bias"] = _of_channels(weight.bias, num_panels)
    if weight.format == "int8":
        arrays["panels"] = _zeros((num_panels, num_groups * GROUP // 4, PANEL, 4))
        _pack_int8(values, arrays["panels"])
    else:
        assert weight.group_scales is not None
        group_scales = weight.group_scales.contiguous().numpy()
        assert group_scales.min() >= 1
        assert group_scales.max() <= 15
        arrays["panels"] = _zeros((num_panels, num_groups * GROUP // 8, PANEL, 4))
        arrays["group_scales"] = _zeros((num_panels, num_groups, PANEL))
        wrong = np.zeros(num_panels, np.int64)
        _pack_int4(values, group_scales, arrays["panels"], arrays["group_scales"], wrong)
        assert not wrong.any(), f"{wrong.sum()} values are no products of four bits and a group scale"
    return PackedWeight(weight.format, in_features, out_features, arrays)


def unpack(packed: PackedWeight) -> QuantizedWeight:
    """The weight that `pack` was given, to the bit."""
    channels, inputs = packed.out_features, packed.in_features
    lines = packed.arrays["panels"]
    group_scales = None
    if packed.format == "int8":
        values = (lines.transpose(0, 2, 1, 3) ^ 0x80).view(np.int8)
    else:
        halves = np.stack((lines & 15, lines >> 4), axis=2).astype(np.int8) - np.int8(8)
        scales = packed.arrays["group_scales"].transpose(0, 2, 1)
        group_scales = torch.from_numpy(scales.reshape(-1, scales.shape[2])[:channels].copy())
        values = halves.transpose(0, 3, 1, 2, 4).reshape(*scales.shape, GROUP) * scales[..., None].astype(np.int8)
    flat = values.reshape(lines.shape[0] * PANEL, -1)[:channels, :inputs].copy()
    bias = packed.arrays.get("bias")
    return QuantizedWeight(
        format=packed.format,
        values=torch.from_numpy(flat),
        group_scales=group_scales,
        scales=torch.from_numpy(packed.arrays["scales"][:channels].copy()),
        bias=None if bias is None else torch.from_numpy(bias[:channels].copy()),
    )


def _zeros(shape: tuple[int, ...]) -> NDArray[Any]:
    array = aligned_array(shape, np.uint8)
    array[...] = 0
    return array


def _of_channels(numbers: torch.Tensor, num_panels: int) -> NDArray[Any]:
    padded = aligned_array((num_panels * PANEL,), np.float32)
    padded[: numbers.shape[0]] = numbers.numpy()
    padded[numbers.shape[0] :] = 0
    return padded
