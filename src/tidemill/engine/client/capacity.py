"""How many sequences the engine may have at once, running and waiting, and when there will be room again."""

import collections
import math

from tidemill.core.clock import Clock
from tidemill.core.errors import InvalidRequestError, OverloadedError

_NUM_REMEMBERED = 64
_MIN_RETRY_SECONDS = 1.0
_MAX_RETRY_SECONDS = 60.0


class Capacity:
    """A count of outstanding sequences, refused beyond `limit`: a full queue refuses, it does not wait."""

    def __init__(self, limit: int, clock: Clock) -> None:
        self._limit = limit
        self._clock = clock
        self._outstanding = 0
        self._ends: collections.deque[float] = collections.deque(maxlen=_NUM_REMEMBERED)

    @property
    def outstanding(self) -> int:
        """Sequences that were taken and have not ended."""
        return self._outstanding

    def take(self, count: int) -> None:
        """Make room for `count` sequences of one request, all or none.

        Raises `InvalidRequestError` if they could never fit, `OverloadedError` if they do not fit now.
        """
        if count > self._limit:
            raise InvalidRequestError(
                f"The request asks for {count} sequences (prompts times n), but only {self._limit} may run and wait.",
                param="n",
                next_step="Lower n or send fewer prompts in one request.",
            )
        excess = self._outstanding + count - self._limit
        if excess > 0:
            raise OverloadedError(
                f"The queue is full: {self._outstanding} sequences run and wait, and {self._limit} may.",
                retry_after_seconds=self.retry_after_seconds(excess),
            )
        self._outstanding += count

    def free(self, count: int, *, served: bool) -> None:
        """Give back room; `served` says that the engine really did the work, so that it tells about throughput."""
        assert 0 <= count <= self._outstanding, (count, self._outstanding)
        self._outstanding -= count
        if served:
            self._ends.extend([self._clock()] * count)

    def retry_after_seconds(self, count: int) -> float:
        """Estimate when `count` more sequences will have ended, from how fast the last ones did; 1 to 60 s, whole."""
        if len(self._ends) < 2:
            return _MIN_RETRY_SECONDS
        seconds_each = (self._clock() - self._ends[0]) / len(self._ends)
        return float(math.ceil(min(max(count * seconds_each, _MIN_RETRY_SECONDS), _MAX_RETRY_SECONDS)))
