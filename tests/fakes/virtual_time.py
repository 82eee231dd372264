"""A clock and its `sleep` for event loops: time passes only when a test says so."""

import asyncio
import heapq
import itertools


class VirtualTime:
    """Call it for the time; give `sleep` to what sleeps; `await advance(seconds)` to let time pass."""

    def __init__(self) -> None:
        self._now = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def __call__(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Return once `seconds` of this time have passed."""
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), wake))
        await wake

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass, waking sleepers at their times, in order; each runs until it waits again."""
        end = self._now + seconds
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, wake = heapq.heappop(self._sleepers)
            self._now = max(self._now, due)
            if not wake.done():
                wake.set_result(None)
            await settle()
        self._now = end
        await settle()

    def jump(self, seconds: float) -> None:
        """Let time pass that nobody notices: no sleeper wakes before the next `advance`."""
        self._now += seconds


async def settle() -> None:
    """Let every task that can run do so, some turns of the event loop deep."""
    for _ in range(20):
        await asyncio.sleep(0)
