"""How one CPU multiplies bytes: the instruction paths of the integer products, and which of them this CPU has.

A path says how wide its vectors are and emits one step of a dot product; everything else about a product is the same
on every path, and so are the results: integers, summed exactly.
"""

from typing import Any, NamedTuple, Protocol

from llvmlite import binding, ir
from numba.core import cgutils, config
from numba.core.codegen import get_host_cpu_features

BYTE, SHORT, INT, LONG = (ir.IntType(bits) for bits in (8, 16, 32, 64))


class RowPlace(NamedTuple):
    """Where four inputs of one row are: `row` strides after `base`, a pointer to bytes."""

    base: Any
    strides: dict[int, Any]
    """Odd multiples of the distance between two rows."""
    row: int

    def factors(self) -> tuple[Any, int]:
        """The row's offset as an odd multiple of the stride and a power of two; for the first row, None and 0."""
        if self.row == 0:
            return None, 0
        power = self.row & -self.row
        return self.strides[self.row // power], power


class InstructionPath(Protocol):
    """Adds products of four unsigned bytes of a weight by four signed bytes of an activation, for `lanes` channels."""

    name: str
    lanes: int
    """Channels, that is 32-bit numbers, in a vector."""
    most_rows: int
    """Rows of a tile of 32 channels whose sums fit the registers."""

    def zeros(self) -> Any:
        """Sums to start from."""
        ...

    def add_row(self, builder: Any, sums: list[Any], weights: list[Any], place: RowPlace) -> list[Any]:
        """One row's sums + products; weights are vectors of `lanes` 32-bit numbers that hold four bytes each."""
        ...

    def total(self, builder: Any, sums: Any) -> Any:
        """The sums as a vector of `lanes` 32-bit numbers."""
        ...


class Avx512Path:
    """VNNI's vpdpbusd on sixteen channels, written as assembly.

    LLVM would load the activations of all rows first, and spill the sums for them: here a row takes one register for a
    moment. Row offsets go into the address, which can multiply by 1, 2, 4 or 8.
    """

    name = "avx512-vnni"
    lanes = 16
    most_rows = 12

    def __init__(self) -> None:
        binding.initialize_native_asmparser()
        self._kind = ir.VectorType(INT, self.lanes)

    def zeros(self) -> Any:
        return ir.Constant(self._kind, [0] * self.lanes)

    def add_row(self, builder: Any, sums: list[Any], weights: list[Any], place: RowPlace) -> list[Any]:
        count = len(sums)
        stride, power = place.factors()
        address = [place.base] if stride is None else [place.base, stride]
        first = count + 1
        where = f"(${first})" if stride is None else f"(${first},${first + 1},{power})"
        first += len(address)
        # Outputs are the sums and the register of the activations; a sum's input is its output's register.
        lines = [f"vpbroadcastd {where}, ${count}"]
        lines += [f"vpdpbusd ${count}, ${first + index}, ${index}" for index in range(count)]
        bound = ["=v"] * count + ["=&v"] + ["r"] * len(address) + ["v"] * count + [str(index) for index in range(count)]
        arguments = [*address, *weights, *sums]
        results = ir.LiteralStructType([self._kind] * (count + 1))
        kind = ir.FunctionType(results, [argument.type for argument in arguments])
        found = builder.asm(kind, "; ".join(lines), ",".join(bound), arguments, side_effect=True)
        return [builder.extract_value(found, index) for index in range(count)]

    def total(self, builder: Any, sums: Any) -> Any:  # noqa: ARG002  other paths need it
        return sums


class AvxVnniPath:
    """VNNI's vpdpbusd on eight channels, for CPUs without AVX-512."""

    name = "avx-vnni"
    lanes = 8
    most_rows = 3
    _kind = ir.VectorType(INT, lanes)

    def zeros(self) -> Any:
        return ir.Constant(self._kind, [0] * self.lanes)

    def add_row(self, builder: Any, sums: list[Any], weights: list[Any], place: RowPlace) -> list[Any]:
        # LLVM 22 declares the operands as bytes; it still takes the older declaration and mends it.
        signature = ir.FunctionType(self._kind, [self._kind] * 3)
        function = cgutils.get_or_insert_function(builder.module, signature, "llvm.x86.avx512.vpdpbusd.256")
        activations = _splat(builder, place, self.lanes)
        return [builder.call(function, [old, weight, activations]) for old, weight in zip(sums, weights, strict=True)]

    def total(self, builder: Any, sums: Any) -> Any:  # noqa: ARG002  other paths need it
        return sums


class PortablePath:
    """Any CPU: bytes widened to 16 bits, multiplied and added in pairs (pmaddwd where there is one).

    Never pmaddubsw, which multiplies bytes as they are but saturates: 255 * 127 * 2 does not fit 16 bits.
    """

    name = "portable"
    lanes = 8
    most_rows = 2

    def zeros(self) -> Any:
        return ir.Constant(ir.VectorType(INT, 2 * self.lanes), [0] * (2 * self.lanes))

    def add_row(self, builder: Any, sums: list[Any], weights: list[Any], place: RowPlace) -> list[Any]:
        size = 4 * self.lanes
        as_bytes, wide = ir.VectorType(BYTE, size), ir.VectorType(SHORT, size)
        right = builder.sext(builder.bitcast(_splat(builder, place, self.lanes), as_bytes), wide)
        found = []
        for old, weight in zip(sums, weights, strict=True):
            left = builder.zext(builder.bitcast(weight, as_bytes), wide)
            even, odd = (
                builder.mul(self._every_second(builder, left, first), self._every_second(builder, right, first))
                for first in (0, 1)
            )
            found.append(builder.add(old, builder.add(even, odd)))
        return found

    def total(self, builder: Any, sums: Any) -> Any:
        return builder.add(*(self._pick(builder, sums, range(first, 2 * self.lanes, 2)) for first in (0, 1)))

    def _every_second(self, builder: Any, vector: Any, first: int) -> Any:
        picked = self._pick(builder, vector, range(first, 4 * self.lanes, 2))
        return builder.sext(picked, ir.VectorType(INT, 2 * self.lanes))

    def _pick(self, builder: Any, vector: Any, indices: range) -> Any:
        mask = ir.Constant(ir.VectorType(INT, len(indices)), list(indices))
        return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)


