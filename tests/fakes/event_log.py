"""Collects an engine client's events, so that tests can await them instead of sleeping."""

import asyncio
from collections.abc import Callable

from tidemill.core.backend import BackendState
from tidemill.core.stats import StepStats
from tidemill.engine.client.events import EngineEvent, StateChanged


class EventLog:
    """Give `on_event` and `on_step` to the client; `await until(...)` what is to happen."""

    def __init__(self) -> None:
        self.events: list[EngineEvent] = []
        self.steps: list[StepStats] = []
        self._changed = asyncio.Event()

    def on_event(self, event: EngineEvent) -> None:
        self.events.append(event)
        self._changed.set()

    def on_step(self, stats: StepStats) -> None:
        self.steps.append(stats)
        self._changed.set()

    def states(self) -> list[BackendState]:
        """The states gone through, in order."""
        return [event.state for event in self.events if isinstance(event, StateChanged)]

    def num_of(self, kind: type) -> int:
        """How many events of a kind there were."""
        return sum(isinstance(event, kind) for event in self.events)

    async def until_steps(self, count: int) -> None:
        """Wait until so many steps have been told."""
        await self.until(lambda: len(self.steps) >= count)

    async def until(self, happened: Callable[[], bool], seconds: float = 20.0) -> None:
        """Wait until an event or a step makes `happened()` true; fails after `seconds`."""
        async with asyncio.timeout(seconds):
            while not happened():
                self._changed.clear()
                await self._changed.wait()

    async def until_state(self, state: BackendState, seconds: float = 20.0) -> None:
        """Wait until `state` is the last one that was entered."""
        await self.until(lambda: self.states()[-1:] == [state], seconds)
