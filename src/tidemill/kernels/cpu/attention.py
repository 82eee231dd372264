"""Paged attention on a CPU, prompts and decode steps alike: one arithmetic for a query whatever shares its step.

Work is cut into tiles of a few neighbouring queries and one key-value head. Keys are met in blocks aligned to absolute
positions, in ascending order, and long contexts in partitions aligned likewise, each from a fresh start and folded
together in order: so neither the cut of a prompt into chunks, nor the page size, nor which thread took what can change
a bit. No floating-point licence here: what is fused is written in the vector code.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit, prange

from tidemill.kernels.cpu import block_places as places
from tidemill.kernels.cpu import numba_setup
from tidemill.kernels.cpu.add_values import add_values
from tidemill.kernels.cpu.block_places import KEY_BLOCK, LANES, ROWS, STATE, WEIGHT_BYTES
from tidemill.kernels.cpu.block_search import find_block, padded_width, pair_of
from tidemill.kernels.cpu.element import exp_nonpositive, rounded
from tidemill.kernels.cpu.load_query import load_query
from tidemill.kernels.cpu.numba_setup import INSIDE
from tidemill.kernels.cpu.turns import address, take_near
from tidemill.kernels.cpu.weigh_block import weigh_block

CACHED = numba_setup.configure()
PARTITION = 1024
"""Positions after which attention starts afresh, to be folded in after. Part of the arithmetic."""


class Tile(NamedTuple):
    """One item of work: `queries` rows from `first_row` on, the first at `position`; rows = queries * group.

    It meets positions [start, stop), or what of them its queries see.
    """

    head: int
    first_row: int
    queries: int
    position: int
    window: int
    group: int
    rows: int
    start: int
    stop: int


class Space(NamedTuple):
    """Scratch of one thread."""

    numbers: Any
    """As in block_places."""
    floats: Any
    """Operands, weights and sums, as `Parts` says."""
    cells: Any
    """A block of keys and values as the vector code wants them, in the cache's element type."""
    scales: Any
    """(128,) bf16 bits: scales of a block's keys, then of its values."""


class Parts(NamedTuple):
    """Where in the floats of a tile its parts begin (operands of queries at 0), and how wide its values are."""

    weights: int
    state: int
    sums: int
    total: int
    end: int
    padded: int
    width: int
    depth: int


@njit(nogil=True, error_model="numpy", **INSIDE)
def _parts(rows: Any, layer: Any) -> Any:
    padded = (rows + ROWS - 1) // ROWS * ROWS
    width = padded_width(layer.head_dim)
    depth = (layer.head_dim + pair_of(layer) - 1) // pair_of(layer)
    weights = padded_width(padded * depth)
    state = weights + padded * WEIGHT_BYTES // 4
    sums = state + padded * STATE
    total = sums + padded * width
    return Parts(weights, state, sums, total, total + total - state, padded, width, depth)


@njit(nogil=True, error_model="numpy", **INSIDE)
def _start_afresh(floats: Any, parts: Any) -> None:
    """Let the rows of a tile have met nothing."""
    floats[parts.sums : parts.total] = np.float32(0)
    for r in range(parts.padded):
        state = parts.state + r * STATE
        floats[state + places.TOP] = np.float32(places.LOWEST)
        floats[state + places.PARTIAL_SUMS : state + places.PARTIAL_SUMS + LANES] = np.float32(0)


@njit(nogil=True, error_model="numpy", **INSIDE)
def _add_shrunk(target: Any, old: Any, source: Any, new: Any) -> None:
    for i in range(target.shape[0]):
        target[i] = target[i] * old + source[i] * new


@njit(nogil=True, error_model="numpy", **INSIDE)
def _fold(target: Any, t: Any, source: Any, s: Any, padded: Any, width: Any) -> None:
    """Add what rows met in one partition (at `s` of `source`) to what they met before (at `t` of `target`)."""
    for r in range(padded):
        t_state, s_state = t + r * STATE, s + r * STATE
        t_sums, s_sums = t + padded * STATE + r * width, s + padded * STATE + r * width
        top = max(target[t_state + places.TOP], source[s_state + places.TOP])
        old = exp_nonpositive(target[t_state + places.TOP] - top)
        new = exp_nonpositive(source[s_state + places.TOP] - top)
        target[t_state + places.TOP] = top
        first = places.PARTIAL_SUMS
        _add_shrunk(target[t_state + first : t_state + first + LANES], old, source[s_state + first :], new)
        _add_shrunk(target[t_sums : t_sums + width], old, source[s_sums:], new)


