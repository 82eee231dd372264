"""How many requests are open, and the room their sequences take: who comes in, and when all are gone."""

import asyncio
from collections.abc import Callable

from tidemill.core.clock import Clock
from tidemill.core.errors import OverloadedError
from tidemill.core.requests import GenerationRequest
from tidemill.engine.client.capacity import Capacity
from tidemill.engine.client.promise import Promise

_OPEN_REQUESTS_PER_SEQUENCE = 4
"""Requests that may be open for each sequence the engine may have: those whose readers have yet to take the end."""


class OpenRequests:
    """At most `limit` sequences in the engine, and a few times as many open requests."""

    def __init__(self, limit: int, promise: Promise, clock: Clock, *, is_congested: Callable[[], bool]) -> None:
        self._capacity = Capacity(limit, clock)
        self._promise = promise
        self._is_congested = is_congested
        self._max_open = limit * _OPEN_REQUESTS_PER_SEQUENCE
        self._num_open = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def num_outstanding(self) -> int:
        """Sequences that were taken and have not ended."""
        return self._capacity.outstanding

    def enter(self, request: GenerationRequest, count: int) -> None:
        """Take in a request of `count` sequences. Raises `OverloadedError`; `InvalidRequestError` if it never fits."""
        try:
            self._require_room(count)
            self._promise.check_share(request.tenant, count)
            self._capacity.take(count)
        except OverloadedError:
            self._promise.refused(request)
            raise
        self._num_open += 1
        self._idle.clear()

    def leave(self, num_held: int) -> None:
        """A request is over, with room for `num_held` sequences that never came to the engine."""
        self._capacity.free(num_held, served=False)
        self._num_open -= 1
        if not self._num_open:
            self._idle.set()

    def ended(self, count: int, *, served: bool) -> None:
        """`count` sequences have ended; `served` says that the engine did all their work."""
        self._capacity.free(count, served=served)

    async def wait_idle(self) -> None:
        """Wait until no request is open."""
        await self._idle.wait()

    def _require_room(self, count: int) -> None:
        if self._num_open >= self._max_open or self._is_congested():
            raise OverloadedError(
                f"Too many requests are open: {self._num_open}.",
                retry_after_seconds=self._capacity.retry_after_seconds(count),
            )
