"""Products of integer rows by a packed weight: cut into blocks of rows and panels, and dealt out to threads.

Everything is given by address, so that arrays mapped read-only from disk and arrays in memory are one kernel, and a
call is cheap. Integer sums are exact: no cut, no number of threads and no instruction path can change a result.
"""

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic, register_jitable

from tidemill.kernels.cpu import numba_setup
from tidemill.kernels.cpu.integer_tile import STEP, int4_tile, int8_tile
from tidemill.kernels.cpu.numba_setup import INSIDE
from tidemill.kernels.cpu.panels import PANEL
from tidemill.kernels.cpu.turns import LINE, take_near
from tidemill.kernels.quantized import GROUP

CACHED = numba_setup.configure()
BLOCK_BYTES = 512 * 1024
"""Of activations that one block of rows may have: they stay in a core's second cache while panels pass by."""
DISTANCE = 8192
"""Bytes that a tile which reads from memory keeps ahead of itself."""


class Job(NamedTuple):
    """One product. Addresses of arrays laid out as `panels.py` says, and of row-major activations and results."""

    is_int4: int
    inputs: int
    """Padded to whole groups: the distance in bytes of two rows of activations."""
    channels: int
    rows: int
    panels: int
    group_scales: int
    channel_scales: int
    biases: int
    activations: int
    row_scales: int
    row_sums: int
    out: int
    scratch: int
    """`scratch_bytes` for each thread."""
    ticket: int
    """Counters as `take_near` wants them."""


@register_jitable
def scratch_bytes(inputs: Any, most_rows: Any) -> Any:
    """Bytes of scratch of one thread: an expanded panel, and a tile of results."""
    return inputs * PANEL + most_rows * PANEL * 4 + LINE


