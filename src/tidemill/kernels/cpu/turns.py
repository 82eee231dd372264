"""Turns at shared work: threads take numbered pieces, say what they have finished, and wait for what others have not.

Work has a cache line, or one for each thread: how many pieces were taken, and in the first, how many are done. Nobody
waits for a thread, only for pieces that some running thread has taken: so one that starts late holds up nobody. Where
not every thread may take pieces, those that may must be the first, which always run.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from tidemill.kernels.cpu.numba_setup import INSIDE

INT, LONG = ir.IntType(32), ir.IntType(64)
LINE = 64
"""Bytes of a cache line, and of the two counters with what keeps them apart from the next two."""
DONE = 8
"""Where the second counter is."""
PATIENCE = 4096
"""Looks at a counter before a thread offers its core to others, which may be those it waits for (tens of microseconds).
"""
_yield_core = types.ExternalFunction("sched_yield", types.int32())


@register_jitable
def address(array: Any) -> Any:
    """Where an array begins, in the type that addresses have elsewhere: for each other type all would compile again."""
    return np.int64(array.ctypes.data)


def _counter(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, LONG.as_pointer())


@intrinsic
def take(typing_context: Any, address: Any) -> Any:
    """The number of the next piece, from 0 on, of the work whose counters are at `address`; nobody gets it again."""
    assert typing_context is not None

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.atomic_rmw("add", _counter(builder, arguments[0]), LONG(1), "monotonic")

    return types.int64(types.int64), codegen


@njit(nogil=True, **INSIDE)
def take_near(address: Any, part: Any, parts: Any, pieces: Any) -> Any:
    """A piece near those that thread `part` took before; `pieces` where none is left.

    Each thread has a counter, from `address` on, and a part of the pieces, which it takes in their order; then it helps
    the others. What one thread reads is then mostly in one place: cores that read neighbouring pieces in turn fetch
    ahead into each other's, which cost a quarter of the memory's bandwidth.
    """
    for distance in range(parts):
        owner = (part + distance) % parts
        piece = pieces * owner // parts + take(address + owner * LINE)
        if piece < pieces * (owner + 1) // parts:
            return piece
    return pieces


@intrinsic
def finish(typing_context: Any, address: Any, count: Any) -> Any:
    """Say that `count` pieces more are done; what was written before is seen by whoever waited for them."""
    assert typing_context is not None

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        done = builder.add(arguments[0], LONG(DONE))
        builder.atomic_rmw("add", _counter(builder, done), arguments[1], "acq_rel")
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def _done(typing_context: Any, address: Any) -> Any:
    assert typing_context is not None

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        done = builder.add(arguments[0], LONG(DONE))
        return builder.load_atomic(_counter(builder, done), "acquire", 8)

    return types.int64(types.int64), codegen


@intrinsic
def _fetch(typing_context: Any, address: Any) -> Any:
    """Ask for a cache line."""
    assert typing_context is not None

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), INT, INT, INT])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        pointer = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        builder.call(function, [pointer, INT(0), INT(3), INT(1)])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def _pause(typing_context: Any) -> Any:
    """Tell the core that it waits, where it can be told."""
    assert typing_context is not None

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if builder.module.triple.startswith("x86"):
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), codegen


@njit(nogil=True, **INSIDE)
def wait(turn: Any, count: Any) -> None:
    """Wait until `count` pieces are done."""
    looks = 0
    while _done(turn) < count:
        _pause()
        looks += 1
        if looks >= PATIENCE:
            _yield_core()


@njit(nogil=True, **INSIDE)
def wait_fetching(address: Any, count: Any, wanted: Any, wanted_bytes: Any) -> None:
    """Wait until `count` pieces are done. Meanwhile the memory at `wanted` is fetched, a line a look."""
    looks = 0
    fetched = 0
    while _done(address) < count:
        if fetched < wanted_bytes:
            _fetch(wanted + fetched)
            fetched += LINE
        else:
            _pause()
            looks += 1
            if looks >= PATIENCE:
                _yield_core()
