"""The innermost integer product: a few rows of activations by a panel of 32 channels, all sums kept in registers.

A panel holds, for every four inputs, four bytes of each of its channels: weights as unsigned bytes, 128 too large. In
int4 a byte holds two weights, for inputs 4 apart, and is turned into two such bytes in registers: from there on the
arithmetic is the same. Everything is given by address; `panels.py` says what lies there.
"""

from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tidemill.kernels.cpu.instruction_path import BYTE, INT, LONG, SHORT, InstructionPath, RowPlace
from tidemill.kernels.cpu.panels import PANEL
from tidemill.kernels.quantized import GROUP

FLOAT = ir.FloatType()
STEP = 4
"""Inputs that one 32-bit number holds."""


class TileCode:
    """A builder of one tile's instructions; offsets are in bytes."""

    def __init__(self, builder: Any, path: InstructionPath) -> None:
        self.builder = builder
        self.path = path
        self.vectors = PANEL // path.lanes
        self.ints, self.floats = ir.VectorType(INT, path.lanes), ir.VectorType(FLOAT, path.lanes)
        self.shorts = ir.VectorType(SHORT, 2 * path.lanes)

    def at(self, base: Any, offset: Any) -> Any:
        """`base` moved on by `offset`, a Python or an LLVM integer."""
        return self.builder.gep(base, [LONG(offset) if isinstance(offset, int) else offset])

    def load(self, kind: Any, place: Any, align: int = 4) -> Any:
        """A value of any type."""
        return self.builder.load(self.builder.bitcast(place, kind.as_pointer()), align=align)

    def store(self, value: Any, place: Any) -> None:
        """Store a value of any type."""
        self.builder.store(value, self.builder.bitcast(place, value.type.as_pointer()), align=4)

    def every(self, kind: Any, value: int) -> Any:
        """A constant vector of one number, given as an unsigned or signed integer."""
        return ir.Constant(kind, [value] * kind.count)

    def splat(self, scalar: Any) -> Any:
        """The same computed number in every lane."""
        kind = ir.VectorType(scalar.type, self.path.lanes)
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, INT(0))
        return self.builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), self.every(self.ints, 0))

    def times(self, index: Any, size: int) -> Any:
        """`index` * `size`."""
        return self.builder.mul(index, LONG(size))

    def scale_pair(self, place: Any) -> tuple[Any, Any]:
        """Group scales s of one vector of channels, in every 16 bits; and 128 - 8 s in every byte."""
        builder, lanes = self.builder, self.path.lanes
        narrow = self.load(ir.VectorType(BYTE, lanes), place)
        wide = builder.zext(narrow, self.ints)
        scale = builder.bitcast(builder.or_(wide, builder.shl(wide, self.every(self.ints, 16))), self.shorts)
        eight = builder.mul(scale, self.every(self.shorts, 0x0808))
        return scale, builder.sub(self.every(self.shorts, 0x8080 - (1 << 16)), eight)

    def expand(self, packed: Any, scale: Any, offset: Any) -> tuple[Any, Any]:
        """Both halves of a packed vector as (q - 8) * s + 128 in bytes: the first four inputs, then the next four.

        q * s is at most 225, so that a 16-bit product holds two of them side by side, and no sum carries.
        """
        builder = self.builder
        nibbles = self.every(self.ints, 0x0F0F0F0F)
        high = builder.lshr(packed, self.every(self.ints, 4))
        halves = (builder.bitcast(builder.and_(half, nibbles), self.shorts) for half in (packed, high))
        low, high = (builder.bitcast(builder.add(builder.mul(half, scale), offset), self.ints) for half in halves)
        return low, high


class TilePlaces(NamedTuple):
    """Where things are that a tile reads and writes, as LLVM values: addresses, and distances in bytes.

    Beside its work a tile fetches two cache lines a step (in int4, a pair of steps): `fetch_stride` * step after
    `ahead`, and from step `turn` on after `following`. In int4 an expanded panel is left at `expanded`, pairs of steps
    `expanded_stride` apart (0 where nobody wants it), by tiles of half the most rows and more.
    """

    weights: Any
    group_scales: Any
    activations: Any
    activation_stride: Any
    steps: Any
    channel_scales: Any
    biases: Any
    row_scales: Any
    row_sums: Any
    out: Any
    out_stride: Any
    ahead: Any
    following: Any
    turn: Any
    fetch_stride: Any
    expanded: Any
    expanded_stride: Any


NUMBERS = ("activation_stride", "steps", "out_stride", "turn", "fetch_stride", "expanded_stride")


