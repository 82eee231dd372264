"""Where one block of 64 positions lies and what of it is seen, as numbers that compiled code reads by their place.

The block is four runs of 16 positions, each within a page or in scratch. Everything counts in bytes.
"""

LANES = 16
RUNS = 4
KEY_BLOCK = RUNS * LANES
"""Positions that meet a query at once, aligned to absolute positions. Part of the arithmetic, so not a setting."""

KEYS = 0
"""Four addresses: the keys of each run."""
VALUES = 4
"""Four addresses."""
NEXT_KEYS = 8
"""Four addresses of the block after, to be fetched ahead."""
NEXT_VALUES = 12
KEY_SCALES = 16
"""Four addresses; only read where the cache is int8."""
VALUE_SCALES = 20
KEY_STEP = 24
"""From one step of depth to the next."""
VALUE_STEP = 25
"""From one step of positions to the next."""
SKIP = 26
"""First position that any query of the tile sees, counted from the block's beginning."""
COUNT = 27
"""How many positions up to the last that any query sees."""
BOUNDS = 28
"""For each row: the first position it sees and the one after the last, counted from the block's beginning."""

STATE = 32
"""Floats of one row's state."""
TOP = 0
"""In a row's state: the highest score so far."""
SHRINK = 1
"""By how much what came before the latest block shrinks."""
WEIGHT_STEP = 2
"""What one unit of an integer weight is worth in the latest block; int8 only."""
QUERY_STEP = 3
"""What one unit of an integer query is worth; int8 only."""
PARTIAL_SUMS = 16
"""Sixteen partial sums of the weights so far."""
WEIGHT_BYTES = 256
"""From one row's weights to the next."""
ROWS = 4
"""Rows whose totals are in registers at once. Not part of the arithmetic."""
LOWEST = -1e30
"""The highest score of a row that has met nothing."""
MASKED = -3e38
"""The score of what a row does not see: its weight is exactly 0."""
