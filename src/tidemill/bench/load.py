"""Sends requests in a closed or an open loop and keeps their records. Owns the pacing, knows no protocol."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass

from tidemill.bench.exchange_failures import FailureKind
from tidemill.bench.record import RequestRecord
from tidemill.bench.workload import PlannedRequest
from tidemill.core.clock import Clock

Send = Callable[[PlannedRequest, RequestRecord], Awaitable[None]]
"""Sends one request and fills its record; only cancellation is raised."""


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """`users` who each wait for an answer, think, and ask again; who is refused waits as long as the server asks.

    They start evenly spread over `ramp_seconds`. The run ends after `num_requests` or when no request may start any
    more because `duration_seconds` are over; one of the two is given.
    """

    users: int
    num_requests: int | None
    duration_seconds: float | None = None
    ramp_seconds: float = 0.0
    think_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Requests sent at their time, whatever became of those before; at most `max_in_flight` at once."""

    num_requests: int | None
    duration_seconds: float | None = None
    max_in_flight: int = 4096


class Load:
    """One run. The records are complete when `closed` or `open` has returned, in the order they were due."""

    def __init__(self, send: Send, clock: Clock, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._send = send
        self._clock = clock
        self._sleep = sleep
        self._tasks: set[asyncio.Task[None]] = set()
        self._resting: set[asyncio.Task[None]] = set()
        self._num_taken = 0
        self._all_ended = asyncio.Event()
        self._defect: BaseException | None = None
        self._is_sending = True
        self.watchers: list[Callable[[RequestRecord], None]] = []
        self.records: list[RequestRecord] = []
        self.num_in_flight = 0
        self.begin_seconds = 0.0
        self.end_seconds = 0.0

    async def closed(self, plan: ClosedLoop, requests: Iterator[PlannedRequest]) -> None:
        """Run until the plan is done or `stop` was called."""
        self.begin_seconds = self._clock()
        shared = _first(requests, plan.num_requests)
        for number in range(plan.users):
            self._spawn(self._user(number, plan, shared))
        await self._finish()

    async def open(self, plan: OpenLoop, requests: Iterator[PlannedRequest]) -> None:
        """Run until the plan is done or `stop` was called."""
        self.begin_seconds = self._clock()
        self._spawn(self._schedule(plan, _first(requests, plan.num_requests)))
        await self._finish()

    def stop_sending(self) -> None:
        """Send nothing more, and let what is under way finish."""
        self._is_sending = False
        self._wake_resting()

    def stop(self) -> None:
        """Cut everything short; requests under way are recorded as cancelled."""
        for task in list(self._tasks):
            task.cancel()

    async def _user(self, number: int, plan: ClosedLoop, shared: Iterable[PlannedRequest]) -> None:
        if plan.ramp_seconds:
            await self._sleep(plan.ramp_seconds * number / plan.users)
        is_first = True
        for planned in shared:
            if not self._is_sending or self._is_over(plan.duration_seconds):
                return
            self._num_taken += 1
            if self._num_taken == plan.num_requests:
                self._wake_resting()  # there is nothing left for them
            now = self._clock()
            record = RequestRecord(planned.index, now, now, number, is_first)
            await self._one(planned, record)
            is_first = False
            if self._num_taken == plan.num_requests:
                return
            await self._rest(max(plan.think_seconds, record.retry_after_seconds or 0.0), plan.duration_seconds)

    def _wake_resting(self) -> None:
        for task in list(self._resting):
            task.cancel()

    async def _rest(self, seconds: float, duration_seconds: float | None) -> None:
        """Pause, but not beyond the end of the run; `stop_sending` ends it."""
        if duration_seconds is not None:
            seconds = min(seconds, self.begin_seconds + duration_seconds - self._clock())
        if seconds <= 0.0:
            return
        task = asyncio.current_task()
        assert task is not None
        self._resting.add(task)
        try:
            await self._sleep(seconds)
        finally:
            self._resting.discard(task)

    def _is_over(self, duration_seconds: float | None) -> bool:
        return duration_seconds is not None and self._clock() - self.begin_seconds >= duration_seconds

    async def _schedule(self, plan: OpenLoop, requests: Iterable[PlannedRequest]) -> None:
        for planned in requests:
            assert planned.offset_seconds is not None
            if plan.duration_seconds is not None and planned.offset_seconds >= plan.duration_seconds:
                return
            due = self.begin_seconds + planned.offset_seconds
            while (wait := due - self._clock()) > 0:
                await self._sleep(wait)  # again if it ended early: timers may have the grain of a millisecond
            if not self._is_sending:
                return
            record = RequestRecord(planned.index, due, self._clock())
            if self.num_in_flight >= plan.max_in_flight:
                self._refuse(record, plan.max_in_flight)
            else:
                self._spawn(self._one(planned, record))
                self.num_in_flight += 1

    def _refuse(self, record: RequestRecord, max_in_flight: int) -> None:
        record.error = FailureKind.NOT_SENT.value
        record.detail = f"{max_in_flight} requests were under way already."
        record.ended_seconds = record.sent_seconds
        self.records.append(record)
        self._tell(record)

    async def _one(self, planned: PlannedRequest, record: RequestRecord) -> None:
        if record.user is not None:
            self.num_in_flight += 1
        self.records.append(record)
        record.sent_seconds = self._clock()
        try:
            await self._send(planned, record)
        except asyncio.CancelledError:
            record.is_cancelled = True
            raise
        finally:
            record.ended_seconds = self._clock()
            self.num_in_flight -= 1
        self._tell(record)

    def _tell(self, record: RequestRecord) -> None:
        for watcher in self.watchers:
            watcher(record)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and self._defect is None:
            self._defect = error
            self.stop()
        if not self._tasks:
            self._all_ended.set()

    async def _finish(self) -> None:
        """Wait for all tasks, also those that tasks have started. What no task should raise is raised here."""
        try:
            await self._all_ended.wait()
        except asyncio.CancelledError:
            self.stop()
            raise
        finally:
            self.end_seconds = self._clock()
            self.records.sort(key=lambda record: (record.scheduled_seconds, record.index))
        if self._defect is not None:
            raise self._defect


def _first(requests: Iterator[PlannedRequest], number: int | None) -> Iterator[PlannedRequest]:
    """The first `number` of them, drawn only when somebody takes one."""
    if number is None:
        yield from requests
        return
    for _ in range(number):
        planned = next(requests, None)
        if planned is None:
            return
        yield planned
