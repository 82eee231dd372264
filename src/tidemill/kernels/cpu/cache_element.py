"""The three element types of a cache as operands of products: what a vector of them is, and what one step computes.

A step takes `pair` neighbours in depth at once, for 16 columns: keys lie as (depth / pair, positions, pair), values as
(positions / pair, head_dim, pair). Steps in ascending order are the whole arithmetic of a product.
"""

from typing import Any, Protocol

from llvmlite import ir
from numba import types

from tidemill.kernels.cpu.address_code import BFLOAT, BYTE, SHORT_PAIRS, AddressCode
from tidemill.kernels.cpu.vector_code import FLOAT, INT, INT_VECTOR, LANES, VECTOR


class CacheElement(Protocol):
    """One element type. Both operands of a step are what `right` and `left` return."""

    pair: int
    num_bytes: int
    total: Any
    """Type of sixteen running totals."""

    def right(self, code: AddressCode, address: Any) -> Any:
        """Sixteen columns of the cache."""
        ...

    def left(self, code: AddressCode, address: Any) -> Any:
        """Sixteen times one 4-byte operand of a query or of weights."""
        ...

    def step(self, code: AddressCode, total: Any, left: Any, right: Any) -> Any:
        """`total` + left * right."""
        ...


class Float32:
    """Products and sums in float32."""

    pair, num_bytes, total = 1, 4, VECTOR

    def right(self, code: AddressCode, address: Any) -> Any:
        return code.read(address)

    def left(self, code: AddressCode, address: Any) -> Any:
        return code.splat(code.read(address, FLOAT))

    def step(self, code: AddressCode, total: Any, left: Any, right: Any) -> Any:
        return code.fma(left, right, total)


class BFloat16:
    """Both operands bf16, sums float32: the CPU's dot product of pairs, or where it has none, two multiply-adds."""

    pair, num_bytes, total = 2, 2, VECTOR

    def right(self, code: AddressCode, address: Any) -> Any:
        return code.read(address, INT_VECTOR)

    def left(self, code: AddressCode, address: Any) -> Any:
        return code.splat(code.read(address, INT))

    def step(self, code: AddressCode, total: Any, left: Any, right: Any) -> Any:
        builder = code.builder
        if "avx512bf16" in code.features:
            pairs = ir.VectorType(BFLOAT, 2 * LANES)
            left, right = builder.bitcast(left, pairs), builder.bitcast(right, pairs)
            return code.call("llvm.x86.avx512bf16.dpbf16ps.512", total, left, right)
        by, high = code.integers([16] * LANES), code.integers([-0x10000] * LANES)
        firsts = [builder.bitcast(builder.shl(operand, by), VECTOR) for operand in (left, right)]
        seconds = [builder.bitcast(builder.and_(operand, high), VECTOR) for operand in (left, right)]
        total = code.fma(firsts[0], firsts[1], total)
        return code.fma(seconds[0], seconds[1], total)


class Int8:
    """Cache int8, the other operand int16, sums int32: exact, so that no order and no instruction matters."""

    pair, num_bytes, total = 2, 1, INT_VECTOR

    def right(self, code: AddressCode, address: Any) -> Any:
        return code.builder.sext(code.read(address, ir.VectorType(BYTE, 2 * LANES)), SHORT_PAIRS)

    def left(self, code: AddressCode, address: Any) -> Any:
        return code.builder.bitcast(code.splat(code.read(address, INT)), SHORT_PAIRS)

    def step(self, code: AddressCode, total: Any, left: Any, right: Any) -> Any:
        builder = code.builder
        if "avx512bw" in code.features:
            dots = code.call("llvm.x86.avx512.pmaddw.d.512", left, right, result=INT_VECTOR)
        elif "avx2" in code.features:
            halves = [
                code.call(
                    "llvm.x86.avx2.pmadd.wd", *(_half(builder, operand, half) for operand in (left, right)),
                    result=ir.VectorType(INT, LANES // 2),
                )
                for half in (0, 1)
            ]  # fmt: skip
            dots = builder.shuffle_vector(*halves, code.integers(list(range(LANES))))
        else:
            products = builder.mul(*(builder.sext(x, ir.VectorType(INT, 2 * LANES)) for x in (left, right)))
            dots = builder.add(*(_every_second(builder, products, first) for first in (0, 1)))
        return builder.add(total, dots)


def _half(builder: Any, pairs: Any, half: int) -> Any:
    indices = ir.Constant(ir.VectorType(INT, LANES), list(range(half * LANES, (half + 1) * LANES)))
    return builder.shuffle_vector(pairs, ir.Constant(SHORT_PAIRS, ir.Undefined), indices)


def _every_second(builder: Any, numbers: Any, first: int) -> Any:
    indices = ir.Constant(INT_VECTOR, list(range(first, 2 * LANES, 2)))
    return builder.shuffle_vector(numbers, ir.Constant(numbers.type, ir.Undefined), indices)


def element_of(array: types.Array) -> CacheElement:
    """The element type of a cache by how Numba sees its pages; bf16 arrives as uint16."""
    if array.dtype == types.float32:
        return Float32()
    if array.dtype == types.uint16:
        return BFloat16()
    assert array.dtype == types.int8, array
    return Int8()
