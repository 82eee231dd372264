import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.config.sizes import format_size, parse_size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("4096", 4096),
        ("4096B", 4096),
        ("1k", 1024),
        ("1K", 1024),
        ("1KB", 1000),
        ("2GiB", 2 * 2**30),
        (" 2 gib ", 2 * 2**30),
        ("1.5G", 3 * 2**29),
        ("0.1MB", 100_000),
        ("3TB", 3 * 10**12),
    ],
)
def test_sizes_as_people_write_them(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "G", "-1", "1e9", "1 G iB", "nan", "1,5G", "9" * 40, "٣x"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="expected a size"):
        parse_size(text)


@given(st.integers(0, 2**60))
def test_a_shown_size_is_near_the_size(num_bytes: int) -> None:
    shown = format_size(num_bytes)
    back = parse_size(shown.replace(" bytes", ""))
    assert abs(back - num_bytes) <= max(1, num_bytes * 0.05)
