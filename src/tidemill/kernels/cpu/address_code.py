"""`VectorCode` over memory of mixed types: addresses are 64-bit integers and count bytes, and bf16 is made and read."""

from typing import Any

from llvmlite import ir

from tidemill.kernels.cpu.vector_code import FLOAT, INT, INT_VECTOR, LANES, LONG, VECTOR, VectorCode

BYTE, SHORT = ir.IntType(8), ir.IntType(16)
SHORT_VECTOR, SHORT_PAIRS = ir.VectorType(SHORT, LANES), ir.VectorType(SHORT, 2 * LANES)


class _BFloat(ir.Type):  # type: ignore[misc]
    """LLVM's bfloat, which llvmlite does not name."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash("bfloat")


BFLOAT = _BFloat()


class AddressCode(VectorCode):
    """A builder of vector instructions at one place of a kernel; `features` are those of the CPU it compiles for."""

    def __init__(self, context: Any, builder: Any) -> None:
        super().__init__(context, builder)
        flags = context.codegen().magic_tuple()[2].split(",")
        self.features = frozenset(flag[1:] for flag in flags if flag.startswith("+"))

    def plus(self, address: Any, num_bytes: int) -> Any:
        """`address` moved on by a constant."""
        return self.builder.add(address, LONG(num_bytes))

    def read(self, address: Any, kind: Any = VECTOR) -> Any:
        """A value of `kind`, at any alignment."""
        return self.builder.load(self.builder.inttoptr(address, kind.as_pointer()), align=1)

    def write(self, value: Any, address: Any) -> None:
        """Store `value`, at any alignment."""
        self.builder.store(value, self.builder.inttoptr(address, value.type.as_pointer()), align=1)

    def prefetch(self, address: Any) -> None:
        """Ask for the cache line at `address`, which need not be readable, as far as the second cache.

        The first one has room for fewer lines that are on their way: asked as far as there, attention takes a fifth
        longer over what lies in memory.
        """
        pointer = self.builder.inttoptr(address, BYTE.as_pointer())
        self.call("llvm.prefetch.p0", pointer, INT(0), INT(2), INT(1), result=ir.VoidType())

    def highest(self, a: Any, b: Any, c: Any, d: Any) -> Any:
        """The largest number in four vectors."""
        largest = self.maximum(self.maximum(a, b), self.maximum(c, d))
        return self.call(f"llvm.vector.reduce.fmax.v{LANES}f32", largest, result=FLOAT)

    def widened(self, halves: Any) -> Any:
        """Sixteen bf16, as 16-bit integers, in float32."""
        bits = self.builder.shl(self.builder.zext(halves, INT_VECTOR), self.integers([16] * LANES))
        return self.builder.bitcast(bits, VECTOR)

    def halved(self, numbers: Any) -> Any:
        """Sixteen float32 rounded to bf16, to nearest even."""
        builder = self.builder
        if "avx512bf16" in self.features:
            return builder.fptrunc(numbers, ir.VectorType(BFLOAT, LANES))
        bits, by = builder.bitcast(numbers, INT_VECTOR), self.integers([16] * LANES)
        odd = builder.and_(builder.lshr(bits, by), self.integers([1] * LANES))
        nearest = builder.add(builder.add(bits, self.integers([0x7FFF] * LANES)), odd)
        return builder.trunc(builder.lshr(nearest, by), SHORT_VECTOR)
