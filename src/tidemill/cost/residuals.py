"""Quantiles of the last ratios of outcome to prediction. Owns a window of them, in order of age and of size."""

import collections
from bisect import bisect_left, insort

_WINDOW = 1024
_MIN_KNOWN = 64
_QUANTILE = 0.9925
"""Aimed at a little beyond 99 %: of 1,024 ratios, this order statistic is exceeded by 0.2 to 1.6 % of what follows."""


class RatioWindow:
    """The last `_WINDOW` ratios."""

    def __init__(self) -> None:
        self._by_age: collections.deque[float] = collections.deque()
        self._by_size: list[float] = []

    def __len__(self) -> int:
        return len(self._by_age)

    def add(self, ratio: float) -> None:
        """Take in the newest ratio and, when the window is full, drop the oldest."""
        if len(self._by_age) == _WINDOW:
            del self._by_size[bisect_left(self._by_size, self._by_age.popleft())]
        self._by_age.append(ratio)
        insort(self._by_size, ratio)

    def p99(self, unknown: float) -> float:
        """The calibrated 99th percentile, at least 1; while few are known, `unknown` or the largest of them."""
        return self.quantile(_QUANTILE, unknown)

    def quantile(self, share: float, unknown: float) -> float:
        """What `share` of the ratios keep within, at least 1; while few are known, as `p99`."""
        if len(self._by_size) < _MIN_KNOWN:
            return max([unknown, *self._by_size[-1:]])
        return max(1.0, self._by_size[int(share * len(self._by_size))])

    def median(self) -> float:
        """The middle one; 1 while none is known."""
        return self._by_size[len(self._by_size) // 2] if self._by_size else 1.0

    def values(self) -> tuple[float, ...]:
        """All of them, oldest first."""
        return tuple(self._by_age)
