"""Four rows of weights meet the values of a block: the running sums of values, up to 64 columns in registers."""

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from tidemill.kernels.cpu import block_places as places
from tidemill.kernels.cpu.address_code import AddressCode
from tidemill.kernels.cpu.block_places import LANES, ROWS, RUNS
from tidemill.kernels.cpu.cache_element import CacheElement, element_of
from tidemill.kernels.cpu.numba_setup import INSIDE
from tidemill.kernels.cpu.vector_code import FLOAT, INT_VECTOR, LONG, VECTOR

_LINE_BYTES = 64


def _clamped(builder: Any, number: Any, most: int) -> Any:
    number = builder.select(builder.icmp_signed("<", number, LONG(0)), LONG(0), number)
    return builder.select(builder.icmp_signed(">", number, LONG(most)), LONG(most), number)


def _emit_run(
    code: AddressCode, element: CacheElement, run: int, totals: dict[tuple[int, int], Any], at: dict[str, Any]
) -> None:
    """Steps of one run of 16 positions, as far as they lie in [low, high); the next block is fetched ahead."""
    builder = code.builder
    steps = LANES // element.pair
    vectors = 1 + max(vector for _, vector in totals)
    vector_bytes = LANES * element.pair * element.num_bytes
    low, high = (_clamped(builder, builder.sub(at[name], LONG(steps * run)), steps) for name in ("low", "high"))
    numbers = [
        code.read(code.plus(at["block"], 8 * (place + run)), LONG) for place in (places.VALUES, places.NEXT_VALUES)
    ]
    values, ahead = (builder.add(number, at["column"]) for number in numbers)
    operands = code.plus(at["weights"], 4 * steps * run)
    with cgutils.for_range_slice(builder, low, high, LONG(1), intp=LONG) as (index, _):
        offset = builder.mul(index, at["step"])
        row, coming = builder.add(values, offset), builder.add(ahead, offset)
        right = [element.right(code, code.plus(row, vector * vector_bytes)) for vector in range(vectors)]
        for start in range(0, vectors * vector_bytes, _LINE_BYTES):
            code.prefetch(code.plus(coming, start))
        operand = builder.add(operands, builder.mul(index, LONG(4)))
        for r in range(ROWS):
            left = element.left(code, code.plus(operand, r * places.WEIGHT_BYTES))
            for vector in range(vectors):
                total = totals[r, vector]
                builder.store(element.step(code, builder.load(total), left, right[vector]), total)


def _emit(code: AddressCode, element: CacheElement, vectors: int, at: dict[str, Any]) -> None:
    """Load what came before and shrink it, add the block, store."""
    builder = code.builder
    is_integer = element.total == INT_VECTOR
    sums: dict[tuple[int, int], Any] = {}
    before: dict[tuple[int, int], Any] = {}
    for r in range(ROWS):
        shrink = code.splat(code.read(code.plus(at["state"], 4 * (r * places.STATE + places.SHRINK)), FLOAT))
        row = builder.add(at["sums"], builder.mul(at["sum_step"], LONG(r)))
        for vector in range(vectors):
            sums[r, vector] = code.plus(row, 4 * LANES * vector)
            before[r, vector] = builder.fmul(code.read(sums[r, vector]), shrink)
    zero = ir.Constant(INT_VECTOR, [0] * LANES)
    totals = {
        cell: cgutils.alloca_once_value(builder, zero if is_integer else number) for cell, number in before.items()
    }
    for run in range(RUNS):
        _emit_run(code, element, run, totals, at)
    for (r, vector), total in totals.items():
        result = builder.load(total)
        if is_integer:
            step = code.splat(code.read(code.plus(at["state"], 4 * (r * places.STATE + places.WEIGHT_STEP)), FLOAT))
            result = code.fma(builder.sitofp(result, VECTOR), step, before[r, vector])
        code.write(result, sums[r, vector])


def _columns(vectors: int) -> Any:
    @intrinsic
    def add(
        typing_context: Any,
        pages: Any,
        block: Any,
        column: Any,
        low: Any,
        high: Any,
        state: Any,
        weights: Any,
        sums: Any,
        sum_step: Any,
    ) -> Any:
        numbers = (block, column, low, high, state, weights, sums, sum_step)
        signature = types.void(pages, *(types.int64 for _ in numbers))
        element = element_of(pages)
        assert typing_context is not None

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            code = AddressCode(context, builder)
            names = ("block", "column", "low", "high", "state", "weights", "sums", "sum_step")
            at = dict(zip(names, arguments[1:], strict=True))
            at["sums"] = builder.add(at["sums"], builder.mul(at["column"], LONG(4)))
            at["column"] = builder.mul(at["column"], LONG(element.pair * element.num_bytes))
            at["step"] = code.read(code.plus(at["block"], 8 * places.VALUE_STEP), LONG)
            _emit(code, element, vectors, at)
            return context.get_dummy_value()

        return signature, codegen

    return add


_add_64, _add_32, _add_16 = _columns(4), _columns(2), _columns(1)


@njit(nogil=True, **INSIDE)
def add_values(
    pages: Any, block: Any, width: Any, low: Any, high: Any, state: Any, weights: Any, sums: Any, sum_step: Any
) -> None:
    """Add a block's values, weighted, to ROWS rows of `width` (a multiple of 16) running sums.

    All but `pages`, which tells the element type, are addresses and numbers: `block` as in block_places, `low` to
    `high` the steps of positions that count (the rest have weight 0), `state` and `weights` as `weigh_block` left them,
    `sums` the rows' sums, `sum_step` bytes apart.
    """
    column = 0
    while column + 64 <= width:
        _add_64(pages, block, column, low, high, state, weights, sums, sum_step)
        column += 64
    if column + 32 <= width:
        _add_32(pages, block, column, low, high, state, weights, sums, sum_step)
        column += 32
    if column + 16 <= width:
        _add_16(pages, block, column, low, high, state, weights, sums, sum_step)
