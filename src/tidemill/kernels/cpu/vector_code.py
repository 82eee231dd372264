"""Emits vector instructions into Numba kernels: what arithmetic is done is then written here, not left to an optimizer.

Vectors have 16 lanes of float32; a CPU with narrower registers gets each instruction in parts, with the same results.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

LANES = 16
FLOAT, INT, LONG = ir.FloatType(), ir.IntType(32), ir.IntType(64)
VECTOR, INT_VECTOR = ir.VectorType(FLOAT, LANES), ir.VectorType(INT, LANES)
EXP2 = (0.00133158, 0.00966946, 0.0555057, 0.24022286, 0.69314706, 1.0)
"""2^f for f in [-0.5, 0.5] as a polynomial, highest power first: relative error 2e-7, and exactly 1 at 0."""


class VectorCode:
    """A builder of vector instructions at one place of a kernel. Indices count elements of flat arrays."""

    def __init__(self, context: Any, builder: Any) -> None:
        self.context = context
        self.builder = builder

    def data(self, array_type: types.Array, array: Any) -> Any:
        """Pointer to the first element of a Numba array."""
        return self.context.make_array(array_type)(self.context, self.builder, array).data

    def at(self, base: Any, index: Any) -> Any:
        """`base` moved on by `index` elements."""
        return self.builder.gep(base, [index])

    def load(self, pointer: Any) -> Any:
        """Sixteen float32, or sixteen bf16 (as 16-bit integers) widened to float32."""
        narrow = pointer.type.pointee
        if narrow == FLOAT:
            return self.builder.load(self.builder.bitcast(pointer, VECTOR.as_pointer()), align=4)
        half = ir.VectorType(narrow, LANES)
        bits = self.builder.load(self.builder.bitcast(pointer, half.as_pointer()), align=2)
        shifted = self.builder.shl(self.builder.zext(bits, INT_VECTOR), self.integers([16] * LANES))
        return self.builder.bitcast(shifted, VECTOR)

    def load_one(self, pointer: Any) -> Any:
        """One float32, or one bf16 widened to float32."""
        if pointer.type.pointee == FLOAT:
            return self.builder.load(pointer, align=4)
        bits = self.builder.zext(self.builder.load(pointer, align=2), INT)
        return self.builder.bitcast(self.builder.shl(bits, INT(16)), FLOAT)

    def store(self, value: Any, pointer: Any) -> None:
        """Store sixteen float32."""
        self.builder.store(value, self.builder.bitcast(pointer, VECTOR.as_pointer()), align=4)

    def integers(self, values: list[int]) -> Any:
        """A constant of sixteen integers."""
        return ir.Constant(INT_VECTOR, values)

    def constant(self, value: float) -> Any:
        """Sixteen times the same number."""
        return ir.Constant(VECTOR, [value] * LANES)

    def splat(self, scalar: Any) -> Any:
        """Sixteen times the same computed number, float or integer."""
        kind = ir.VectorType(scalar.type, LANES)
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, INT(0))
        return self.builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), self.integers([0] * LANES))

    def call(self, name: str, *arguments: Any, result: Any = VECTOR) -> Any:
        """An LLVM intrinsic by its full name."""
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, arguments)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """a * b + c, rounded once."""
        return self.call(f"llvm.fma.v{LANES}f32", a, b, c)

    def maximum(self, a: Any, b: Any) -> Any:
        """The larger of each pair, b where they cannot be compared."""
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def sum(self, x: Any) -> Any:
        """The sum of sixteen float32: halves added to halves, four times."""
        width = LANES // 2
        while width:
            low, high = (ir.Constant(ir.VectorType(INT, width), list(range(k, k + width))) for k in (0, width))
            x = self.builder.fadd(self.builder.shuffle_vector(x, x, low), self.builder.shuffle_vector(x, x, high))
            width //= 2
        return self.builder.extract_element(x, INT(0))

    def exp(self, x: Any) -> Any:
        """exp(x) for x <= 0: a power of two times a polynomial. Exactly 1 at 0, exactly 0 below -88.1; a NaN stays."""
        scaled = self.maximum(self.constant(-127.0), self.builder.fmul(x, self.constant(1.44269504)))
        whole = self.call(f"llvm.rint.v{LANES}f32", scaled)
        fraction = self.builder.fsub(scaled, whole)
        result = self.constant(EXP2[0])
        for coefficient in EXP2[1:]:
            result = self.fma(result, fraction, self.constant(coefficient))
        exponent = self.builder.add(self.builder.fptosi(whole, INT_VECTOR), self.integers([127] * LANES))
        power = self.builder.bitcast(self.builder.shl(exponent, self.integers([23] * LANES)), VECTOR)
        return self.builder.fmul(result, power)
