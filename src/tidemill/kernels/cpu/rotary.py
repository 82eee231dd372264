"""The heads of one row on their way to attention: their norm, and their rotary embedding."""

from typing import Any

from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from tidemill.kernels.cpu.element import EXACT
from tidemill.kernels.cpu.inverse_rms import inverse_rms
from tidemill.kernels.cpu.numba_setup import INSIDE
from tidemill.kernels.cpu.vector_code import LANES, LONG, VectorCode
from tidemill.kernels.cpu.widen import widen


@intrinsic
def _turn(typing_context: Any, target: Any, at: Any, rotation: Any, half: Any, vectors: Any) -> Any:
    """Rotate the first `vectors` times 16 of the `half` pairs of a head, which begins at `at` of flat `target`.

    A loop as short as this is no vector loop by itself.
    """
    flat = types.Array(types.float32, 1, "C")
    assert typing_context is not None
    assert target.dtype == rotation.dtype == types.float32

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = VectorCode(context, builder)
        lows = code.at(code.data(flat, arguments[0]), arguments[1])
        cosines = code.data(flat, arguments[2])
        highs, sines = (code.at(base, arguments[3]) for base in (lows, cosines))
        with cgutils.for_range(builder, arguments[4], intp=LONG) as loop:
            place = builder.mul(loop.index, LONG(LANES))
            low, high, cos, sin = (code.load(code.at(base, place)) for base in (lows, highs, cosines, sines))
            code.store(code.fma(low, cos, builder.fneg(builder.fmul(high, sin))), code.at(lows, place))
            code.store(code.fma(high, cos, builder.fmul(low, sin)), code.at(highs, place))
        return context.get_dummy_value()

    return types.void(flat, types.int64, flat, types.int64, types.int64), codegen


@njit(fastmath=EXACT, nogil=True, error_model="numpy", **INSIDE)
def rotate_heads(
    source: Any, first: Any, heads: Any, size: Any, norm: Any, epsilon: Any, rotation: Any, target: Any, at: Any
) -> None:
    """`heads` heads of `size` elements of `source` from `first` on, normed and rotated, into `target` from `at` on.

    Both are flat, `source` float32 or bf16 bits, `target` float32; norm (size,), or (0,) for none; rotation (size,),
    cosines of half a head, then sines, or (0,) for none. All heads at once: a call counts references, which for one
    head would cost five times its arithmetic.
    """
    widen(source, first, 0, target, at, 0, 1, heads * size)
    half = rotation.shape[0] // 2
    vectors = half // LANES
    for place in range(at, at + heads * size, size):
        if norm.shape[0] > 0:
            scale = inverse_rms(target, place, size, epsilon)
            for d in range(size):
                target[place + d] = target[place + d] * scale * norm[d]
        _turn(target, place, rotation, half, vectors)
        for d in range(vectors * LANES, half):
            low, high, cos, sin = target[place + d], target[place + half + d], rotation[d], rotation[half + d]
            target[place + d] = low * cos - high * sin
            target[place + half + d] = high * cos + low * sin
