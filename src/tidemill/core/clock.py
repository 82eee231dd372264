"""Time as an argument: a monotonic clock for durations, and a hand-turned one for tests and simulation."""

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds since an arbitrary start, never going backwards."""

monotonic: Clock = time.monotonic


class VirtualClock:
    """A clock that moves only when told to."""

    def __init__(self, now: float = 0.0) -> None:
        self._now = now

    def __call__(self) -> float:
        """The time now."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move forward by `seconds`, which must not be negative."""
        assert seconds >= 0.0, seconds
        self._now += seconds
