"""One step of a running softmax over a block of 64 scores (Milakov and Gimelshein 2018, algorithm 3), as vectors."""

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tidemill.kernels.cpu.vector_code import INT, LANES, LONG, VectorCode

KEY_BLOCK = 4 * LANES
"""Positions whose scores are held at once. Part of the arithmetic, so not a setting."""
LOWEST = -1e30


def _seen(code: VectorCode, first: Any, stop: Any) -> list[Any]:
    """For each vector of the block, which lanes lie in [first, stop)."""
    builder = code.builder
    low, high = (code.splat(builder.trunc(bound, INT)) for bound in (first, stop))
    masks = []
    for vector in range(KEY_BLOCK // LANES):
        index = code.integers([vector * LANES + lane for lane in range(LANES)])
        masks.append(builder.and_(builder.icmp_signed(">=", index, low), builder.icmp_signed("<", index, high)))
    return masks


def _emit(code: VectorCode, scores: Any, seen: list[Any], top_at: Any, lanes: Any, sums: Any, width: Any) -> None:
    builder = code.builder
    places = [code.at(scores, LONG(vector * LANES)) for vector in range(KEY_BLOCK // LANES)]
    lowest, zero = code.constant(LOWEST), code.constant(0.0)
    kept = [builder.select(mask, code.load(place), lowest) for mask, place in zip(seen, places, strict=True)]
    highest = code.maximum(code.maximum(kept[0], kept[1]), code.maximum(kept[2], kept[3]))
    old = builder.load(top_at)
    best = code.call(f"llvm.vector.reduce.fmax.v{LANES}f32", highest, result=old.type)
    new = builder.select(builder.fcmp_ordered(">", best, old), best, old)
    builder.store(new, top_at)
    top = code.splat(new)
    shrink = code.exp(builder.fsub(code.splat(old), top))
    weights = [
        builder.select(mask, code.exp(builder.fsub(score, top)), zero) for mask, score in zip(seen, kept, strict=True)
    ]
    for weight, place in zip(weights, places, strict=True):
        code.store(weight, place)
    added = builder.fadd(builder.fadd(weights[0], weights[1]), builder.fadd(weights[2], weights[3]))
    code.store(code.fma(code.load(lanes), shrink, added), lanes)
    with cgutils.for_range(builder, builder.sdiv(width, LONG(LANES)), intp=LONG) as loop:
        place = code.at(sums, builder.mul(loop.index, LONG(LANES)))
        code.store(builder.fmul(code.load(place), shrink), place)


@intrinsic
def weigh_block(
    typing_context: Any, scratch: Any, scores: Any, first: Any, stop: Any, top: Any, lanes: Any, sums: Any, width: Any
) -> Any:
    """Turn 64 scores of one row into weights, exact zeros outside [first, stop), and rescale what came before.

    All inside `scratch`, flat float32: scores (64,), top (1,) the highest score so far, lanes (16,) partial sums of the
    weights so far, sums (width,) the weighted values so far.
    """
    numbers = (scores, first, stop, top, lanes, sums, width)
    signature = types.void(types.Array(types.float32, 1, "C"), *(types.int64 for _ in numbers))
    assert typing_context is not None
    assert scratch.dtype == types.float32

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = VectorCode(context, builder)
        base = code.data(signature.args[0], arguments[0])
        scores, top, lanes, sums = (code.at(base, arguments[index]) for index in (1, 4, 5, 6))
        _emit(code, scores, _seen(code, arguments[2], arguments[3]), top, lanes, sums, arguments[7])
        return context.get_dummy_value()

    return signature, codegen
