"""To how many rows a step is padded: a few sizes, so that compiled and packed primitives stay few."""


def padded_rows(num_rows: int, row_tile: int | None) -> int:
    """The smallest bucket that holds `num_rows`: four to an octave, in whole tiles, so at most a fifth is padding.

    With a tile every bucket is a multiple of it; without one (fast math) the unit is a single row.
    """
    assert num_rows > 0, num_rows
    unit = row_tile or 1
    tiles = -(-num_rows // unit)
    step = 1 << max(0, (tiles - 1).bit_length() - 3)
    return -(-tiles // step) * step * unit