@intrinsic
def _put(typing_context: Any, address: Any, value: Any) -> Any:
    """Store an int64 or a float32 at `address`."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[1], builder.inttoptr(arguments[0], arguments[1].type.as_pointer()))
        return context.get_dummy_value()

    return types.void(types.int64, value), codegen


@intrinsic
def _float_at(typing_context: Any, address: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(builder.inttoptr(arguments[0], ir.FloatType().as_pointer()))

    return types.float32(types.int64), codegen


@njit(nogil=True, **INSIDE)
def _copy_tile(source: Any, target: Any, stride: Any, rows: Any, channels: Any) -> None:
    """Results of the last, narrow panel, from a tile of whole rows to where they belong."""
    for row in range(rows):
        for channel in range(channels):
            _put(target + row * stride + 4 * channel, _float_at(source + 4 * (row * PANEL + channel)))


@njit(nogil=True, **INSIDE)
def _meet_panel(tag: Any, job: Any, panel: Any, first: Any, last: Any, next_panel: Any, scratch: Any) -> None:
    """Rows [first, last) by one panel. `next_panel` is what this thread works on next: fetched meanwhile."""
    size = panel_bytes(job)
    weights, following = job.panels + panel * size, job.panels + next_panel * size
    group_scales = job.group_scales + panel * job.inputs // GROUP * PANEL
    steps, scales, biases = job.inputs // STEP, job.channel_scales + 4 * panel * PANEL, job.biases + 4 * panel * PANEL
    channels, stride = min(PANEL, job.channels - panel * PANEL), 4 * job.channels
    count = (last - first + tag.most_rows - 1) // tag.most_rows
    # One tile reads its panel from memory and keeps ahead of itself, on into the next panel.
    turn = (size - DISTANCE) // (2 * LINE)
    ahead, after, fetch_stride = weights + DISTANCE, following - (size - DISTANCE), 2 * LINE
    for part in range(count):
        row, end = first + (last - first) * part // count, first + (last - first) * (part + 1) // count
        x, row_scales, row_sums = job.activations + row * job.inputs, job.row_scales + 4 * row, job.row_sums + 4 * row
        target = job.out + row * stride + 4 * panel * PANEL
        is_whole = channels == PANEL
        out, out_stride = (target, stride) if is_whole else (scratch + job.inputs * PANEL, 4 * PANEL)
        if job.is_int4 and part == 0:
            turn, kept = (turn, 0) if count == 1 else (steps, 2 * STEP * PANEL)
            int4_tile(
                tag, end - row, weights, group_scales, x, job.inputs, steps, scales, biases, row_scales, row_sums, out,
                out_stride, ahead, after, turn, fetch_stride, scratch, kept,
            )  # fmt: skip
            weights = scratch
        else:
            if count > 1:
                # Of many tiles the last ones fetch the next panel, a line a step: it takes two of them, in int4 one.
                done = (count - 1 - part) * steps * LINE
                turn, after, fetch_stride = (0, following + done, LINE) if done < size else (0, weights, 0)
            int8_tile(
                tag, end - row, weights, group_scales, x, job.inputs, steps, scales, biases, row_scales, row_sums, out,
                out_stride, ahead, after, turn, fetch_stride, scratch, 0,
            )  # fmt: skip
        if not is_whole:
            _copy_tile(out, target, stride, end - row, channels)


@register_jitable
def panel_bytes(job: Any) -> Any:
    """Bytes of one panel of weights."""
    return job.inputs * PANEL // 2 if job.is_int4 else job.inputs * PANEL


@register_jitable
def num_panels(job: Any) -> Any:
    """How many panels the weight has."""
    return (job.channels + PANEL - 1) // PANEL


@register_jitable
def num_row_blocks(tag: Any, job: Any) -> Any:
    """Into how many blocks of rows a product is cut."""
    block_rows = max(tag.most_rows, BLOCK_BYTES // job.inputs // tag.most_rows * tag.most_rows)
    return (job.rows + block_rows - 1) // block_rows


@register_jitable
def num_pieces(tag: Any, job: Any) -> Any:
    """Into how many pieces a product is cut, a block of rows and a panel each."""
    return num_panels(job) * num_row_blocks(tag, job)


@njit(nogil=True, **INSIDE)
def work(tag: Any, job: Any, mine: Any, thread: Any, threads: Any, scratch: Any) -> Any:
    """Take pieces until there are none: whoever is held up takes fewer. `mine` was taken already.

    Returns how many it was.
    """
    panels, blocks, pieces = num_panels(job), num_row_blocks(tag, job), num_pieces(tag, job)
    count = 0
    while mine < pieces:
        following = take_near(job.ticket, thread, threads, pieces)
        block, panel = mine // panels, mine % panels
        first, last = job.rows * block // blocks, job.rows * (block + 1) // blocks
        next_panel = following % panels if following < pieces else panel
        _meet_panel(tag, job, panel, first, last, next_panel, scratch)
        count += 1
        mine = following
    return count


@njit(nogil=True, inline="always")
def _share(tag: Any, job: Any, thread: Any, threads: Any, scratch: Any) -> None:
    """One thread's share of a product."""
    mine = take_near(job.ticket, thread, threads, num_pieces(tag, job))
    work(tag, job, mine, thread, threads, scratch)


@njit(nogil=True, parallel=True, cache=CACHED)
def multiply(
    tag: Any,
    threads: Any,
    is_int4: Any,
    inputs: Any,
    channels: Any,
    rows: Any,
    panels: Any,
    group_scales: Any,
    channel_scales: Any,
    biases: Any,
    activations: Any,
    row_scales: Any,
    row_sums: Any,
    out: Any,
    scratch: Any,
    ticket: Any,
) -> None:
    """One product; the arguments after `threads` are the fields of Job."""
    job = Job(
        is_int4, inputs, channels, rows, panels, group_scales, channel_scales, biases, activations, row_scales,
        row_sums, out, scratch, ticket,
    )  # fmt: skip
    for thread in range(threads):
        _put(ticket + thread * LINE, 0)
    if threads == 1:
        _share(tag, job, np.int64(0), np.int64(1), scratch)
    else:
        for thread in prange(threads):
            n = np.int64(thread)  # of the type it has outside loops over threads, or all would be compiled twice
            _share(tag, job, n, threads, scratch + n * scratch_bytes(inputs, tag.most_rows))
