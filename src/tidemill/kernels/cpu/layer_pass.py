"""All layers of a decoder in one compiled call, for steps of few rows: there what lies between the products counts.

The arithmetic is that of the kernels it is made of; here is only their order, and how threads share it. Each part of a
layer is work whose pieces threads take in turn (rows, panels of a weight, tiles of attention), and begins when the part
before is done: threads meet by looking at a counter, and who waits fetches the weights that it reads next.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit, prange

from tidemill.kernels.cpu import numba_setup
from tidemill.kernels.cpu.attention import attend, fold_partials
from tidemill.kernels.cpu.integer_product import Job, num_panels, num_pieces, panel_bytes, work
from tidemill.kernels.cpu.numba_setup import INSIDE
from tidemill.kernels.cpu.output_rows import put_row
from tidemill.kernels.cpu.paged_layer import PagedLayer
from tidemill.kernels.cpu.rows import add_row, norm_row, rotate_row, silu_row
from tidemill.kernels.cpu.turns import LINE, address, finish, take, take_near, wait, wait_fetching

CACHED = numba_setup.configure()
# Functions that only call others are inline: every one of them is compiled with all that it calls, and each further
# level of calls costs a first start seconds.
PARTS = 11
"""Of a layer, each with a line of counters."""
QKV, OUT, GATE_UP, DOWN = 0, 1, 2, 3
"""Places of a layer's products."""


class Stack(NamedTuple):
    """The layers' weights; nothing of it changes from step to step."""

    products: Any
    """(layers, 4, 7) int64: for each product the fields of Job that are the weight's."""
    norms: Any
    """(2 * layers + 1, hidden) float32: the norm before attention and the one before the MLP of each layer, the last.
    """
    q_norms: Any
    """(layers, head_dim) float32, or (layers, 0) for none."""
    k_norms: Any
    rotations: Any
    """(positions, head_dim) float32."""
    layers: Any
    """(layers, 4) int64: where keys, values and scales are, as in PagedLayer; how much of a rotation is used."""
    epsilon: Any
    scale: Any


class Step(NamedTuple):
    """One step: arguments as of `rotate_and_write` and `paged_attention`."""

    rows: Any
    positions: Any
    slots: Any
    tables: Any
    items: Any
    folds: Any
    partials: Any
    window: Any


class Room(NamedTuple):
    """Memory of what passes between parts: float32 rows, and three times the fields of QuantizedRows."""

    residual: Any
    qkv: Any
    q: Any
    attended: Any
    delta: Any
    gate_up: Any
    hidden: Any
    normed: Any
    normed_scales: Any
    normed_sums: Any
    mixed: Any
    mixed_scales: Any
    mixed_sums: Any
    gated: Any
    gated_scales: Any
    gated_sums: Any
    scratch: Any
    """(threads, widest row) float32."""
    product_scratch: Any
    """An address: `scratch_bytes` of the longest product for each thread."""
    product_scratch_bytes: Any
    turns: Any
    """(1 + PARTS * layers + 1, threads, 8) int64, zeros: each part's counters; those of the first are of nothing."""


@njit(nogil=True, error_model="numpy", **INSIDE)
def _norm(stack: Any, room: Any, rows: Any, index: Any, turn: Any, before: Any, thread: Any) -> Any:
    """Add what the part before made, unless it is the first norm; norm and quantize, but for the last norm."""
    scratch, last = room.scratch[thread][: room.residual.shape[1]], stack.norms.shape[0] - 1
    count, row = 0, take(turn)
    wait(turn - room.scratch.shape[0] * LINE, before)
    while row < rows:
        if index > 0:
            add_row(room.residual[row], room.delta[row])
        norm_row(room.residual[row], stack.norms[index], stack.epsilon, scratch)
        if index < last:
            put_row(scratch, (room.normed, room.normed_scales, room.normed_sums), row)
        else:
            put_row(scratch, room.hidden, row)
        count, row = count + 1, take(turn)
    finish(turn, count)
    return rows


@njit(nogil=True, error_model="numpy", inline="always")
def _product(
    tag: Any,
    weight: Any,
    rows: Any,
    values: Any,
    scales: Any,
    sums: Any,
    out: Any,
    room: Any,
    turn: Any,
    before: Any,
    thread: Any,
) -> Any:
    scratch = room.product_scratch + thread * room.product_scratch_bytes
    job = Job(
        weight[0], weight[1], weight[2], rows, weight[3], weight[4], weight[5], weight[6], address(values),
        address(scales), address(sums), address(out), scratch, turn,
    )  # fmt: skip
    size, pieces, threads = panel_bytes(job), num_pieces(tag, job), room.scratch.shape[0]
    mine = take_near(turn, thread, threads, pieces)
    wait_fetching(
        turn - threads * LINE, before, job.panels + mine % num_panels(job) * size, size if mine < pieces else 0
    )
    finish(turn, work(tag, job, mine, thread, threads, scratch))
    return pieces


@njit(nogil=True, error_model="numpy", inline="always")
def _rotate(stack: Any, layer: Any, n: Any, step: Any, room: Any, turn: Any, before: Any) -> Any:
    count, row = 0, take(turn)
    wait(turn - room.scratch.shape[0] * LINE, before)
    while row < step.rows:
        position = min(step.positions[row], stack.rotations.shape[0] - 1)
        rotation = stack.rotations[position][: stack.layers[n, 3]]
        rotate_row(
            room.qkv, rotation, stack.q_norms[n], stack.k_norms[n], stack.epsilon, layer, step.slots[row], room.q, row
        )
        count, row = count + 1, take(turn)
    finish(turn, count)
    return step.rows


