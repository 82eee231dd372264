"""Quantiles of the last errors of predictions, as ratios or as delays. Owns windows of them, by age and by size."""

import collections
import math
from bisect import bisect_left, insort
from typing import Generic, TypeVar

_WINDOW = 1024
_MIN_KNOWN = 134
"""From so many on, the 99th percentile is one of them and not the largest."""
_NUM_ASSUMED = 8
"""While fewer are known, so many more are reckoned with that are as was thought before."""
_LEAST_RATIO, _MOST_RATIO = 0.01, 100.0
_QUANTILE = 0.9925
"""Aimed at a little beyond 99 %: of 1,024 ratios, this order statistic is exceeded by 0.2 to 1.6 % of what follows."""
_LONG = 0.9
"""So many of the predicted times are shorter than a long one."""
_QUANTILE_OF_TWO = 0.995
"""Of either where the smaller of two counts: it is exceeded more often than each of them."""


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
            self.drop_oldest()
        self._by_age.append(number)
        insort(self._by_size, number)

    def drop_oldest(self) -> None:
        """Forget the oldest number."""
        del self._by_size[bisect_left(self._by_size, self._by_age.popleft())]

    def order_statistic(self, share: float) -> float:
        """What `share` of the numbers keep within; without end while too few are known."""
        numbers = self._by_size
        return numbers[int(share * len(numbers))] if len(numbers) >= _MIN_KNOWN else math.inf

    def values(self) -> tuple[float, ...]:
        """All of them, oldest first."""
        return tuple(self._by_age)


class DelayWindow(_Window):
    """By how many seconds each of the last steps took longer than predicted."""

    def p99(self) -> float:
        """The calibrated 99th percentile; without end while too few are known."""
        return self.order_statistic(_QUANTILE)


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


W = TypeVar("W", bound=_Window)


class _Aging(Generic[W]):
    """A window that loses what is older than `memory_seconds`; while too little is known, than `longest_seconds`."""

    def __init__(self, window: W, memory_seconds: float, longest_seconds: float) -> None:
        self._window = window
        self._memory_seconds = memory_seconds
        self._longest_seconds = longest_seconds
        self._times: collections.deque[float] = collections.deque(maxlen=_WINDOW)

    def add(self, number: float, now: float) -> None:
        self._window.add(number)
        self._times.append(now)

    def at(self, now: float) -> W:
        while self._times and now - self._times[0] > self._most_seconds():
            self._times.popleft()
            self._window.drop_oldest()
        return self._window

    def _most_seconds(self) -> float:
        return self._memory_seconds if len(self._times) > _MIN_KNOWN else self._longest_seconds


class RecentErrors:
    """How far off predictions of the last while were, as shares and in seconds: whichever says less counts.

    Shares are told apart by kind of outcome, for each kind is predicted better or worse. What delays one in a hundred
    is mostly something else that runs here, and asks neither of what kind an outcome is nor how much was predicted: by
    its ratio one of 20 ms would speak ill of one of 100, and by a few of its kind one would wait for hundreds of them.
    But of an outcome that was predicted to take longer than nearly all of those, their delays say too little.

    Nothing is known of what is not tried, so what is older than `memory_seconds` is forgotten, and while too little is
    known, what is older than `longest_seconds`: a bad time must not keep away those who would show that it is over.
    """

    def __init__(self, num_kinds: int, *, memory_seconds: float, longest_seconds: float, unknown_ratio: float) -> None:
        self._unknown_ratio = unknown_ratio
        self._ratios = [_Aging(RatioWindow(), memory_seconds, longest_seconds) for _ in range(num_kinds)]
        self._delays = _Aging(_Window(), memory_seconds, longest_seconds)
        self._predicted = _Aging(_Window(), memory_seconds, longest_seconds)

    def add(self, kind: int, predicted_seconds: float, seconds: float, now: float) -> None:
        """Take in an outcome that was predicted."""
        self._ratios[kind].add(max(_LEAST_RATIO, min(_MOST_RATIO, seconds / predicted_seconds)), now)
        self._delays.add(seconds - predicted_seconds, now)
        self._predicted.add(predicted_seconds, now)

    def num_known(self, kind: int, now: float) -> int:
        """How many outcomes of `kind` tell."""
        return len(self._ratios[kind].at(now))

    def p99_ratio(self, kind: int, now: float) -> float:
        """What 99 of 100 outcomes keep within, over what was predicted of them, at least 1."""
        return self._ratios[kind].at(now).quantile(_QUANTILE_OF_TWO, self._unknown_ratio)

    def late_seconds(self, kind: int, predicted_seconds: float, now: float) -> float:
        """By how much one outcome in a hundred takes longer than `predicted_seconds`, at least 0."""
        by_ratio = (self.p99_ratio(kind, now) - 1.0) * predicted_seconds
        delay = max(0.0, self._delays.at(now).order_statistic(_QUANTILE_OF_TWO))
        long_seconds = self._predicted.at(now).order_statistic(_LONG)
        return min(by_ratio, delay * max(1.0, predicted_seconds / long_seconds))
