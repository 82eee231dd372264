"""A step's attention cut into items that threads take, and the scratch they compute in. It computes nothing itself."""

from dataclasses import dataclass

import numpy as np

from tidemill.kernels.attention_batch import AttentionBatch
from tidemill.kernels.cpu import block_places as places
from tidemill.kernels.cpu.arrays import Array
from tidemill.kernels.cpu.attention import PARTITION, Space
from tidemill.kernels.cpu.block_places import KEY_BLOCK, LANES, ROWS, STATE, WEIGHT_BYTES
from tidemill.kernels.cpu.paged_layer import PagedLayer

TILE_ROWS = 64
"""Most rows (queries times heads of a group) of one tile, which share a loaded block. Not part of the arithmetic."""
_ITEMS_A_THREAD = 4
"""With fewer items than this for each thread, long contexts are shared out by partition."""
_LINE_BYTES = 64


@dataclass(frozen=True, slots=True)
class AttentionWork:
    """Arguments of `attention.paged_attention` that are the same for each layer of a group."""

    items: Array
    folds: Array
    partials: Array
    turns: Array
    spaces: Space


def share_out(batch: AttentionBatch, layer: PagedLayer, group: int, threads: int) -> AttentionWork:
    """Cut a step into items, the dearest first: what is left to help others with at the end is small."""
    queries = max(1, TILE_ROWS // group)
    tiles = _tiles(batch, queries)
    heads = layer.kv_heads
    reach = tiles[:, 3] + tiles[:, 2] if batch.window is None else np.minimum(tiles[:, 3] + tiles[:, 2], batch.window)
    tiles = tiles[np.argsort(-(tiles[:, 2] * reach), kind="stable")]
    if len(tiles) * heads < _ITEMS_A_THREAD * threads and int(reach.max(initial=0)) > PARTITION:
        items, folds, num_places = _split(tiles, batch.window)
    else:
        items = np.pad(tiles, ((0, 0), (0, 2)), constant_values=-1)
        folds, num_places = np.empty((0, 6), dtype=np.int64), 0
    rows = -(-min(queries, int(tiles[:, 2].max(initial=1))) * group // ROWS) * ROWS
    width = -(-layer.head_dim // LANES) * LANES
    workers = max(1, min(threads, len(items) * heads))
    return AttentionWork(
        items=_for_heads(items, heads, num_places),
        folds=_for_heads(folds, heads, num_places),
        partials=np.empty((num_places * heads, rows * (STATE + width)), dtype=np.float32),
        turns=_lines(workers, 1, np.dtype(np.int64)),
        spaces=_spaces(workers, rows, width, layer),
    )


def _tiles(batch: AttentionBatch, queries: int) -> Array:
    """(tiles, 4) int64: sequence, first row, number of queries, position of the first."""
    lens, contexts = np.array(batch.query_lens), np.array(batch.context_lens_list)
    counts = -(-lens // queries)
    sequence = np.repeat(np.arange(len(lens)), counts)
    done = (np.arange(len(sequence)) - np.repeat(np.cumsum(counts) - counts, counts)) * queries
    first_row = np.repeat(np.cumsum(lens) - lens, counts) + done
    num_queries = np.minimum(queries, lens[sequence] - done)
    return np.stack((sequence, first_row, num_queries, (contexts - lens)[sequence] + done), axis=1).astype(np.int64)


def _split(tiles: Array, window: int | None) -> tuple[Array, Array, int]:
    """Items of one partition each with a place for its result, what is to be folded, and how many places there are."""
    items: list[tuple[int, ...]] = []
    folds: list[tuple[int, ...]] = []
    for sequence, row, queries, position in tiles.tolist():
        earliest = 0 if window is None else max(0, position - window + 1)
        partitions = range(earliest // PARTITION, (position + queries - 1) // PARTITION + 1)
        folds.append((sequence, row, queries, position, len(items), len(partitions)))
        items += [(sequence, row, queries, position, len(items) + i, part) for i, part in enumerate(partitions)]
    return np.array(items, dtype=np.int64), np.array(folds, dtype=np.int64), len(items)


def _for_heads(rows: Array, heads: int, num_places: int) -> Array:
    """Each row once for every key-value head, with the head after its sequence and places of its own."""
    all_rows = np.repeat(rows, heads, axis=0)
    head = np.tile(np.arange(heads), len(rows))
    if num_places:
        all_rows[:, 4] += head * num_places
    return np.ascontiguousarray(np.insert(all_rows, 1, head, axis=1))


def _spaces(threads: int, rows: int, width: int, layer: PagedLayer) -> Space:
    pair = 1 if layer.pages.itemsize == 4 else 2
    depth = -(-layer.head_dim // pair)
    floats = -(-rows * depth // LANES) * LANES + rows * (WEIGHT_BYTES // 4 + 2 * (STATE + width))
    cells = (depth * pair + width) * KEY_BLOCK
    return Space(
        numbers=_lines(threads, places.BOUNDS + 2 * ROWS, np.dtype(np.int64)),
        floats=_lines(threads, floats, np.dtype(np.float32)),
        cells=_lines(threads, cells, layer.pages.dtype),
        scales=_lines(threads, 2 * KEY_BLOCK, np.dtype(np.uint16)),
    )


def _lines(threads: int, size: int, dtype: np.dtype) -> Array:
    """(threads, at least size): each row begins at a cache line of its own."""
    a_line = _LINE_BYTES // dtype.itemsize
    columns = -(-size // a_line) * a_line
    memory = np.empty(threads * columns + a_line, dtype=dtype)
    start = -memory.ctypes.data % _LINE_BYTES // dtype.itemsize
    return memory[start : start + threads * columns].reshape(threads, columns)
