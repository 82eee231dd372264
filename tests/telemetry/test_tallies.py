"""Prometheus reads tallies as it reads the client library's own metrics."""

import math
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from tidemill.telemetry.tallies import Tallies

BOUNDS = (0.5, 1.0, 1.5, 4.0)
VALUES = st.lists(st.one_of(st.sampled_from(BOUNDS), st.floats(-2.0, 8.0)))


def page(registry: CollectorRegistry) -> list[str]:
    """What a scrape gets, but for when series were made, which the library alone tells."""
    lines = generate_latest(registry).decode().splitlines()
    return [line for line in lines if "_created" not in line]


@given(VALUES, st.lists(st.floats(0.0, 8.0)), st.floats(allow_nan=False))
def test_a_scrape_sees_no_difference(spread: list[float], counted: Sequence[float], level: float) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tallies = Tallies(ours, {"model_name": 'a "b"\n'})
    parts = tallies.counts("a_part_seconds", "By part.", "part", ("one", "two"))
    count, gauge = tallies.count("b", "A count."), tallies.level("c", "A level.")
    histogram = tallies.spread("d_seconds", "A histogram.", BOUNDS)
    labels = ('a "b"\n',)
    library_parts = Counter("a_part_seconds", "By part.", ("model_name", "part"), registry=theirs)
    library_parts.labels(*labels, "one")
    library_two = library_parts.labels(*labels, "two")
    library_count = Counter("b", "A count.", ("model_name",), registry=theirs).labels(*labels)
    library_gauge = Gauge("c", "A level.", ("model_name",), registry=theirs).labels(*labels)
    library_histogram = Histogram("d_seconds", "A histogram.", ("model_name",), buckets=BOUNDS, registry=theirs)
    library_histogram.labels(*labels)
    for amount in counted:
        for each in (count, parts[1], library_count, library_two):
            each.inc(amount)
    for each in (gauge, library_gauge):
        each.set(level)
    for value in spread:
        histogram.observe(value)
        library_histogram.labels(*labels).observe(value)
    assert page(ours) == page(theirs)


def test_one_value_may_come_many_times() -> None:
    once, often = (Tallies(CollectorRegistry(), {"a": "b"}).spread("c", "C.", BOUNDS) for _ in range(2))
    for _ in range(3):
        once.observe(0.7)
    often.observe(0.7, 3)
    assert list(once.buckets()) == list(often.buckets())
    assert math.isclose(once.sum, often.sum)


def test_one_name_is_asked_for_alone() -> None:
    registry = CollectorRegistry()
    tallies = Tallies(registry, {"a": "b"})
    tallies.count("mine", "M.").inc()
    tallies.level("other", "O.")
    assert [metric.name for metric in registry.restricted_registry(["mine_total"]).collect()] == ["mine"]
