"""Properties of the arrival processes."""

import itertools
import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.bench.arrivals import ArrivalKind, Arrivals, poisson_arrivals_of


def first(arrivals: Arrivals, number: int, seed: int = 0) -> list[float]:
    return list(itertools.islice(arrivals.offsets(random.Random(seed)), number))


@given(
    st.sampled_from(["poisson", "constant", "burst"]), st.floats(0.01, 1e4), st.integers(1, 50), st.integers(0, 2**32)
)
def test_time_never_runs_back(kind: ArrivalKind, rate: float, size: int, seed: int) -> None:
    offsets = first(Arrivals(kind, rate, size), 200, seed)
    assert offsets[0] >= 0
    assert all(a <= b for a, b in itertools.pairwise(offsets))


@given(st.floats(0.1, 1000), st.integers(1, 20))
def test_bursts_keep_the_mean_rate(rate: float, size: int) -> None:
    offsets = first(Arrivals("burst", rate, size), 10 * size + 1)
    assert offsets[-1] == pytest.approx(10 * size / rate)
    assert len(set(offsets)) == 11


def test_constant_gaps_are_equal() -> None:
    assert first(Arrivals("constant", 4.0), 4) == [0.0, 0.25, 0.5, 0.75]


@given(st.integers(0, 2**32))
def test_poisson_gaps_have_the_mean_and_spread_of_an_exponential(seed: int) -> None:
    gaps = [b - a for a, b in itertools.pairwise([0.0, *first(Arrivals("poisson", 5.0), 4000, seed)])]
    # Six standard errors of the mean; the deviation of an exponential is its mean.
    assert statistics.mean(gaps) == pytest.approx(0.2, abs=6 * 0.2 / math.sqrt(4000))
    assert statistics.stdev(gaps) == pytest.approx(0.2, rel=0.2)


def test_the_same_seed_gives_the_same_arrivals() -> None:
    assert first(Arrivals("poisson", 2.0), 20, 7) == first(Arrivals("poisson", 2.0), 20, 7)
    assert first(Arrivals("poisson", 2.0), 20, 7) != first(Arrivals("poisson", 2.0), 20, 8)


@given(st.integers(1, 300), st.floats(0.01, 1000), st.integers(0, 2**32))
def test_a_given_number_arrives_within_its_time(number: int, rate: float, seed: int) -> None:
    offsets = poisson_arrivals_of(number, rate, random.Random(seed))
    assert len(offsets) == number
    assert offsets == sorted(offsets)
    assert offsets[0] >= 0
    assert offsets[-1] <= number / rate
    # The same pattern at twice the rate, in half the time.
    assert poisson_arrivals_of(number, rate * 2, random.Random(seed)) == pytest.approx([o / 2 for o in offsets])


def test_gaps_of_a_given_number_are_exponential() -> None:
    gaps = [b - a for a, b in itertools.pairwise(poisson_arrivals_of(4000, 5.0, random.Random(1)))]
    assert statistics.mean(gaps) == pytest.approx(0.2, rel=0.01)
    assert statistics.stdev(gaps) == pytest.approx(0.2, rel=0.1)
