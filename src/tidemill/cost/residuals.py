"""Quantiles of the last ratios of outcome to prediction. Owns a window of them, in order of age and of size."""

import collections
import math
from bisect import bisect_left, insort

WINDOW = 1024
_MIN_KNOWN = 134
"""From so many on, the 99th percentile is one of them and not the largest."""
_NUM_ASSUMED = 8
"""While fewer are known, so many more are reckoned with that are as was thought before."""
_QUANTILE = 0.9925
"""Aimed at a little beyond 99 %: of 1,024 ratios, this order statistic is exceeded by 0.2 to 1.6 % of what follows."""


class RatioWindow:
    """The last `size` ratios."""

    def __init__(self, size: int = WINDOW) -> None:
        self._size = size
        self._by_age: collections.deque[float] = collections.deque()
        self._by_size: list[float] = []

    def __len__(self) -> int:
        return len(self._by_age)

    def add(self, ratio: float) -> None:
        """Take in the newest ratio and, when the window is full, drop the oldest."""
        if len(self._by_age) == self._size:
            del self._by_size[bisect_left(self._by_size, self._by_age.popleft())]
        self._by_age.append(ratio)
        insort(self._by_size, ratio)

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

    def values(self) -> tuple[float, ...]:
        """All of them, oldest first."""
        return tuple(self._by_age)
