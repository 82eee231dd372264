from hypothesis import given
from hypothesis import strategies as st

from tidemill.runner.row_buckets import padded_rows


@given(st.integers(1, 70_000), st.sampled_from([None, 1, 16, 64]))
def test_a_bucket_holds_the_rows_and_little_more(num_rows, row_tile):
    padded = padded_rows(num_rows, row_tile)
    tile = row_tile or 1
    assert padded >= num_rows
    assert padded % tile == 0
    assert padded_rows(padded, row_tile) == padded
    whole_tiles = -(-num_rows // tile) * tile
    assert padded <= whole_tiles * 1.25


def test_buckets_are_few():
    assert len({padded_rows(rows, None) for rows in range(1, 4097)}) == 8 + 4 * 9
    assert sorted({padded_rows(rows, 16) for rows in range(1, 129)}) == [16, 32, 48, 64, 80, 96, 112, 128]
