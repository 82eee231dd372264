"""Copies rows of a cache, float32 or bf16 bits, into float32 scratch."""

from typing import Any

from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from tidemill.kernels.cpu.element import load
from tidemill.kernels.cpu.numba_setup import INSIDE
from tidemill.kernels.cpu.vector_code import LANES, LONG, VectorCode


@intrinsic
def _widen_vectors(
    typing_context: Any, source: Any, s: Any, s_step: Any, target: Any, t: Any, t_step: Any, rows: Any, vectors: Any
) -> Any:
    numbers = (s, s_step, t, t_step, rows, vectors)
    arrays = (types.Array(source.dtype, 1, "C"), types.Array(types.float32, 1, "C"))
    whole = [types.int64 for _ in numbers]
    signature = types.void(arrays[0], *whole[:2], arrays[1], *whole[2:])
    assert typing_context is not None
    assert target.dtype == types.float32

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = VectorCode(context, builder)
        source = code.at(code.data(signature.args[0], arguments[0]), arguments[1])
        target = code.at(code.data(signature.args[3], arguments[3]), arguments[4])
        with cgutils.for_range(builder, arguments[6], intp=LONG) as row:
            row_source = code.at(source, builder.mul(row.index, arguments[2]))
            row_target = code.at(target, builder.mul(row.index, arguments[5]))
            with cgutils.for_range(builder, arguments[7], intp=LONG) as column:
                index = builder.mul(column.index, LONG(LANES))
                code.store(code.load(code.at(row_source, index)), code.at(row_target, index))
        return context.get_dummy_value()

    return signature, codegen


@njit(nogil=True, **INSIDE)
def widen(source: Any, s: Any, s_step: Any, target: Any, t: Any, t_step: Any, rows: Any, columns: Any) -> None:
    """Copy rows x columns from flat `source` at s to flat `target` at t, rows s_step and t_step apart."""
    vectors = columns // LANES
    _widen_vectors(source, s, s_step, target, t, t_step, rows, vectors)
    for row in range(rows):
        for column in range(vectors * LANES, columns):
            target[t + row * t_step + column] = load(source[s + row * s_step + column])
