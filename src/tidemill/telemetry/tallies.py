"""Metrics for what is counted by token and by step: one thread writes them, without a lock, by an addition.

The client library's own take a lock at every change. Whoever scrapes may do so from another thread: each number is
whole there, if not all of them of the same moment.
"""

import itertools
import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Count:
    """What only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        """Add `amount`, which must not be negative."""
        self.value += amount


class Level:
    """What goes up and down."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def set(self, value: float) -> None:
        """It is `value` now."""
        self.value = value


class Spread:
    """How many values were up to each of `bounds`, which ascend, and beyond the last; and their sum."""

    __slots__ = ("_bounds", "_counts", "_names", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._names = [str(floatToGoString(bound)) for bound in (*bounds, math.inf)]  # type: ignore[no-untyped-call]
        self._counts = [0] * len(self._names)
        self.sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """`value` has come, so many `times`."""
        self._counts[bisect_left(self._bounds, value)] += times
        self.sum += value * times

    def buckets(self) -> Iterator[tuple[str, float]]:
        """Upper bounds as Prometheus writes them, and how many values were up to each."""
        return zip(self._names, itertools.accumulate(map(float, self._counts)), strict=True)


class Tallies:
    """Makes such metrics on a registry, all with the same `labels`. Names of counters are without their suffix."""

    def __init__(self, registry: CollectorRegistry, labels: Mapping[str, str]) -> None:
        self._registry = registry
        self._labels = dict(labels)

    def count(self, name: str, documentation: str) -> Count:
        """A counter."""
        made = Count()
        self._registry.register(_Numbers(CounterMetricFamily, name, documentation, [(self._labels, made)]))
        return made

    def counts(self, name: str, documentation: str, label: str, values: Iterable[str]) -> tuple[Count, ...]:
        """Counters of one name, one for each of the `values` of a further label, in order."""
        made = [({**self._labels, label: value}, Count()) for value in values]
        self._registry.register(_Numbers(CounterMetricFamily, name, documentation, made))
        return tuple(each for _, each in made)

    def level(self, name: str, documentation: str) -> Level:
        """A gauge."""
        made = Level()
        self._registry.register(_Numbers(GaugeMetricFamily, name, documentation, [(self._labels, made)]))
        return made

    def spread(self, name: str, documentation: str, bounds: Sequence[float]) -> Spread:
        """A histogram with buckets up to each of `bounds`, and one beyond them."""
        made = Spread(bounds)
        self._registry.register(_Histogram(name, documentation, self._labels, made))
        return made


class _Numbers(Collector):
    """Series of one name that are a number each."""

    def __init__(
        self,
        kind: type[CounterMetricFamily | GaugeMetricFamily],
        name: str,
        documentation: str,
        series: Sequence[tuple[Mapping[str, str], Count | Level]],
    ) -> None:
        self._kind = kind
        self._name = name
        self._documentation = documentation
        self._series = series

    def collect(self) -> Iterator[Metric]:
        """As they are now."""
        metric = self._kind(self._name, self._documentation, labels=tuple(self._series[0][0]))
        for labels, number in self._series:
            metric.add_metric(tuple(labels.values()), number.value)
        yield metric

    describe = collect


class _Histogram(Collector):
    """One series that is a histogram."""

    def __init__(self, name: str, documentation: str, labels: Mapping[str, str], spread: Spread) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self._spread = spread

    def collect(self) -> Iterator[Metric]:
        """As it is now."""
        metric = HistogramMetricFamily(self._name, self._documentation, labels=tuple(self._labels))
        metric.add_metric(tuple(self._labels.values()), list(self._spread.buckets()), self._spread.sum)
        yield metric

    describe = collect
