"""What is known of a tail from few errors, from many, and from those of the last while."""

import math
import random

import pytest

from tidemill.cost.residuals import DelayWindow, RatioWindow, RecentErrors


def test_a_window_forgets_the_oldest() -> None:
    window = RatioWindow()
    for number in range(3000):
        window.add(float(number))
    assert len(window) == 1024
    assert window.values()[0] == 1976.0
    assert window.p99(1.0) == pytest.approx(1976 + 0.9925 * 1024, abs=1)
    assert window.median() == 2488.0


def test_of_share_and_seconds_what_says_less_counts() -> None:
    errors = RecentErrors(2, memory_seconds=15.0, longest_seconds=60.0, unknown_ratio=1.3)
    assert errors.late_seconds(0, 1.0, now=0.0) == pytest.approx(0.3)
    for number in range(400):
        predicted = 0.02 if number % 2 else 0.1
        errors.add(0, predicted, predicted + (0.1 if number % 39 == 0 else 0.0), now=0.0)
    assert errors.p99_ratio(0, now=1.0) == pytest.approx(6.0)
    assert errors.late_seconds(0, 0.01, now=1.0) == pytest.approx(0.05), "six times as long"
    assert errors.late_seconds(0, 0.1, now=1.0) == pytest.approx(0.1), "a tenth of a second later, as those were"


def test_what_short_ones_are_late_by_says_little_of_long_ones() -> None:
    errors = RecentErrors(1, memory_seconds=15.0, longest_seconds=60.0, unknown_ratio=1.3)
    for number in range(400):
        errors.add(0, 0.02, 0.03 if number % 40 == 0 else 0.02, now=0.0)
    assert errors.late_seconds(0, 0.02, now=0.0) == pytest.approx(0.01)
    assert errors.late_seconds(0, 1.0, now=0.0) == pytest.approx(0.5)


def test_where_enough_is_known_the_last_seconds_tell() -> None:
    errors = RecentErrors(1, memory_seconds=15.0, longest_seconds=60.0, unknown_ratio=1.3)
    for seconds in (0.9, 0.1):
        for _ in range(200):
            errors.add(0, 0.1, seconds, now=1.0 if seconds > 0.5 else 10.0)
    assert errors.p99_ratio(0, now=16.0) == pytest.approx(9.0)
    assert errors.p99_ratio(0, now=16.1) == 1.0
    assert errors.num_known(0, now=30.0) == 134, "as many as it takes"


def test_a_few_of_a_kind_do_not_outweigh_what_is_known_of_all() -> None:
    errors = RecentErrors(2, memory_seconds=15.0, longest_seconds=60.0, unknown_ratio=1.3)
    for _ in range(20):
        errors.add(1, 0.02, 0.22, now=0.0)
    assert errors.late_seconds(1, 0.02, now=0.0) > 1.0
    for number in range(1100):
        errors.add(0, 0.02, 0.06 if number % 50 == 0 else 0.02, now=1.0)
    assert errors.late_seconds(1, 0.02, now=1.0) == pytest.approx(0.04)
    assert errors.p99_ratio(1, now=1.0) > 50.0, "of its own kind no more is known"


def test_errors_are_forgotten_in_time_and_beyond_a_number() -> None:
    errors = RecentErrors(1, memory_seconds=15.0, longest_seconds=60.0, unknown_ratio=1.3)
    for _ in range(200):
        errors.add(0, 0.1, 0.9, now=0.0)
    for number in range(100):
        errors.add(0, 0.1, 0.1, now=30.0 + 0.001 * number)
    assert errors.p99_ratio(0, now=60.0) == pytest.approx(9.0)
    assert errors.p99_ratio(0, now=60.1) < 1.3
    assert errors.p99_ratio(0, now=1000.0) == pytest.approx(1.3), "as if nothing had been"
    for _ in range(1500):
        errors.add(0, 0.1, 0.1, now=1000.0)
    assert errors.num_known(0, now=1000.0) == 1024
    assert errors.late_seconds(0, 0.1, now=1000.0) == 0.0


def test_a_window_too_small_to_know_a_percentile_is_a_mistake() -> None:
    for window in (RatioWindow, DelayWindow):
        window(134)
        with pytest.raises(AssertionError):
            window(133)


def test_delays_are_without_end_while_few_are_known() -> None:
    window = DelayWindow()
    for number in range(133):
        window.add(float(number))
    assert window.p99() == math.inf
    window.add(133.0)
    assert window.p99() == 132.0


def test_while_few_are_known_the_percentile_is_cautious() -> None:
    window = RatioWindow()
    assert window.p99(1.5) == pytest.approx(1.5)
    assert window.median() == 1.0
    window.add(30.0)
    assert window.p99(1.5) == pytest.approx(1.5), "one stall is no percentile"
    for _ in range(4):
        window.add(3.0)
    assert window.p99(1.5) > 3.0, "several late ones are"


def test_from_few_the_percentile_is_near_that_of_many() -> None:
    rng = random.Random(1)
    found = []
    for _ in range(50):
        window = RatioWindow()
        for _ in range(60):
            window.add(rng.lognormvariate(0.0, 0.1))
        found.append(window.p99(1.3))
    true = math.exp(2.43 * 0.1)
    assert true * 0.9 < sum(found) / len(found) < true * 1.2
