"""`serve`: one server from its settings to its exit status. Wires the parts, and takes them down in order."""

import asyncio
import logging
import resource
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from pathlib import Path
from random import SystemRandom
from typing import TextIO, TypeVar

import uvloop

from tidemill.api.app import create_app
from tidemill.api.keys import ApiKeys
from tidemill.config.settings import Settings
from tidemill.core.backend import BackendState
from tidemill.core.clock import monotonic
from tidemill.engine.client.client import EngineClient
from tidemill.engine.client.events import EngineDied, EngineEvent, EngineLoaded, LoadProgress, StateChanged
from tidemill.models.weights.hub import resolve_model
from tidemill.runtime.announcer import Announcer
from tidemill.runtime.binding import bind, check_exposure, url_of
from tidemill.runtime.bookkeeping import Bookkeeping
from tidemill.runtime.deferred import DeferredBackend
from tidemill.runtime.http_server import HttpServer
from tidemill.runtime.instruments import Instruments
from tidemill.runtime.shutdown import ShutdownSignals
from tidemill.telemetry.logs import configure_logging
from tidemill.text.model_text import ModelText

log = logging.getLogger(__name__)
T = TypeVar("T")


def serve(settings: Settings, *, out: TextIO = sys.stdout) -> int:
    """Serve until a signal; the exit status: 0 after a shutdown in order, 1 if it was cut short.

    Raises `SetupError` if it cannot start.
    """
    configure_logging(settings.log)
    announcer = Announcer(out)
    path = settings.server.api_key_file
    keys = ApiKeys() if path is None else ApiKeys.load(Path(path).expanduser())
    check_exposure(settings.server, keys)
    try:
        with bind(settings.server) as sock:
            _raise_descriptor_limit()
            service = ServiceProcess(settings, keys, sock, announcer)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(service.run())
    finally:
        announcer.settled()


def _raise_descriptor_limit() -> None:
    """Every connection is a descriptor: take as many as this process is allowed."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class ServiceProcess:
    """The running parts of a server."""

    def __init__(self, settings: Settings, keys: ApiKeys, sock: socket.socket, announcer: Announcer) -> None:
        self._settings = settings
        self._keys = keys
        self._announcer = announcer
        self._url = url_of(sock, settings.server)
        self._engine: EngineClient | None = None
        self._instruments = Instruments(settings, engine_pid=self._engine_pid, clock=monotonic)
        self._bookkeeping = Bookkeeping(
            settings.ledger,
            self._instruments.registry,
            model=self._instruments.model_name,
            key_labels=keys.labels,
            wall_clock=time.time,
        )
        self._backend = DeferredBackend()
        app = create_app(
            self._instruments.over(self._backend),
            settings.server,
            keys=keys,
            render_metrics=self._instruments.page,
            clock=monotonic,
            wall_clock=time.time,
            random=SystemRandom(),
            on_refusal=self._instruments.refused,
            on_end=self._instruments.errors.ended,
            footprint_in_answers=settings.ledger.footprint_in_answers,
        )
        self._http = HttpServer(app, settings.server, sock)

    def _engine_pid(self) -> int | None:
        return None if self._engine is None else self._engine.engine_pid

    async def run(self) -> int:
        """Start, serve, and end in order. Raises `SetupError` if the model or its engine cannot start."""
        self._bookkeeping.start()
        with ShutdownSignals() as signals:
            http = asyncio.create_task(self._http.run_until_stopped())
            try:
                if await _unless(signals.asked, self._start()):
                    await asyncio.wait(
                        {http, asyncio.create_task(signals.asked.wait())}, return_when=asyncio.FIRST_COMPLETED
                    )
                in_order = await self._drain(signals)
            finally:
                await self._end(http)
        return 0 if in_order else 1

    async def _start(self) -> None:
        settings = self._settings
        folder = await _in_thread(self._fetch)
        text = await _in_thread(lambda: ModelText.load(folder))
        self._engine = EngineClient(
            settings,
            folder,
            text,
            on_step=self._instruments.engine.step,
            on_event=self._on_event,
            on_outcome=self._instruments.promises.outcome,
            accounts=self._bookkeeping.accounts,
        )
        await self._engine.start()
        self._backend.become(self._engine)
        await self._engine.wait_ready()
        self._announcer.ready(self._url, self._engine.models()[0], needs_key=self._keys.required)

    def _fetch(self) -> Path:
        model = self._settings.model
        return resolve_model(model.model, revision=model.revision, offline=model.offline, progress=self._announcer.say)

    async def _drain(self, signals: ShutdownSignals) -> bool:
        """Refuse what is new, let what runs finish; False if a second signal cut it short."""
        self._backend.end()
        if self._engine is None:
            return True
        log.info("draining", extra={"fields": {"num_outstanding": self._engine.num_outstanding}})
        return await _unless(signals.insisted, self._engine.drain(self._settings.server.drain_seconds))

    async def _end(self, http: "asyncio.Task[None]") -> None:
        is_cut_short = self._engine is None or self._engine.num_outstanding > 0
        if self._engine is not None and is_cut_short:
            await self._engine.stop()
        self._http.stop()
        try:
            await http
        finally:
            if self._engine is not None:
                await self._engine.stop()
            await asyncio.to_thread(self._bookkeeping.stop)

    def _on_event(self, event: EngineEvent) -> None:
        match event:
            case LoadProgress(stage, fraction):
                self._announcer.progress(stage, fraction)
            case StateChanged(state, detail):
                self._instruments.state(state)
                # An engine that stops before any was ready could not start: the error that ends the start says why.
                told = "The engine is stopped." if state is BackendState.STOPPED else detail
                log.info(told, extra={"fields": {"state": state.value}})
            case EngineLoaded(start, info):
                self._announcer.settled()
                self._instruments.loaded(info)
                fields = {"start": start, "load_seconds": round(info.load_seconds, 3)}
                log.info("engine loaded", extra={"fields": fields})
            case EngineDied(reason, num_failed, restart_in):
                self._instruments.engine.ended(is_replaced=restart_in is not None)
                if restart_in is None:
                    return
                facts = {"reason": reason, "num_failed_requests": num_failed, "restart_in_seconds": restart_in}
                log.warning("engine ended", extra={"fields": facts})


async def _unless(event: asyncio.Event, work: Awaitable[None]) -> bool:
    """Wait for `work` unless `event` comes first, which cancels it; whether it was finished."""
    task = asyncio.ensure_future(work)
    waiter = asyncio.create_task(event.wait())
    try:
        await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            return False
        task.result()
        return True
    finally:
        for each in (task, waiter):
            each.cancel()
        await asyncio.gather(task, waiter, return_exceptions=True)


async def _in_thread(work: Callable[[], T]) -> T:
    """`work` in a thread of its own that does not keep the process: a download cannot be told to stop."""
    outcome: Future[T] = Future()

    def run() -> None:
        outcome.set_running_or_notify_cancel()
        try:
            outcome.set_result(work())
        except Exception as error:  # noqa: BLE001 - it is raised again where the result is awaited
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True, name="start").start()
    return await asyncio.wrap_future(outcome)