def _splat(builder: Any, place: RowPlace, lanes: int) -> Any:
    """The four bytes of a row in every lane."""
    stride, power = place.factors()
    at = place.base if stride is None else builder.gep(place.base, [builder.mul(stride, LONG(power))])
    four = builder.load(builder.bitcast(at, INT.as_pointer()), align=4)
    kind = ir.VectorType(INT, lanes)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), four, INT(0))
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), ir.Constant(kind, [0] * lanes))


class Avx512Vnni(NamedTuple):
    """Stands for a path among a kernel's arguments: Numba compiles, and keeps, one kernel for each type it meets."""

    most_rows: int = Avx512Path.most_rows

    def path(self) -> InstructionPath:
        """The path it stands for."""
        return Avx512Path()


class AvxVnni(NamedTuple):
    """As Avx512Vnni."""

    most_rows: int = AvxVnniPath.most_rows

    def path(self) -> InstructionPath:
        """The path it stands for."""
        return AvxVnniPath()


class Portable(NamedTuple):
    """As Avx512Vnni."""

    most_rows: int = PortablePath.most_rows

    def path(self) -> InstructionPath:
        """The path it stands for."""
        return PortablePath()


Tag = Avx512Vnni | AvxVnni | Portable


PATH_NAMES = tuple(tag().path().name for tag in (Avx512Vnni, AvxVnni, Portable))


def tags_of_this_cpu() -> list[Tag]:
    """The paths that Numba may compile for, best first; the portable one is always the last."""
    listed = get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
    features = set(listed.split(","))
    found: list[Tag] = []
    if {"+avx512f", "+avx512bw", "+avx512vnni"} <= features:
        found.append(Avx512Vnni())
    if "+avxvnni" in features:
        found.append(AvxVnni())
    return [*found, Portable()]
