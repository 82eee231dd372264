"""Kernels that treat each row alone: norms, rotation with the cache write, and the gate of the MLP.

A row is always walked by the same loop over the same length, so its bits depend on nothing beside it. The serial form
of a kernel is for the few rows of a decode step, where starting threads would cost more than the work.
"""

from typing import Any

import numpy as np
from numba import njit, prange

from tidemill.kernels.cpu import numba_setup
from tidemill.kernels.cpu.element import EXACT, exp_nonpositive, load
from tidemill.kernels.cpu.inverse_rms import inverse_rms
from tidemill.kernels.cpu.kv_write import write_key, write_value
from tidemill.kernels.cpu.numba_setup import INSIDE
from tidemill.kernels.cpu.output_rows import put_row
from tidemill.kernels.cpu.rotary import rotate_heads

CACHED = numba_setup.configure()
# Without NumPy's error model a division may raise, and a loop with a division then is no vector loop: ten times slower.


@njit(fastmath=EXACT, nogil=True, error_model="numpy", **INSIDE)
def norm_row(x: Any, weight: Any, epsilon: Any, scratch: Any) -> None:
    """Norm of x (size,) float32 times weight (size,), into scratch."""
    scale = inverse_rms(x, 0, x.shape[0], epsilon)
    for i in range(x.shape[0]):
        scratch[i] = x[i] * scale * weight[i]


@njit(fastmath=EXACT, nogil=True, error_model="numpy", **INSIDE)
def add_row(residual: Any, delta: Any) -> None:
    """Add delta (size,), float32 or bf16 bits, to residual."""
    for i in range(residual.shape[0]):
        residual[i] += load(delta[i])


@njit(fastmath=EXACT, nogil=True, error_model="numpy", cache=CACHED)
def rms_norm(x: Any, weight: Any, epsilon: Any, out: Any) -> None:
    """Norm of each row of x (rows, size) float32 times weight (size,) into out, as `put_row` takes it."""
    scratch = np.empty(x.shape[1], np.float32)
    for row in range(x.shape[0]):
        norm_row(x[row], weight, epsilon, scratch)
        put_row(scratch, out, row)


@njit(fastmath=EXACT, nogil=True, error_model="numpy", cache=CACHED)
def add_rms_norm(residual: Any, delta: Any, weight: Any, epsilon: Any, out: Any) -> None:
    """Add delta to residual in place, and put the norm of the sum into out."""
    scratch = np.empty(residual.shape[1], np.float32)
    for row in range(residual.shape[0]):
        add_row(residual[row], delta[row])
        norm_row(residual[row], weight, epsilon, scratch)
        put_row(scratch, out, row)


@njit(fastmath=EXACT, nogil=True, error_model="numpy", parallel=True, cache=CACHED)
def add_rms_norm_parallel(residual: Any, delta: Any, weight: Any, epsilon: Any, out: Any) -> None:
    """`add_rms_norm` over threads."""
    for row in prange(residual.shape[0]):
        scratch = np.empty(residual.shape[1], np.float32)
        add_row(residual[row], delta[row])
        norm_row(residual[row], weight, epsilon, scratch)
        put_row(scratch, out, row)


@njit(fastmath=EXACT, nogil=True, error_model="numpy", **INSIDE)
def silu_row(gate_up: Any, scratch: Any) -> None:
    """silu(gate) * up of gate_up (2 * size,), float32 or bf16 bits, into scratch (size,)."""
    size = scratch.shape[0]
    for i in range(size):
        gate = load(gate_up[i])
        small = exp_nonpositive(-abs(gate))
        share = (np.float32(1) if gate >= 0 else small) / (np.float32(1) + small)
        scratch[i] = gate * share * load(gate_up[size + i])


@njit(fastmath=EXACT, nogil=True, error_model="numpy", cache=CACHED)
def silu_mul(gate_up: Any, out: Any) -> None:
    """silu(gate) * up: gate_up (rows, 2 * size), gates first, into out (rows, size), as `put_row` takes it."""
    scratch = np.empty(gate_up.shape[1] // 2, np.float32)
    for row in range(gate_up.shape[0]):
        silu_row(gate_up[row], scratch)
        put_row(scratch, out, row)


@njit(fastmath=EXACT, nogil=True, error_model="numpy", parallel=True, cache=CACHED)
def silu_mul_parallel(gate_up: Any, out: Any) -> None:
    """`silu_mul` over threads."""
    for row in prange(gate_up.shape[0]):
        scratch = np.empty(gate_up.shape[1] // 2, np.float32)
        silu_row(gate_up[row], scratch)
        put_row(scratch, out, row)


@njit(fastmath=EXACT, nogil=True, error_model="numpy", **INSIDE)
def rotate_row(
    qkv: Any, rotation: Any, q_norm: Any, k_norm: Any, epsilon: Any, layer: Any, slot: Any, q: Any, row: Any
) -> None:
    """One row of `rotate_and_write`: its own rotation and slot."""
    num_kv_heads, head_dim = layer.kv_heads, layer.head_dim
    q_size, kv_size = q.shape[1], num_kv_heads * head_dim
    source = qkv[row]
    rotated = np.empty(kv_size, np.float32)
    rotate_heads(source, 0, q_size // head_dim, head_dim, q_norm, epsilon, rotation, q[row], 0)
    rotate_heads(source, q_size, num_kv_heads, head_dim, k_norm, epsilon, rotation, rotated, 0)
    value = np.empty(head_dim, np.float32)
    for h in range(num_kv_heads):
        first = q_size + kv_size + h * head_dim
        for d in range(head_dim):
            value[d] = load(source[first + d])
        write_key(layer, slot, h, rotated[h * head_dim : (h + 1) * head_dim])
        write_value(layer, slot, h, value)


@njit(fastmath=EXACT, nogil=True, cache=CACHED)
def rotate_and_write(
    qkv: Any,
    positions: Any,
    rotations: Any,
    q_norm: Any,
    k_norm: Any,
    epsilon: Any,
    layer: Any,
    slots: Any,
    q: Any,
) -> None:
    """Norm and rotate queries into q (rows, heads * head_dim) float32, and keys into their slots; values likewise.

    qkv (rows, (heads + 2 kv_heads) * head_dim); rotations (positions, head_dim) float32, cosines then sines of half a
    head, or (1, 0) for none; q_norm and k_norm (head_dim,), or (0,) for none; layer as in PagedLayer.
    """
    for row in range(qkv.shape[0]):
        rotation = rotations[min(positions[row], rotations.shape[0] - 1)]
        rotate_row(qkv, rotation, q_norm, k_norm, epsilon, layer, slots[row], q, row)


@njit(fastmath=EXACT, nogil=True, parallel=True, cache=CACHED)
def rotate_and_write_parallel(
    qkv: Any,
    positions: Any,
    rotations: Any,
    q_norm: Any,
    k_norm: Any,
    epsilon: Any,
    layer: Any,
    slots: Any,
    q: Any,
) -> None:
    """`rotate_and_write` over threads; rows that share a slot are padding."""
    for row in prange(qkv.shape[0]):
        rotation = rotations[min(positions[row], rotations.shape[0] - 1)]
        rotate_row(qkv, rotation, q_norm, k_norm, epsilon, layer, slots[row], q, row)