class Tile:
    """The instructions of a tile of `rows` rows."""

    def __init__(self, code: TileCode, rows: int, places: TilePlaces) -> None:
        self.code = code
        self.rows = rows
        self.places = places
        zeros = code.path.zeros()
        self.strides = {odd: code.times(places.activation_stride, odd) for odd in range(1, rows, 2)}
        self.sums = [[cgutils.alloca_once_value(code.builder, zeros) for _ in range(code.vectors)] for _ in range(rows)]

    def meet(self, weights: list[Any], activations: Any) -> None:
        """One step: four inputs of each channel by the same four of each row."""
        builder = self.code.builder
        for row, places in enumerate(self.sums):
            old = [builder.load(place) for place in places]
            new = self.code.path.add_row(builder, old, weights, RowPlace(activations, self.strides, row))
            for place, value in zip(places, new, strict=True):
                builder.store(value, place)

    def vector_at(self, base: Any, vector: int) -> Any:
        """One vector of 32-bit numbers from a line of a panel."""
        size = STEP * self.code.path.lanes
        return self.code.load(self.code.ints, self.code.at(base, vector * size), align=size)

    def fetch(self, index: Any) -> None:
        """Ask for two cache lines from `ahead` on, or from `following` on once the index has reached `turn`."""
        code, builder, places = self.code, self.code.builder, self.places
        kind = ir.FunctionType(ir.VoidType(), [BYTE.as_pointer(), INT, INT, INT])
        fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        base = builder.select(builder.icmp_signed("<", index, places.turn), places.ahead, places.following)
        line = code.at(base, builder.mul(index, places.fetch_stride))
        for offset in (0, 64):
            builder.call(fetch, [code.at(line, offset), INT(0), INT(3), INT(1)])

    def int8(self) -> None:
        """All steps over a panel of bytes."""
        code, builder, places = self.code, self.code.builder, self.places
        with cgutils.for_range(builder, places.steps, intp=LONG) as loop:
            line = code.at(places.weights, code.times(loop.index, STEP * PANEL))
            self.fetch(loop.index)
            weights = [self.vector_at(line, vector) for vector in range(code.vectors)]
            self.meet(weights, code.at(places.activations, code.times(loop.index, STEP)))

    def int4(self) -> None:
        """All steps over a packed panel, two at a time; larger tiles keep the expanded panel for the tiles to come."""
        code, builder, places = self.code, self.code.builder, self.places
        pairs, keeps = GROUP // (2 * STEP), 2 * self.rows + 1 >= code.path.most_rows
        with cgutils.for_range(builder, builder.udiv(places.steps, LONG(2 * pairs)), intp=LONG) as group:
            scales = code.at(places.group_scales, code.times(group.index, PANEL))
            found = [code.scale_pair(code.at(scales, vector * code.path.lanes)) for vector in range(code.vectors)]
            with cgutils.for_range(builder, LONG(pairs), intp=LONG) as loop:
                pair = builder.add(code.times(group.index, pairs), loop.index)
                self.fetch(pair)
                line = code.at(places.weights, code.times(pair, STEP * PANEL))
                halves = [code.expand(self.vector_at(line, v), *found[v]) for v in range(code.vectors)]
                if keeps:
                    self.keep(halves, code.at(places.expanded, builder.mul(pair, places.expanded_stride)))
                activations = code.at(places.activations, code.times(pair, 2 * STEP))
                self.meet([low for low, _ in halves], activations)
                self.meet([high for _, high in halves], code.at(activations, STEP))

    def keep(self, halves: list[tuple[Any, Any]], target: Any) -> None:
        """Store two lines of an expanded panel."""
        for vector, (low, high) in enumerate(halves):
            place = self.code.at(target, vector * STEP * self.code.path.lanes)
            self.code.store(low, place)
            self.code.store(high, self.code.at(place, STEP * PANEL))

    def finish(self) -> None:
        """float32(total) * channel scale * row scale + bias, each rounded by itself, in this order."""
        code, builder, places = self.code, self.code.builder, self.places
        for row, row_sums in enumerate(self.sums):
            row_scale = code.splat(code.load(FLOAT, code.at(places.row_scales, 4 * row)))
            excess = builder.mul(code.load(INT, code.at(places.row_sums, 4 * row)), INT(128))
            out = code.at(places.out, builder.mul(places.out_stride, LONG(row)))
            for vector, sums in enumerate(row_sums):
                place = 4 * vector * code.path.lanes
                total = builder.sub(code.path.total(builder, builder.load(sums)), code.splat(excess))
                value = builder.sitofp(total, code.floats)
                value = builder.fmul(value, code.load(code.floats, code.at(places.channel_scales, place)))
                value = builder.fadd(
                    builder.fmul(value, row_scale), code.load(code.floats, code.at(places.biases, place))
                )
                code.store(value, code.at(out, place))


def _path_of(tag: Any) -> InstructionPath:
    """The path that the Numba type of a Tag stands for."""
    path: InstructionPath = tag.instance_class().path()
    return path


def _tile(*, is_int4: bool) -> Any:
    @intrinsic
    def tile(
        typing_context: Any,
        tag: Any,
        rows: Any,
        weights: Any,
        group_scales: Any,
        activations: Any,
        activation_stride: Any,
        steps: Any,
        channel_scales: Any,
        biases: Any,
        row_scales: Any,
        row_sums: Any,
        out: Any,
        out_stride: Any,
        ahead: Any,
        following: Any,
        turn: Any,
        fetch_stride: Any,
        expanded: Any,
        expanded_stride: Any,
    ) -> Any:
        signature = types.void(tag, *[types.int64] * (1 + len(TilePlaces._fields)))

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            values = {
                name: value if name in NUMBERS else builder.inttoptr(value, BYTE.as_pointer())
                for name, value in zip(TilePlaces._fields, arguments[2:], strict=True)
            }
            path = _path_of(signature.args[0])
            end = builder.append_basic_block("end")
            choice = builder.switch(arguments[1], end)
            for count in range(1, path.most_rows + 1):
                block = builder.append_basic_block(f"rows{count}")
                choice.add_case(LONG(count), block)
                builder.position_at_end(block)
                one = Tile(TileCode(builder, path), count, TilePlaces(**values))
                (one.int4 if is_int4 else one.int8)()
                one.finish()
                builder.branch(end)
            builder.position_at_end(end)
            return context.get_dummy_value()

        return signature, codegen

    return tile


int8_tile, int4_tile = _tile(is_int4=False), _tile(is_int4=True)
