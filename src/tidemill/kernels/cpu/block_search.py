"""Finds where a block of 64 positions lies: in its pages as they are, or copied to scratch where they do not suit.

Vectors read pages directly if runs of 16 positions lie in one page and 16 columns in one head. Otherwise a block is
copied into the same layout with whole runs. Of values whose first or last pair holds a position nobody may see, that
run is copied.
"""

from typing import Any

import numpy as np
from numba import njit

from tidemill.kernels.cpu import block_places as places
from tidemill.kernels.cpu.block_places import KEY_BLOCK, LANES, RUNS
from tidemill.kernels.cpu.numba_setup import INSIDE


@njit(nogil=True, error_model="numpy", **INSIDE)
def pair_of(layer: Any) -> Any:
    """How many neighbours in depth one step takes: of float32 one, of what is smaller two."""
    return 1 if layer.pages.itemsize == 4 else 2


@njit(nogil=True, error_model="numpy", **INSIDE)
def padded_width(head_dim: Any) -> Any:
    """Columns of a head in whole vectors."""
    return (head_dim + LANES - 1) // LANES * LANES


@njit(nogil=True, error_model="numpy", **INSIDE)
def _locate(layer: Any, table: Any, head: Any, base: Any, skip: Any, count: Any, numbers: Any, at: Any) -> None:
    """Addresses of keys (from numbers[at] on), values and scales; a run nobody sees stands where its neighbour does."""
    size, width = layer.page_size, layer.pages.itemsize
    page_bytes = layer.pages.shape[1] * width
    first, last = skip // LANES, (count - 1) // LANES
    # A division takes as long as eight steps of a product: one a block, and from run to run a step.
    place = base // size
    offset = base - place * size + first * LANES
    while offset >= size:
        place, offset = place + 1, offset - size
    for run in range(RUNS):
        if first < run <= last:
            offset += LANES
            if offset == size:
                place, offset = place + 1, 0
        start = layer.pages.ctypes.data + np.int64(table[place]) * page_bytes
        part = head * layer.head_step
        numbers[at + run] = start + (layer.keys_at + part + offset * layer.key_pair) * width
        numbers[at + places.VALUES + run] = start + (layer.values_at + part + offset * layer.head_dim) * width
        if at == places.KEYS:
            scale = layer.scales_at + head * layer.scale_step + offset
            numbers[places.KEY_SCALES + run] = start + scale * 2
            numbers[places.VALUE_SCALES + run] = start + (scale + size) * 2


