"""Keeps one engine alive: starts it, listens, judges its silence, kills it, starts it again. It knows no requests."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Protocol

from tidemill.config.settings import EngineSettings
from tidemill.core import errors
from tidemill.core.backend import BackendState, Health
from tidemill.core.clock import Clock
from tidemill.core.errors import SetupError
from tidemill.engine.client.backoff import Backoff
from tidemill.engine.client.connection import Connection
from tidemill.engine.client.return_time import ReturnTime
from tidemill.engine.client.vitals import Verdict, Vitals
from tidemill.engine.protocol import (
    Books,
    Boot,
    EngineInfo,
    Fatal,
    FrameError,
    FromEngine,
    Loading,
    Ready,
    Shutdown,
    StepOutput,
)

logger = logging.getLogger(__name__)

MAX_FIRST_STARTS = 3
"""How often an engine that has never been ready is tried before the start is given up."""
_LAST_WORDS_SECONDS = 2.0
_SHUTDOWN_SECONDS = 3.0


class Process(Protocol):
    """A started engine; `process.EngineProcess` is the real one."""

    sock: socket.socket

    @property
    def pid(self) -> int:
        """The process id."""
        ...

    async def wait(self) -> str:
        """Wait for the end, and say how it came."""
        ...

    async def kill(self) -> str:
        """End it, and say how it ended."""
        ...


class Listener(Protocol):
    """Who is told what the engine does. Called on the event loop; must not block."""

    def engine_loading(self, stage: str, fraction: float) -> None:
        """The engine is starting: `fraction` in 0..1 of a stage."""
        ...

    def engine_ready(self, connection: Connection, info: EngineInfo) -> None:
        """The engine takes submissions on `connection`."""
        ...

    def engine_stepped(self, frame: StepOutput) -> None:
        """The engine computed a step."""
        ...

    def engine_booked(self, frame: Books) -> None:
        """The engine closed an interval of its meter."""
        ...

    def engine_died(self, reason: str, restart_in_seconds: float | None) -> None:
        """The engine is gone, and nothing more comes from it; None: and there will be no other."""
        ...

    def state_changed(self, health: Health) -> None:
        """The state is another than it was last told."""
        ...


class Supervisor:
    """The life of an engine, over and over. `epoch` numbers its starts."""

    def __init__(
        self,
        boot: Callable[[int], Boot],
        settings: EngineSettings,
        listener: Listener,
        *,
        spawn: Callable[[], Awaitable[Process]],
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._boot = boot
        self._settings = settings
        self._listener = listener
        self._spawn = spawn
        self._clock = clock
        self._sleep = sleep
        self._backoff = Backoff(settings.restart_backoff_seconds, clock)
        self._epoch = 0
        self._state = BackendState.STARTING
        self._detail = "The engine is starting."
        self._announced: BackendState | None = None
        self._vitals: Vitals | None = None
        self._is_ready = False
        self._return_time = ReturnTime(clock)
        self._fatal: Fatal | None = None
        self._connection: Connection | None = None
        self._process: Process | None = None
        self._is_stopping = False
        self._first_ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(), name="engine-supervisor")

    @property
    def epoch(self) -> int:
        """The number of the engine's present start, from 1."""
        return self._epoch

    @property
    def pid(self) -> int | None:
        """The engine's process id, while there is one."""
        return self._process.pid if self._process is not None else None

    async def wait_ready(self) -> None:
        """Wait for the first engine to be ready. Raises `SetupError` if it cannot start."""
        await asyncio.shield(self._first_ready)

    def health(self) -> Health:
        """The state now, judged by the silence up to this moment."""
        if self._is_ready and self._vitals is not None and self._vitals.verdict() is not Verdict.ALIVE:
            silence = max(self._vitals.silence_seconds, self._vitals.loop_age_seconds)
            return Health(state=BackendState.STALLED, detail=f"The engine has been silent for {silence:.0f} s.")
        return Health(state=self._state, detail=self._detail)

    def retry_seconds(self) -> float:
        """When to ask again, while there is no engine: when the next is ready, if it starts as fast as the last one."""
        return self._return_time.retry_seconds()

    async def stop(self) -> None:
        """Ask the engine to exit, give it a moment, then kill it. Safe to call twice."""
        self._is_stopping = True
        if self._connection is not None:
            self._connection.send(Shutdown())
            await asyncio.wait({self._task}, timeout=_SHUTDOWN_SECONDS)
        self._task.cancel()
        await asyncio.wait({self._task})
        if not self._first_ready.done():
            self._first_ready.set_exception(SetupError("The engine was stopped before it was ready."))
        self._first_ready.exception()
        self._enter(BackendState.STOPPED, "The engine is stopped.")

    async def _run(self) -> None:
        self._announce()
        while True:
            reason = await self._lifetime()
            if self._is_stopping:
                return
            if (error := self._start_failure(reason)) is not None:
                self._enter(BackendState.STOPPED, str(error))
                self._listener.engine_died(reason, None)
                self._first_ready.set_exception(error)
                # Marked as retrieved: whoever waits gets it, and without a waiter the event has said it.
                self._first_ready.exception()
                return
            wait = self._backoff.died()
            logger.error("The engine died: %s. It is started again in %.1f s.", reason, wait)
            state = BackendState.RESTARTING if self._first_ready.done() else BackendState.STARTING
            self._return_time.died(wait)
            self._enter(state, f"The engine died: {reason}; it is being started again.")
            self._listener.engine_died(reason, wait)
            await self._sleep(wait)

    def _start_failure(self, reason: str) -> SetupError | None:
        """The error that ends the attempt to start at all; None if another try is due."""
        if self._first_ready.done():
            return None
        if self._fatal is not None:
            kind = getattr(errors, self._fatal.kind, None)
            if not (isinstance(kind, type) and issubclass(kind, SetupError)):
                kind = SetupError
            return kind(self._fatal.message, next_step=self._fatal.next_step)
        if self._backoff.num_failures + 1 >= MAX_FIRST_STARTS:
            return SetupError(
                f"The engine could not be started in {MAX_FIRST_STARTS} attempts: {reason}.",
                next_step="Look at the engine's lines in the log; a kill usually means that memory ran out.",
            )
        return None

    async def _lifetime(self) -> str:
        """How one engine's life ended. What fails on this side of it ends it too, or nobody would watch the next."""
        try:
            return await self._live()
        except Exception as error:
            logger.exception("The supervision of the engine failed.")
            return f"its supervision failed ({error})"

    async def _live(self) -> str:
        """Start one engine, watch it to its end, and say how it ended. Leaves no process, socket or task behind."""
        self._epoch += 1
        self._fatal = None
        self._return_time.starts()
        try:
            self._process = await self._spawn()
        except OSError as error:
            return f"its process could not be started ({error})"
        try:
            self._connection = await Connection.open(self._process.sock)
            self._vitals = Vitals(self._settings, self._clock)
            self._connection.send(self._boot(self._epoch))
            return await self._watch(self._process, self._connection)
        finally:
            self._is_ready = False
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            await self._process.kill()
            self._process = None

    async def _watch(self, process: Process, connection: Connection) -> str:
        reading = asyncio.create_task(connection.read_all(self._handle), name="engine-frames")
        ticking = asyncio.create_task(self._tick(), name="engine-vitals")
        exiting = asyncio.create_task(process.wait(), name="engine-exit")
        tasks: set[asyncio.Task[str] | asyncio.Task[None]] = {reading, ticking, exiting}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            is_broken = reading.done() and reading.exception() is not None
            if not ticking.done() and not is_broken:
                # An exit and the end of its socket belong together: take the last frames, and the exit status.
                await asyncio.wait({reading, exiting}, timeout=_LAST_WORDS_SECONDS)
            return self._reason(reading, ticking, exiting)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _reason(self, reading: "asyncio.Task[None]", ticking: "asyncio.Task[str]", exiting: "asyncio.Task[str]") -> str:
        if reading.done() and (error := reading.exception()) is not None:
            if not isinstance(error, FrameError):
                logger.error("A frame of the engine could not be handled.", exc_info=error)
            return f"its frames could not be handled ({error})"
        if self._fatal is not None:
            return self._fatal.message.rstrip(".")
        if ticking.done():
            return ticking.result()
        return exiting.result() if exiting.done() else "it closed its socket"

    async def _tick(self) -> str:
        """Judge the engine's silence at intervals; returns why once it counts as dead."""
        vitals = self._vitals
        assert vitals is not None
        while True:
            await self._sleep(vitals.tick_seconds)
            if vitals.tick() is Verdict.DEAD:
                return vitals.cause_of_death()
            self._announce()

    def _handle(self, frame: FromEngine) -> None:
        if frame.epoch != self._epoch:
            raise FrameError(f"a frame of epoch {frame.epoch} in epoch {self._epoch}")
        assert self._vitals is not None
        self._vitals.heard(frame)
        match frame:
            case StepOutput():
                self._listener.engine_stepped(frame)
            case Books():
                self._listener.engine_booked(frame)
            case Loading():
                self._listener.engine_loading(frame.stage, frame.fraction)
            case Ready():
                self._became_ready(frame.info)
            case Fatal():
                self._fatal = frame

    def _became_ready(self, info: EngineInfo) -> None:
        assert self._connection is not None
        self._is_ready = True
        self._return_time.ready()
        self._backoff.ready()
        self._listener.engine_ready(self._connection, info)
        self._enter(BackendState.READY, "The engine is ready.")
        if not self._first_ready.done():
            self._first_ready.set_result(None)

    def _enter(self, state: BackendState, detail: str) -> None:
        self._state, self._detail = state, detail
        self._announce()

    def _announce(self) -> None:
        """Tell the listener if the state is another than it was last told."""
        health = self.health()
        if health.state is not self._announced:
            self._announced = health.state
            self._listener.state_changed(health)