@njit(nogil=True, error_model="numpy", **INSIDE)
def _keep(floats: Any, at: Any, parts: Any, target: Any) -> None:
    """Copy what the rows of a tile met, which is at `at` of `floats`."""
    for i in range(parts.total - parts.state):
        target[i] = floats[at + i]


@njit(nogil=True, error_model="numpy", **INSIDE)
def _write(tile: Any, head_dim: Any, floats: Any, at: Any, parts: Any, out: Any) -> None:
    """Finish the rows of a tile, whose state is at `at` of `floats`."""
    for r in range(tile.rows):
        weights = at + r * STATE + places.PARTIAL_SUMS
        total = np.float32(0)
        for i in range(LANES):
            total += floats[weights + i]
        start = at + parts.padded * STATE + r * parts.width
        sums = floats[start : start + head_dim]
        column = (tile.head * tile.group + r % tile.group) * head_dim
        target = out[tile.first_row + r // tile.group, column : column + head_dim]
        for d in range(head_dim):
            # A sum of -0 is one of 0: which it is can depend on how many weights of 0 it met.
            target[d] = rounded(out, sums[d] / total + np.float32(0))


@njit(nogil=True, error_model="numpy", **INSIDE)
def _set_bounds(tile: Any, base: Any, first_row: Any, numbers: Any) -> Any:
    """Note what ROWS rows see of the block at `base`; returns the first position any of them sees, and the end."""
    low, high = KEY_BLOCK, 0
    for i in range(ROWS):
        position = tile.position + (first_row + i) // tile.group
        first = max(0, position - tile.window + 1 - base) if tile.window > 0 else 0
        stop = min(KEY_BLOCK, position + 1 - base) if first_row + i < tile.rows else 0
        if first >= stop:
            first, stop = 0, 0
        else:
            low, high = min(low, first), max(high, stop)
        numbers[places.BOUNDS + 2 * i], numbers[places.BOUNDS + 2 * i + 1] = first, stop
    return low, high


@njit(nogil=True, error_model="numpy", **INSIDE)
def _meet_block(tile: Any, layer: Any, base: Any, space: Any, parts: Any) -> None:
    """Let the queries of a tile meet the block at `base`, which `find_block` found."""
    pair, numbers, memory = pair_of(layer), space.numbers.ctypes.data, space.floats.ctypes.data
    earliest = tile.position + tile.queries - tile.window if tile.window > 0 else 0
    whole = np.int64(earliest <= base and tile.position + 1 >= base + KEY_BLOCK)
    low, high = 0, KEY_BLOCK
    for r in range(0, tile.rows, ROWS):
        if not whole:
            low, high = _set_bounds(tile, base, r, space.numbers)
            if low >= high:
                continue
        state, sums = memory + 4 * (parts.state + r * STATE), memory + 4 * (parts.sums + r * parts.width)
        weights = memory + 4 * parts.weights + r * WEIGHT_BYTES
        q = memory + 4 * r * parts.depth
        weigh_block(layer.pages, numbers, q, 4 * parts.depth, parts.depth, state, weights, whole)
        steps = (high + pair - 1) // pair
        add_values(layer.pages, numbers, parts.width, low // pair, steps, state, weights, sums, 4 * parts.width)


@njit(nogil=True, error_model="numpy", **INSIDE)
def _attend(q: Any, layer: Any, table: Any, tile: Any, scale: Any, space: Any, parts: Any) -> Any:
    """Let a tile meet all it sees of [start, stop); returns where in `space.floats` its state is."""
    floats = space.floats
    floats[: parts.weights] = np.float32(0)
    for r in range(tile.rows):
        source = q[tile.first_row + r // tile.group]
        column = (tile.head * tile.group + r % tile.group) * layer.head_dim
        query = source[column : column + layer.head_dim]
        load_query(query, scale, space, r * parts.depth, parts.state + r * STATE, layer.pages)
    last = min(tile.stop, tile.position + tile.queries) - 1
    earliest = max(tile.start, tile.position - tile.window + 1 if tile.window > 0 else 0)
    begin = earliest // KEY_BLOCK * KEY_BLOCK
    is_folded = False
    _start_afresh(floats, parts)
    for base in range(begin, last + 1, KEY_BLOCK):
        if base % PARTITION == 0 and base > begin:
            _close_partition(floats, parts, is_folded)
            is_folded = True
            _start_afresh(floats, parts)
        find_block(layer, table, tile.head, base, max(0, earliest - base), min(KEY_BLOCK, last + 1 - base), last, space)
        _meet_block(tile, layer, base, space, parts)
    if is_folded:
        _close_partition(floats, parts, is_folded)
    return parts.total if is_folded else parts.state


@njit(nogil=True, error_model="numpy", **INSIDE)
def _close_partition(floats: Any, parts: Any, is_folded: Any) -> None:
    """Add what was met since the last partition to the total, which it becomes if it is the first."""
    if is_folded:
        _fold(floats, parts.total, floats, parts.state, parts.padded, parts.width)
    else:
        # Number by number: assigning a slice to a slice compiles two seconds of checks and their messages.
        for i in range(parts.total - parts.state):
            floats[parts.total + i] = floats[parts.state + i]


@njit(nogil=True, error_model="numpy", **INSIDE)
def _tile(item: Any, layer: Any, window: Any, group: Any) -> Any:
    queries, position, part = item[3], item[4], item[6]
    start = max(0, part) * PARTITION
    stop = position + queries if part < 0 else start + PARTITION
    return Tile(item[1], item[2], queries, position, window, group, queries * group, start, stop)


@njit(nogil=True, error_model="numpy", inline="always")
def attend(
    q: Any,
    layer: Any,
    tables: Any,
    items: Any,
    turn: Any,
    partials: Any,
    spaces: Any,
    thread: Any,
    window: Any,
    scale: Any,
    out: Any,
) -> Any:
    """Take items, whose counters are from address `turn` on, until there are none; returns how many it was.

    Everything else is as `paged_attention` takes it; `thread` says whose scratch to use.
    """
    threads = spaces.numbers.shape[0]
    group = q.shape[1] // (layer.kv_heads * layer.head_dim)
    space = Space(spaces.numbers[thread], spaces.floats[thread], spaces.cells[thread], spaces.scales[thread])
    count = 0
    taken = take_near(turn, thread, threads, items.shape[0])
    while taken < items.shape[0]:
        tile = _tile(items[taken], layer, window, group)
        parts = _parts(tile.rows, layer)
        at = _attend(q, layer, tables[items[taken, 0]], tile, scale, space, parts)
        if items[taken, 5] < 0:
            _write(tile, layer.head_dim, space.floats, at, parts, out)
        else:
            _keep(space.floats, at, parts, partials[items[taken, 5]])
        count += 1
        taken = take_near(turn, thread, threads, items.shape[0])
    return count


@njit(nogil=True, error_model="numpy", inline="always")
def fold_partials(q: Any, layer: Any, fold: Any, partials: Any, window: Any, out: Any) -> None:
    """Finish a tile that was met partition by partition: `fold` is one row of `folds`."""
    tile = _tile(fold, layer, window, q.shape[1] // (layer.kv_heads * layer.head_dim))
    parts = _parts(tile.rows, layer)
    first = partials[fold[5]]
    for place in range(fold[5] + 1, fold[5] + fold[6]):
        _fold(first, 0, partials[place], 0, parts.padded, parts.width)
    _write(tile, layer.head_dim, first, 0, parts, out)


@njit(parallel=True, nogil=True, cache=CACHED, error_model="numpy")
def paged_attention(
    q: Any,
    layer: Any,
    tables: Any,
    items: Any,
    folds: Any,
    partials: Any,
    turns: Any,
    spaces: Any,
    window: Any,
    scale: Any,
    out: Any,
) -> None:
    """Attention of every tile in `items`; each thread has a part of them, and helps the others when that is done.

    q (rows, heads * head_dim) float32; out the same shape, float32 or bf16 bits; tables (seqs, pages_each) int32; items
    (count, 7) int64 of sequence, key-value head, first row, number of queries, position of the first, and for an item
    that meets one partition only, its place in `partials` and the partition (else -1); folds (count, 7) int64 likewise,
    but the last two are the first place and how many there are; turns (threads, 8) int64, the counters, which may hold
    anything; spaces as Space, with a row for each thread; window 0 is none.
    """
    turns[:, 0] = 0
    for thread in prange(spaces.numbers.shape[0]):
        attend(q, layer, tables, items, address(turns), partials, spaces, np.int64(thread), window, scale, out)
    for i in range(folds.shape[0]):
        fold_partials(q, layer, folds[i], partials, window, out)