@njit(nogil=True, error_model="numpy", **INSIDE)
def _copy_values(
    layer: Any, table: Any, head: Any, base: Any, skip: Any, count: Any, cells: Any, first: Any, width: Any
) -> None:
    """Values of positions [base + skip, base + count) as (64 / pair, width, pair) in `cells`, zeros elsewhere."""
    pair = pair_of(layer)
    cells[first : first + KEY_BLOCK * width] = 0
    for p in range(skip, count):
        page = layer.pages[table[(base + p) // layer.page_size]]
        offset = (base + p) % layer.page_size
        source = layer.values_at + head * layer.head_step + offset % layer.value_pair
        source += offset // layer.value_pair * layer.head_dim * layer.value_pair
        target = first + p // pair * width * pair + p % pair
        for d in range(layer.head_dim):
            cells[target + d * pair] = page[source + d * layer.value_pair]


@njit(nogil=True, error_model="numpy", **INSIDE)
def _copy_run(
    layer: Any, table: Any, head: Any, base: Any, run: Any, skip: Any, count: Any, cells: Any, first: Any
) -> None:
    """Pairs of values of one run, which a page holds in one piece, with zeros for positions outside [skip, count)."""
    size, dim, begin = layer.page_size, layer.head_dim, run * LANES
    page = layer.pages[table[(base + begin) // size]]
    source = layer.values_at + head * layer.head_step + (base + begin) % size * dim
    target = first + begin * dim
    low, high = max(skip, begin) - begin, min(count, begin + LANES) - begin
    for i in range(low // 2 * 2 * dim, (high + 1) // 2 * 2 * dim):
        cells[target + i] = page[source + i]
    if low % 2:
        for d in range(dim):
            cells[target + (low - 1) * dim + 2 * d] = 0
    if high % 2:
        for d in range(dim):
            cells[target + (high - 1) * dim + 2 * d + 1] = 0


@njit(nogil=True, error_model="numpy", **INSIDE)
def _copy_keys(layer: Any, table: Any, head: Any, base: Any, skip: Any, count: Any, space: Any) -> None:
    """Keys as (depth, 64, pair) in scratch, and scales; zeros elsewhere."""
    pair, size, cells = pair_of(layer), layer.page_size, space.cells
    cells[: (layer.head_dim + pair - 1) // pair * KEY_BLOCK * pair] = 0
    space.scales[:] = 0
    for p in range(skip, count):
        number = table[(base + p) // size]
        page, offset = layer.pages[number], (base + p) % size
        source = layer.keys_at + head * layer.head_step + offset * layer.key_pair
        for d in range(layer.head_dim):
            inside = d // layer.key_pair * size * layer.key_pair + d % layer.key_pair
            cells[(d // pair * KEY_BLOCK + p) * pair + d % pair] = page[source + inside]
        if layer.scales.shape[0] > 0:
            at = layer.scales_at + head * layer.scale_step + offset
            space.scales[p] = layer.scales[number, at]
            space.scales[KEY_BLOCK + p] = layer.scales[number, at + size]


@njit(nogil=True, error_model="numpy", **INSIDE)
def _keep_fetching(numbers: Any) -> None:
    """Where no block follows, let this one stand for it."""
    for run in range(2 * RUNS):
        numbers[places.NEXT_KEYS + run] = numbers[run]


@njit(nogil=True, error_model="numpy", **INSIDE)
def find_block(layer: Any, table: Any, head: Any, base: Any, skip: Any, count: Any, last: Any, space: Any) -> None:
    """Say in space.numbers where positions [base + skip, base + count) lie, and where the block after is.

    `last` is the last position that the tile will want.
    """
    numbers, pair, width = space.numbers, pair_of(layer), layer.pages.itemsize
    columns = padded_width(layer.head_dim)
    numbers[places.SKIP], numbers[places.COUNT] = skip, count
    numbers[places.VALUE_STEP] = columns * pair * width
    values_first = (layer.head_dim + pair - 1) // pair * KEY_BLOCK * pair
    values_address = space.cells.ctypes.data + values_first * width
    run_bytes = LANES * columns * width
    if layer.page_size % LANES == 0 and layer.head_dim % LANES == 0:
        numbers[places.KEY_STEP] = layer.page_size * pair * width
        _locate(layer, table, head, base, skip, count, numbers, places.KEYS)
        more = min(KEY_BLOCK, last + 1 - base - KEY_BLOCK)
        if more > 0:
            _locate(layer, table, head, base + KEY_BLOCK, 0, more, numbers, places.NEXT_KEYS)
        else:
            _keep_fetching(numbers)
        # Integers that nobody sees meet weights of 0; what is no integer may be no number either.
        if width > 1:
            for edge, run in ((skip, skip // LANES), (count, (count - 1) // LANES)):
                if edge % pair:
                    _copy_run(layer, table, head, base, run, skip, count, space.cells, values_first)
                    numbers[places.VALUES + run] = values_address + run * run_bytes
        return
    numbers[places.KEY_STEP] = KEY_BLOCK * pair * width
    _copy_keys(layer, table, head, base, skip, count, space)
    _copy_values(layer, table, head, base, skip, count, space.cells, values_first, columns)
    for run in range(RUNS):
        numbers[places.KEYS + run] = space.cells.ctypes.data + run * LANES * pair * width
        numbers[places.VALUES + run] = values_address + run * run_bytes
        numbers[places.KEY_SCALES + run] = space.scales.ctypes.data + run * LANES * 2
        numbers[places.VALUE_SCALES + run] = numbers[places.KEY_SCALES + run] + KEY_BLOCK * 2
    _keep_fetching(numbers)
