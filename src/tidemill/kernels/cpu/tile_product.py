"""The innermost product of attention: 4 rows by up to 64 columns, kept in registers.

Each output element is one chain of fused multiply-adds in ascending depth. The chain is the same for every width and
every place in a tile, so that no result depends on how work was cut into tiles.
"""

from typing import Any

from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from tidemill.kernels.cpu.vector_code import FLOAT, LANES, LONG, VECTOR, VectorCode

ROWS = 4


def _emit(code: VectorCode, a: Any, b: Any, c: Any, steps: tuple[Any, Any, Any], depth: Any, vectors: int) -> None:
    """C[r, :] += A[r, :] B for ROWS rows and `vectors` x LANES columns."""
    builder = code.builder
    a_step, b_step, c_step = steps
    cells = [(row, column) for row in range(ROWS) for column in range(vectors)]
    places = {
        (row, column): code.at(c, builder.add(builder.mul(c_step, LONG(row)), LONG(column * LANES)))
        for row, column in cells
    }
    sums = {cell: cgutils.alloca_once_value(builder, code.load(places[cell])) for cell in cells}
    with cgutils.for_range(builder, depth, intp=LONG) as loop:
        right_at = code.at(b, builder.mul(loop.index, b_step))
        right = [code.load(code.at(right_at, LONG(column * LANES))) for column in range(vectors)]
        for row in range(ROWS):
            left_at = code.at(a, builder.add(builder.mul(a_step, LONG(row)), loop.index))
            left = code.splat(builder.load(left_at, align=4))
            for column in range(vectors):
                total = sums[row, column]
                builder.store(code.fma(left, right[column], builder.load(total)), total)
    for cell in cells:
        code.store(builder.load(sums[cell]), places[cell])


def _product(vectors: int) -> Any:
    @intrinsic
    def product(
        typing_context: Any, scratch: Any, a: Any, a_step: Any, b: Any, b_step: Any, c: Any, c_step: Any, depth: Any
    ) -> Any:
        numbers = (a, a_step, b, b_step, c, c_step, depth)
        signature = types.void(types.Array(types.float32, 1, "C"), *(types.int64 for _ in numbers))
        assert typing_context is not None
        assert scratch.dtype == types.float32

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            code = VectorCode(context, builder)
            base = code.data(signature.args[0], arguments[0])
            assert base.type.pointee == FLOAT
            left, right, out = (code.at(base, arguments[index]) for index in (1, 3, 5))
            _emit(code, left, right, out, (arguments[2], arguments[4], arguments[6]), arguments[7], vectors)
            return context.get_dummy_value()

        return signature, codegen

    return product


assert VECTOR.count == LANES
_product_64, _product_32, _product_16 = _product(4), _product(2), _product(1)


@njit(nogil=True)
def tile_product(
    scratch: Any, a: Any, a_step: Any, b: Any, b_step: Any, c: Any, c_step: Any, depth: Any, columns: Any
) -> None:
    """C += A B for ROWS rows, `depth`, and `columns` (a multiple of 16): all three inside `scratch`, flat float32.

    a, b and c say where each starts, the steps how far apart its rows are.
    """
    column = 0
    while column + 64 <= columns:
        _product_64(scratch, a, a_step, b + column, b_step, c + column, c_step, depth)
        column += 64
    if column + 32 <= columns:
        _product_32(scratch, a, a_step, b + column, b_step, c + column, c_step, depth)
        column += 32
    if column + 16 <= columns:
        _product_16(scratch, a, a_step, b + column, b_step, c + column, c_step, depth)
