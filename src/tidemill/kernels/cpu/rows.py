"""Kernels that treat each row alone: norms, rotation with the cache write, and the gate of the MLP.

A row is always walked by the same loop over the same length, so its bits depend on nothing beside it. The serial form
of a kernel is for the few rows of a decode step, where starting threads would cost more than the work.
"""

from typing import Any

import numpy as np
from numba import njit, prange

from tidemill.kernels.cpu import numba_setup
from tidemill.kernels.cpu.element import EXACT, exp_nonpositive, load, rounded
from tidemill.kernels.cpu.vector_code import LANES

CACHED = numba_setup.configure()


@njit(fastmath=EXACT, nogil=True)
def inverse_rms(row: Any, first: Any, size: Any, epsilon: Any) -> Any:
    """1 / sqrt(mean of squares + epsilon) of `size` elements of `row` from `first` on; 16 partial sums, one order."""
    lanes = np.zeros(LANES, np.float32)
    whole = size // LANES * LANES
    for block in range(first, first + whole, LANES):
        for i in range(LANES):
            x = load(row[block + i])
            lanes[i] += x * x
    total = np.float32(0)
    for i in range(LANES):
        total += lanes[i]
    for i in range(first + whole, first + size):
        x = load(row[i])
        total += x * x
    return np.float32(1) / np.sqrt(total / np.float32(size) + epsilon)


@njit(fastmath=EXACT, nogil=True)
def _norm_row(x: Any, weight: Any, epsilon: Any, out: Any, row: Any) -> None:
    size = x.shape[1]
    scale = inverse_rms(x[row], 0, size, epsilon)
    for i in range(size):
        out[row, i] = rounded(out, x[row, i] * scale * weight[i])


@njit(fastmath=EXACT, nogil=True)
def _add_row(residual: Any, delta: Any, row: Any) -> None:
    for i in range(residual.shape[1]):
        residual[row, i] += load(delta[row, i])


@njit(fastmath=EXACT, nogil=True, cache=CACHED)
def rms_norm(x: Any, weight: Any, epsilon: Any, out: Any) -> None:
    """Norm of each row of x (rows, size) float32 times weight (size,) into out, float32 or bf16 bits."""
    for row in range(x.shape[0]):
        _norm_row(x, weight, epsilon, out, row)


@njit(fastmath=EXACT, nogil=True, cache=CACHED)
def add_rms_norm(residual: Any, delta: Any, weight: Any, epsilon: Any, out: Any) -> None:
    """Add delta to residual in place, and put the norm of the sum into out."""
    for row in range(residual.shape[0]):
        _add_row(residual, delta, row)
        _norm_row(residual, weight, epsilon, out, row)


@njit(fastmath=EXACT, nogil=True, parallel=True, cache=CACHED)
def add_rms_norm_parallel(residual: Any, delta: Any, weight: Any, epsilon: Any, out: Any) -> None:
    """`add_rms_norm` over threads."""
    for row in prange(residual.shape[0]):
        _add_row(residual, delta, row)
        _norm_row(residual, weight, epsilon, out, row)


@njit(fastmath=EXACT, nogil=True)
def _silu_row(gate_up: Any, out: Any, row: Any) -> None:
    size = out.shape[1]
    for i in range(size):
        gate = load(gate_up[row, i])
        small = exp_nonpositive(-abs(gate))
        share = (np.float32(1) if gate >= 0 else small) / (np.float32(1) + small)
        out[row, i] = rounded(out, gate * share * load(gate_up[row, size + i]))


@njit(fastmath=EXACT, nogil=True, cache=CACHED)
def silu_mul(gate_up: Any, out: Any) -> None:
    """silu(gate) * up: gate_up (rows, 2 * size), gates first, into out (rows, size)."""
    for row in range(out.shape[0]):
        _silu_row(gate_up, out, row)


@njit(fastmath=EXACT, nogil=True, parallel=True, cache=CACHED)
def silu_mul_parallel(gate_up: Any, out: Any) -> None:
    """`silu_mul` over threads."""
    for row in prange(out.shape[0]):
        _silu_row(gate_up, out, row)


@njit(fastmath=EXACT, nogil=True)
def _rotate_head(source: Any, first: Any, norm: Any, epsilon: Any, rotation: Any, head: Any) -> None:
    """One head of one row into `head` (head_dim,) float32: norm if `norm` has weights, rotation if it has angles."""
    size = head.shape[0]
    for d in range(size):
        head[d] = load(source[first + d])
    if norm.shape[0] > 0:
        scale = inverse_rms(source, first, size, epsilon)
        for d in range(size):
            head[d] = head[d] * scale * norm[d]
    half = rotation.shape[0] // 2
    for d in range(half):
        low, high, cos, sin = head[d], head[half + d], rotation[d], rotation[half + d]
        head[d] = low * cos - high * sin
        head[half + d] = high * cos + low * sin


@njit(fastmath=EXACT, nogil=True)
def _rotate_row(
    qkv: Any, rotation: Any, q_norm: Any, k_norm: Any, epsilon: Any, keys: Any, values: Any, slot: Any, q: Any, row: Any
) -> None:
    num_kv_heads, head_dim, size = keys.shape[1], keys.shape[2], keys.shape[3]
    q_size, kv_size = q.shape[1], num_kv_heads * head_dim
    source = qkv[row]
    page, offset = slot // size, slot % size
    head = np.empty(head_dim, np.float32)
    for first in range(0, q_size, head_dim):
        _rotate_head(source, first, q_norm, epsilon, rotation, q[row, first : first + head_dim])
    for h in range(num_kv_heads):
        _rotate_head(source, q_size + h * head_dim, k_norm, epsilon, rotation, head)
        first = q_size + kv_size + h * head_dim
        for d in range(head_dim):
            keys[page, h, d, offset] = rounded(keys, head[d])
            values[page, h, offset, d] = rounded(values, load(source[first + d]))


@njit(fastmath=EXACT, nogil=True, cache=CACHED)
def rotate_and_write(
    qkv: Any,
    positions: Any,
    rotations: Any,
    q_norm: Any,
    k_norm: Any,
    epsilon: Any,
    keys: Any,
    values: Any,
    slots: Any,
    q: Any,
) -> None:
    """Norm and rotate queries into q (rows, heads * head_dim) float32, and keys into their slots; values likewise.

    qkv (rows, (heads + 2 kv_heads) * head_dim); rotations (positions, head_dim) float32, cosines then sines of half a
    head, or (1, 0) for none; q_norm and k_norm (head_dim,), or (0,) for none; keys and values as in KVTensors.
    """
    for row in range(qkv.shape[0]):
        rotation = rotations[min(positions[row], rotations.shape[0] - 1)]
        _rotate_row(qkv, rotation, q_norm, k_norm, epsilon, keys, values, slots[row], q, row)


@njit(fastmath=EXACT, nogil=True, parallel=True, cache=CACHED)
def rotate_and_write_parallel(
    qkv: Any,
    positions: Any,
    rotations: Any,
    q_norm: Any,
    k_norm: Any,
    epsilon: Any,
    keys: Any,
    values: Any,
    slots: Any,
    q: Any,
) -> None:
    """`rotate_and_write` over threads; rows that share a slot are padding."""
    for row in prange(qkv.shape[0]):
        rotation = rotations[min(positions[row], rotations.shape[0] - 1)]
        _rotate_row(qkv, rotation, q_norm, k_norm, epsilon, keys, values, slots[row], q, row)
