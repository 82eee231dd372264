"""Paged attention on a CPU, prompts and decode steps alike: one arithmetic for a query whatever shares its step.

Work is cut into tiles of a few neighbouring queries and one key-value head. Keys are met in blocks aligned to absolute
positions, in ascending order, so neither the cut of a prompt into chunks nor the page size can change a bit.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit, prange

from tidemill.kernels.cpu import numba_setup
from tidemill.kernels.cpu.element import EXACT, rounded
from tidemill.kernels.cpu.softmax import KEY_BLOCK, LOWEST, weigh_block
from tidemill.kernels.cpu.tile_product import ROWS, tile_product
from tidemill.kernels.cpu.vector_code import LANES
from tidemill.kernels.cpu.widen import widen

CACHED = numba_setup.configure()
MAX_TILE_ROWS = 48
"""Rows (queries times heads of a group) of one tile, which share a loaded key block. Not part of the arithmetic."""


class Layer(NamedTuple):
    """One layer's cache: pages (num_pages, elements), and where in a page its keys and values begin."""

    pages: Any
    keys_at: int
    values_at: int
    kv_heads: int
    head_dim: int
    page_size: int


class Tile(NamedTuple):
    """One item of work: `queries` rows from `first_row` on, the first at `position`; rows = queries * group."""

    head: int
    first_row: int
    queries: int
    position: int
    window: int
    group: int
    rows: int


class Places(NamedTuple):
    """Where in the scratch of a tile its parts begin (the queries begin at 0), and how wide its values are."""

    keys: int
    values: int
    scores: int
    sums: int
    lanes: int
    tops: int
    end: int
    width: int


@njit(nogil=True)
def _places(rows: Any, head_dim: Any) -> Any:
    width = (head_dim + LANES - 1) // LANES * LANES
    padded = (rows + ROWS - 1) // ROWS * ROWS
    keys = padded * head_dim
    values = keys + head_dim * KEY_BLOCK
    scores = values + KEY_BLOCK * width
    sums = scores + padded * KEY_BLOCK
    lanes = sums + padded * width
    tops = lanes + padded * LANES
    return Places(keys, values, scores, sums, lanes, tops, tops + padded, width)


@njit(nogil=True)
def _load_block(layer: Any, table: Any, head: Any, base: Any, skip: Any, count: Any, at: Any, scratch: Any) -> None:
    """Widen positions [base + skip, base + count) into scratch: keys (head_dim, 64), values (64, width)."""
    size, head_dim = layer.page_size, layer.head_dim
    first = head * head_dim * size
    done = skip
    while done < count:
        page = layer.pages[table[(base + done) // size]]
        offset = (base + done) % size
        run = min(size - offset, count - done)
        keys, values = layer.keys_at + first + offset, layer.values_at + first + offset * head_dim
        widen(page, keys, size, scratch, at.keys + done, KEY_BLOCK, head_dim, run)
        widen(page, values, head_dim, scratch, at.values + done * at.width, at.width, run, head_dim)
        done += run


@njit(fastmath=EXACT, nogil=True)
def _meet_block(tile: Any, base: Any, skip: Any, count: Any, head_dim: Any, at: Any, scratch: Any) -> None:
    """Let the queries of a tile meet the keys and values that are in scratch: positions [base + skip, base + count)."""
    scratch[at.scores : at.sums] = np.float32(0)
    for r in range(0, tile.rows, ROWS):
        scores = at.scores + r * KEY_BLOCK
        tile_product(scratch, r * head_dim, head_dim, at.keys, KEY_BLOCK, scores, KEY_BLOCK, head_dim, KEY_BLOCK)
    for r in range(tile.rows):
        position = tile.position + r // tile.group
        first = max(0, position - tile.window + 1 - base) if tile.window > 0 else 0
        stop = min(KEY_BLOCK, position + 1 - base)
        scores = at.scores + r * KEY_BLOCK
        if first < stop:
            sums, lanes = at.sums + r * at.width, at.lanes + r * LANES
            weigh_block(scratch, scores, first, stop, at.tops + r, lanes, sums, at.width)
        else:
            scratch[scores : scores + KEY_BLOCK] = np.float32(0)
    for r in range(0, tile.rows, ROWS):
        weights, values = at.scores + r * KEY_BLOCK + skip, at.values + skip * at.width
        sums = at.sums + r * at.width
        tile_product(scratch, weights, KEY_BLOCK, values, at.width, sums, at.width, count - skip, at.width)


@njit(fastmath=EXACT, nogil=True)
def _attend(q: Any, layer: Any, table: Any, tile: Any, scale: Any, out: Any) -> None:
    head_dim = layer.head_dim
    at = _places(tile.rows, head_dim)
    scratch = np.zeros(at.end, np.float32)
    scratch[at.tops : at.end] = np.float32(LOWEST)
    for r in range(tile.rows):
        source = q[tile.first_row + r // tile.group]
        column = (tile.head * tile.group + r % tile.group) * head_dim
        for d in range(head_dim):
            scratch[r * head_dim + d] = source[column + d] * scale
    last = tile.position + tile.queries - 1
    earliest = max(0, tile.position - tile.window + 1) if tile.window > 0 else 0
    for base in range(earliest // KEY_BLOCK * KEY_BLOCK, last + 1, KEY_BLOCK):
        skip, count = max(0, earliest - base), min(KEY_BLOCK, last + 1 - base)
        _load_block(layer, table, tile.head, base, skip, count, at, scratch)
        _meet_block(tile, base, skip, count, head_dim, at, scratch)
    for r in range(tile.rows):
        total = np.float32(0)
        for i in range(LANES):
            total += scratch[at.lanes + r * LANES + i]
        target = out[tile.first_row + r // tile.group]
        column = (tile.head * tile.group + r % tile.group) * head_dim
        for d in range(head_dim):
            target[column + d] = rounded(out, scratch[at.sums + r * at.width + d] / total)


@njit(fastmath=EXACT, parallel=True, nogil=True, cache=CACHED)
def paged_attention(q: Any, layer: Any, tables: Any, work: Any, window: Any, scale: Any, out: Any) -> None:
    """Attention of every tile in `work`.

    q (rows, heads * head_dim) float32; out the same shape, float32 or bf16 bits; tables (seqs, pages_each) int32; work
    (items, 5) int64 of sequence, key-value head, first row, number of queries, position of the first; window 0 is none.
    """
    group = q.shape[1] // (layer.kv_heads * layer.head_dim)
    for i in prange(work.shape[0]):
        tile = Tile(work[i, 1], work[i, 2], work[i, 3], work[i, 4], window, group, work[i, 3] * group)
        _attend(q, layer, tables[work[i, 0]], tile, scale, out)
