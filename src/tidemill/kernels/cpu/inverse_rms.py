"""The factor of a norm, and the sum of squares it needs: explicit vectors, one order for every row and machine."""

from typing import Any

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from tidemill.kernels.cpu.element import EXACT
from tidemill.kernels.cpu.numba_setup import INSIDE
from tidemill.kernels.cpu.vector_code import FLOAT, LANES, LONG, VectorCode

CHAINS = 4
"""Vectors summed side by side, so that an addition need not wait for the one before."""
BLOCK = CHAINS * LANES


@intrinsic
def _sum_of_squares(typing_context: Any, row: Any, first: Any, size: Any) -> Any:
    """Sum of squares of `size` elements of flat `row`, float32 or bf16 bits, from `first` on."""
    signature = types.float32(row, types.int64, types.int64)
    assert typing_context is not None
    assert row.layout == "C"

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = VectorCode(context, builder)
        base = code.at(code.data(signature.args[0], arguments[0]), arguments[1])
        blocks = builder.sdiv(arguments[2], LONG(BLOCK))
        sums = [cgutils.alloca_once_value(builder, code.constant(0.0)) for _ in range(CHAINS)]
        with cgutils.for_range(builder, blocks, intp=LONG) as loop:
            block = code.at(base, builder.mul(loop.index, LONG(BLOCK)))
            for chain, total in enumerate(sums):
                x = code.load(code.at(block, LONG(chain * LANES)))
                builder.store(code.fma(x, x, builder.load(total)), total)
        a, b, c, d = (builder.load(total) for total in sums)
        total = cgutils.alloca_once_value(builder, code.sum(builder.fadd(builder.fadd(a, b), builder.fadd(c, d))))
        with cgutils.for_range_slice(
            builder, builder.mul(blocks, LONG(BLOCK)), arguments[2], LONG(1), intp=LONG
        ) as loop:
            x = code.load_one(code.at(base, loop[0]))
            builder.store(code.call("llvm.fma.f32", x, x, builder.load(total), result=FLOAT), total)
        return builder.load(total)

    return signature, codegen


@njit(fastmath=EXACT, nogil=True, error_model="numpy", **INSIDE)
def _inverse_root(total: Any, size: Any, epsilon: Any) -> Any:
    return np.float32(1) / np.sqrt(total / np.float32(size) + epsilon)


@njit(fastmath=EXACT, nogil=True, inline="always")
def inverse_rms(row: Any, first: Any, size: Any, epsilon: Any) -> Any:
    """1 / sqrt(mean of squares + epsilon) of `size` elements of `row` from `first` on.

    Inline, because a call that is given an array counts references, for a head several times its arithmetic.
    """
    return _inverse_root(_sum_of_squares(row, first, size), size, epsilon)