@njit(nogil=True, error_model="numpy", inline="always")
def _attend(stack: Any, layer: Any, step: Any, spaces: Any, room: Any, turn: Any, before: Any, thread: Any) -> Any:
    wait(turn - room.scratch.shape[0] * LINE, before)
    # There may be fewer items than threads, and scratch for as many only.
    if thread < spaces.numbers.shape[0]:
        count = attend(
            room.q, layer, step.tables, step.items, turn, step.partials, spaces, thread, step.window, stack.scale,
            room.attended,
        )  # fmt: skip
        finish(turn, count)
    return step.items.shape[0]


@njit(nogil=True, error_model="numpy", inline="always")
def _fold(layer: Any, step: Any, room: Any, turn: Any, before: Any) -> Any:
    """Finish the tiles that were met partition by partition."""
    count, fold = 0, take(turn)
    wait(turn - room.scratch.shape[0] * LINE, before)
    while fold < step.folds.shape[0]:
        fold_partials(room.q, layer, step.folds[fold], step.partials, step.window, room.attended)
        count, fold = count + 1, take(turn)
    finish(turn, count)
    return step.folds.shape[0]


@njit(nogil=True, error_model="numpy", inline="always")
def _quantize(room: Any, rows: Any, turn: Any, before: Any) -> Any:
    count, row = 0, take(turn)
    wait(turn - room.scratch.shape[0] * LINE, before)
    while row < rows:
        put_row(room.attended[row], (room.mixed, room.mixed_scales, room.mixed_sums), row)
        count, row = count + 1, take(turn)
    finish(turn, count)
    return rows


@njit(nogil=True, error_model="numpy", **INSIDE)
def _gate(room: Any, rows: Any, turn: Any, before: Any, thread: Any) -> Any:
    scratch = room.scratch[thread][: room.gate_up.shape[1] // 2]
    count, row = 0, take(turn)
    wait(turn - room.scratch.shape[0] * LINE, before)
    while row < rows:
        silu_row(room.gate_up[row], scratch)
        put_row(scratch, (room.gated, room.gated_scales, room.gated_sums), row)
        count, row = count + 1, take(turn)
    finish(turn, count)
    return rows


@njit(nogil=True, error_model="numpy", **INSIDE)
def _pass(tag: Any, stack: Any, cache: Any, step: Any, spaces: Any, room: Any, thread: Any) -> None:
    """One thread's share of everything."""
    rows, before, line = step.rows, np.int64(0), room.scratch.shape[0] * LINE
    turn = address(room.turns) + line
    for n in range(stack.products.shape[0]):
        weights, place = stack.products[n], stack.layers[n]
        layer = PagedLayer(
            cache.pages, cache.scales, place[0], place[1], place[2], cache.head_step, cache.scale_step, cache.kv_heads,
            cache.head_dim, cache.page_size, cache.key_pair, cache.value_pair,
        )  # fmt: skip
        before = _norm(stack, room, rows, 2 * n, turn, before, thread)
        turn += line
        before = _product(
            tag, weights[QKV], rows, room.normed, room.normed_scales, room.normed_sums, room.qkv, room, turn, before,
            thread,
        )  # fmt: skip
        turn += line
        before = _rotate(stack, layer, n, step, room, turn, before)
        turn += line
        before = _attend(stack, layer, step, spaces, room, turn, before, thread)
        turn += line
        if step.folds.shape[0] > 0:
            before = _fold(layer, step, room, turn, before)
            turn += line
        before = _quantize(room, rows, turn, before)
        turn += line
        before = _product(
            tag, weights[OUT], rows, room.mixed, room.mixed_scales, room.mixed_sums, room.delta, room, turn, before,
            thread,
        )  # fmt: skip
        turn += line
        before = _norm(stack, room, rows, 2 * n + 1, turn, before, thread)
        turn += line
        before = _product(
            tag, weights[GATE_UP], rows, room.normed, room.normed_scales, room.normed_sums, room.gate_up, room, turn,
            before, thread,
        )  # fmt: skip
        turn += line
        before = _gate(room, rows, turn, before, thread)
        turn += line
        before = _product(
            tag, weights[DOWN], rows, room.gated, room.gated_scales, room.gated_sums, room.delta, room, turn, before,
            thread,
        )  # fmt: skip
        turn += line
    _norm(stack, room, rows, stack.norms.shape[0] - 1, turn, before, thread)


@njit(nogil=True, parallel=True, cache=CACHED, error_model="numpy")
def pass_layers(tag: Any, threads: Any, stack: Any, cache: Any, step: Any, spaces: Any, room: Any) -> None:
    """Take `room.residual` through all layers and the last norm, into `room.hidden`.

    `cache` is a PagedLayer whose places are not looked at; `spaces` as of `paged_attention`.
    """
    for thread in prange(threads):
        # A loop over threads counts in another type than the same loop before it becomes one: all would compile twice.
        _pass(tag, stack, cache, step, spaces, room, np.int64(thread))
