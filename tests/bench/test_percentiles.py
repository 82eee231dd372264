"""Statistics against values worked out by hand, and against the standard library."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.bench.percentiles import distribution, percentile, share_interval


def test_percentiles_between_ranks() -> None:
    values = [10.0, 20.0, 30.0, 40.0]
    assert percentile(values, 0.0) == 10.0
    assert percentile(values, 0.5) == 25.0
    assert percentile(values, 0.9) == pytest.approx(37.0)  # rank 2.7: 30 + 0.7 * 10
    assert percentile(values, 1.0) == 40.0
    assert percentile([7.0], 0.99) == 7.0


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=60))
def test_percentiles_agree_with_the_standard_library(values: list[float]) -> None:
    expected = statistics.quantiles(values, n=100, method="inclusive")
    for percent in (50, 90, 95, 99):
        assert percentile(sorted(values), percent / 100) == pytest.approx(expected[percent - 1], abs=1e-6)


def test_a_distribution_is_scaled() -> None:
    found = distribution([0.3, 0.1, 0.2], scale=1e3)
    assert found is not None
    assert (found.count, found.min, found.p50, found.max) == (3, 100.0, 200.0, pytest.approx(300.0))
    assert found.mean == pytest.approx(200.0)
    assert distribution([]) is None


def test_the_interval_of_a_share() -> None:
    # Wilson, worked out by hand for 8 of 10: centre 0.7166, half width 0.2264.
    low, high = share_interval(8, 10)
    assert low == pytest.approx(0.4902, abs=1e-3)
    assert high == pytest.approx(0.9433, abs=1e-3)
    assert share_interval(0, 0) == (0.0, 1.0)


@given(st.integers(1, 1000), st.integers(0, 1000))
def test_the_interval_holds_the_share(number: int, met: int) -> None:
    met = min(met, number)
    low, high = share_interval(met, number)
    assert 0.0 <= low <= met / number + 1e-12
    assert met / number - 1e-12 <= high <= 1.0
