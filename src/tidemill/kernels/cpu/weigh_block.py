"""Four rows of queries meet the keys of a block: scores, and one step of a running softmax, in registers throughout.

The running softmax is that of Milakov and Gimelshein 2018, algorithm 3.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tidemill.kernels.cpu import block_places as places
from tidemill.kernels.cpu.address_code import SHORT_VECTOR, AddressCode
from tidemill.kernels.cpu.block_places import LANES, ROWS, RUNS
from tidemill.kernels.cpu.cache_element import CacheElement, Int8, element_of
from tidemill.kernels.cpu.vector_code import FLOAT, INT, INT_VECTOR, LONG, VECTOR

_LARGEST = 32767.0
_LEAST = 1e-30
"""The step of weights is taken from at least this, so that a row of zeros divides by something."""


class _Emitter:
    """The code of one call, which reads its places from `block`."""

    def __init__(self, code: AddressCode, element: CacheElement, block: Any) -> None:
        self.code = code
        self.builder = code.builder
        self.element = element
        self.block = block

    def number(self, place: int) -> Any:
        """A number of the block."""
        return self.code.read(self.code.plus(self.block, 8 * place), LONG)

    def vectors(self, place: int) -> list[Any]:
        """Four times sixteen scales."""
        halves = [self.code.read(self.number(place + run), SHORT_VECTOR) for run in range(RUNS)]
        return [self.code.widened(half) for half in halves]

    def dots(self, q: Any, q_step: Any, depth: Any) -> dict[tuple[int, int], Any]:
        """Products of ROWS queries with 64 keys, by row and run; the next block's keys are fetched ahead."""
        code, builder, element = self.code, self.builder, self.element
        keys = [self.number(places.KEYS + run) for run in range(RUNS)]
        ahead = [self.number(places.NEXT_KEYS + run) for run in range(RUNS)]
        step = self.number(places.KEY_STEP)
        zero = ir.Constant(element.total, [0] * LANES if element.total == INT_VECTOR else [0.0] * LANES)
        totals = {(r, run): cgutils.alloca_once_value(builder, zero) for r in range(ROWS) for run in range(RUNS)}
        with cgutils.for_range(builder, depth, intp=LONG) as loop:
            offset = builder.mul(loop.index, step)
            right = [element.right(code, builder.add(key, offset)) for key in keys]
            for address in ahead:
                code.prefetch(builder.add(address, offset))
            operand = builder.add(q, builder.mul(loop.index, LONG(4)))
            for r in range(ROWS):
                left = element.left(code, builder.add(operand, builder.mul(q_step, LONG(r))))
                for run in range(RUNS):
                    total = totals[r, run]
                    builder.store(element.step(code, builder.load(total), left, right[run]), total)
        return {cell: builder.load(total) for cell, total in totals.items()}

    def inside(self, first: Any, stop: Any) -> list[Any]:
        """For each run, which lanes lie in [first, stop)."""
        low, high = (self.code.splat(self.builder.trunc(bound, INT)) for bound in (first, stop))
        masks = []
        for run in range(RUNS):
            index = self.code.integers([run * LANES + lane for lane in range(LANES)])
            reached = self.builder.icmp_signed(">=", index, low)
            masks.append(self.builder.and_(reached, self.builder.icmp_signed("<", index, high)))
        return masks

    def mask(self, scores: dict[tuple[int, int], Any], value_scales: list[Any]) -> None:
        """Replace what rows do not see; scales of positions that nobody sees may be anything, so they become 0."""
        code, builder = self.code, self.builder
        for r in range(ROWS):
            seen = self.inside(self.number(places.BOUNDS + 2 * r), self.number(places.BOUNDS + 2 * r + 1))
            for run in range(RUNS):
                kept = builder.select(seen[run], builder.load(scores[r, run]), code.constant(places.MASKED))
                builder.store(kept, scores[r, run])
        if value_scales:
            held = self.inside(self.number(places.SKIP), self.number(places.COUNT))
            for run in range(RUNS):
                kept = builder.select(held[run], builder.load(value_scales[run]), code.constant(0.0))
                builder.store(kept, value_scales[run])

    def softmax(self, scores: list[Any], state: Any) -> list[Any]:
        """Weights of 64 scores; `state` is brought up to them."""
        code, builder = self.code, self.builder
        old = code.read(state, FLOAT)
        best = code.highest(*scores)
        new = builder.select(builder.fcmp_ordered(">", best, old), best, old)
        code.write(new, state)
        top = code.splat(new)
        shrink = code.exp(builder.fsub(code.splat(old), top))
        code.write(builder.extract_element(shrink, INT(0)), code.plus(state, 4 * places.SHRINK))
        weights = [code.exp(builder.fsub(score, top)) for score in scores]
        added = builder.fadd(builder.fadd(*weights[:2]), builder.fadd(*weights[2:]))
        sums = code.plus(state, 4 * places.PARTIAL_SUMS)
        code.write(code.fma(code.read(sums), shrink, added), sums)
        return weights

    def store_weights(self, weights: list[Any], value_scales: list[Any], state: Any, target: Any) -> None:
        """Leave weights as left operands of the product with values."""
        code, builder, element = self.code, self.builder, self.element
        if element.pair == 1:
            operands = weights
        elif element.total == VECTOR:
            operands = [code.halved(weight) for weight in weights]
        else:
            scaled = [builder.fmul(weight, scale) for weight, scale in zip(weights, value_scales, strict=True)]
            most = code.highest(*scaled)
            most = builder.select(builder.fcmp_ordered("<", most, FLOAT(_LEAST)), FLOAT(_LEAST), most)
            code.write(builder.fmul(most, FLOAT(1 / _LARGEST)), code.plus(state, 4 * places.WEIGHT_STEP))
            inverse = code.splat(builder.fdiv(FLOAT(_LARGEST), most))
            nearest = [code.call(f"llvm.rint.v{LANES}f32", builder.fmul(weight, inverse)) for weight in scaled]
            operands = [builder.trunc(builder.fptosi(weight, INT_VECTOR), SHORT_VECTOR) for weight in nearest]
        for run, operand in enumerate(operands):
            code.write(operand, code.plus(target, run * LANES * 4 // element.pair))


@intrinsic
def weigh_block(
    typing_context: Any, pages: Any, block: Any, q: Any, q_step: Any, depth: Any, state: Any, weights: Any, whole: Any
) -> Any:
    """Bring ROWS rows of `state` up to a block, and leave the weights of its positions for `add_values`.

    All but `pages`, which tells the element type, are addresses and numbers: `block` as in block_places (its bounds
    those of these rows), `q` the rows' operands, `q_step` bytes apart, `depth` steps long, `whole` whether every row
    sees the whole block.
    """
    numbers = (block, q, q_step, depth, state, weights, whole)
    signature = types.void(pages, *(types.int64 for _ in numbers))
    element = element_of(pages)
    assert typing_context is not None

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = AddressCode(context, builder)
        _, block, q, q_step, depth, state, weights, whole = arguments
        emitter = _Emitter(code, element, block)
        dots = emitter.dots(q, q_step, depth)
        states = [code.plus(state, r * 4 * places.STATE) for r in range(ROWS)]
        scales: list[Any] = []
        if isinstance(element, Int8):
            key_scales = emitter.vectors(places.KEY_SCALES)
            steps = [code.splat(code.read(code.plus(at, 4 * places.QUERY_STEP), FLOAT)) for at in states]
            dots = {
                (r, run): builder.fmul(builder.sitofp(dot, VECTOR), builder.fmul(key_scales[run], steps[r]))
                for (r, run), dot in dots.items()
            }
            scales = [cgutils.alloca_once_value(builder, scale) for scale in emitter.vectors(places.VALUE_SCALES)]
        scores = {cell: cgutils.alloca_once_value(builder, dot) for cell, dot in dots.items()}
        with builder.if_then(builder.icmp_signed("==", whole, LONG(0))):
            emitter.mask(scores, scales)
        value_scales = [builder.load(scale) for scale in scales]
        for r, at in enumerate(states):
            row = emitter.softmax([builder.load(scores[r, run]) for run in range(RUNS)], at)
            emitter.store_weights(row, value_scales, at, code.plus(weights, r * places.WEIGHT_BYTES))
        return context.get_dummy_value()

    return signature, codegen
