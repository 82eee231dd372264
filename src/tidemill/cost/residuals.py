"""Quantiles of the last errors of predictions, as ratios or as delays. Owns windows of them, by age and by size."""

import collections
import math
from bisect import bisect_left, insort

_WINDOW = 1024
_MIN_KNOWN = 134
"""From so many on, the 99th percentile is one of them and not the largest."""
_NUM_ASSUMED = 8
"""While fewer are known, so many more are reckoned with that are as was thought before."""
_QUANTILE = 0.9925
"""Aimed at a little beyond 99 %: of 1,024 ratios, this order statistic is exceeded by 0.2 to 1.6 % of what follows."""


class _Window:
    """The last `size` numbers."""

    def __init__(self, size: int = _WINDOW) -> None:
        assert size >= _MIN_KNOWN, "a smaller one would never know enough"
        self._size = size
        self._by_age: collections.deque[float] = collections.deque()
        self._by_size: list[float] = []

    def __len__(self) -> int:
        return len(self._by_age)

    def add(self, number: float) -> None:
        """Take in the newest number and, when the window is full, drop the oldest."""
        if len(self._by_age) == self._size:
            del self._by_size[bisect_left(self._by_size, self._by_age.popleft())]
        self._by_age.append(number)
        insort(self._by_size, number)

    def values(self) -> tuple[float, ...]:
        """All of them, oldest first."""
        return tuple(self._by_age)


class DelayWindow(_Window):
    """By how many seconds each of the last steps took longer than predicted."""

    def p99(self) -> float:
        """The calibrated 99th percentile; without end while too few are known."""
        delays = self._by_size
        return delays[int(_QUANTILE * len(delays))] if len(delays) >= _MIN_KNOWN else math.inf


class RatioWindow(_Window):
    """The last ratios of outcome to prediction."""

    def p99(self, unknown: float) -> float:
        """The calibrated 99th percentile, at least 1; `unknown` while none is known."""
        return self.quantile(_QUANTILE, unknown)

    def quantile(self, share: float, unknown: float) -> float:
        """What `share` of the ratios keep within, at least 1; `unknown` while none is known.

        From a few, it is extrapolated from their 90th percentile as if the tail of the logarithms were exponential: the
        largest of a few is no percentile of many, and one stall would be believed for long.
        """
        ratios = self._by_size
        if len(ratios) >= _MIN_KNOWN:
            return max(1.0, ratios[int(share * len(ratios))])
        power = math.log(1.0 - share) / math.log(0.1)
        assumed = [unknown ** (1.0 / power)] * _NUM_ASSUMED
        ordered = sorted([*ratios, *assumed])
        return max(1.0, math.pow(ordered[int(0.9 * (len(ordered) - 1))], power))

    def median(self) -> float:
        """The middle one; 1 while none is known."""
        return self._by_size[len(self._by_size) // 2] if self._by_size else 1.0
