"""`EngineClient`: the backend over a local engine process. Owns the requests under way and the room for more of them.

Starting, watching and restarting the engine is the supervisor's business; turning tokens into text is the streams'.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

from tidemill.config.settings import Settings
from tidemill.core.backend import BackendState, Health, ModelInfo
from tidemill.core.clock import Clock, monotonic
from tidemill.core.errors import (
    EngineFailedError,
    ModelNotFoundError,
    TidemillError,
    UnavailableError,
)
from tidemill.core.footprint import Outcome
from tidemill.core.requests import Accepted, Delta, GenerationChunk, GenerationRequest
from tidemill.core.stats import PromiseOutcome, StepStats
from tidemill.engine.client.connection import Connection
from tidemill.engine.client.delta_buffer import DeltaBuffer, least_buffer_bytes
from tidemill.engine.client.events import EngineDied, EngineEvent, EngineLoaded, LoadProgress, StateChanged
from tidemill.engine.client.generation import Generation
from tidemill.engine.client.model_info import describe_model, digest_of
from tidemill.engine.client.open_requests import OpenRequests
from tidemill.engine.client.preparation import PromptWork, plan_streams, submissions
from tidemill.engine.client.process import EngineProcess
from tidemill.engine.client.promise import Promise
from tidemill.engine.client.return_time import MIN_RETRY_SECONDS
from tidemill.engine.client.sequence_stream import no_statement
from tidemill.engine.client.supervisor import Process, Supervisor
from tidemill.engine.protocol import Abort, Books, Boot, EngineInfo, SequenceOutput, StepOutput
from tidemill.ledger.accounts import Accounts
from tidemill.text.model_text import ModelText

logger = logging.getLogger(__name__)


def _ignore_step(_: StepStats) -> None:
    return None


def _ignore_event(_: EngineEvent) -> None:
    return None


def _ignore_outcome(_: PromiseOutcome) -> None:
    return None


class EngineClient:
    """Implements `core.backend.Backend` over an engine process of its own.

    Use: `await start()`, `await wait_ready()` (or serve at once: requests are refused until ready), `generate(...)`,
    `await drain(seconds)`, `await stop()`. One event loop; no method may be called from another thread.
    """

    def __init__(
        self,
        settings: Settings,
        model_folder: Path,
        text: ModelText,
        *,
        on_step: Callable[[StepStats], None] = _ignore_step,
        on_event: Callable[[EngineEvent], None] = _ignore_event,
        on_outcome: Callable[[PromiseOutcome], None] = _ignore_outcome,
        accounts: Accounts | None = None,
        clock: Clock = monotonic,
        spawn: Callable[[], Awaitable[Process]] = EngineProcess.spawn,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._folder = model_folder
        self._text = text
        self._on_step = on_step
        self._on_event = on_event
        self._clock = clock
        self._spawn = spawn
        self._sleep = sleep
        self._open: set[Generation] = set()
        self._by_sequence: dict[int, Generation] = {}
        self._last_sequence_id = 0
        self._is_draining = False
        self._is_stopped = False
        self._connection: Connection | None = None
        self._num_starts = 0
        self._engine_seconds = 0.0
        self._digest: str | None = None
        self._models: tuple[ModelInfo, ...] = ()
        self._supervisor: Supervisor | None = None
        self._prompt_work = PromptWork(text, settings.server.max_choices)
        self._promise = Promise(settings, clock, on_outcome)
        # Without a meter nothing is ever charged, and so nothing could be closed.
        self._accounts = None if settings.ledger.meter == "off" else accounts
        self._statement = no_statement if self._accounts is None else self._accounts.statement
        limit = settings.scheduler.max_num_seqs + settings.scheduler.max_queue
        self._requests = OpenRequests(limit, self._promise, clock, is_congested=self._is_congested)

    # -- life ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the engine and return; it loads on its own time, see `wait_ready` and the events."""
        assert self._supervisor is None, "started twice"
        self._digest = await asyncio.to_thread(digest_of, self._folder)
        self._supervisor = Supervisor(
            self._boot, self._settings.engine, self, spawn=self._spawn, clock=self._clock, sleep=self._sleep
        )

    async def wait_ready(self) -> None:
        """Wait until the engine is ready for the first time. Raises `SetupError` if it cannot start."""
        assert self._supervisor is not None, "not started"
        await self._supervisor.wait_ready()

    async def drain(self, seconds: float) -> None:
        """Refuse new requests, give those under way `seconds` to finish, then end the rest with `UnavailableError`."""
        if not self._is_draining:
            self._is_draining = True
            self._on_event(StateChanged(BackendState.DRAINING, self.health().detail))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._requests.wait_idle()
        self._fail_all(UnavailableError("The server is shutting down and could not finish this request in time."))

    async def stop(self) -> None:
        """End what is under way and the engine process. Safe to call at any time, and twice."""
        self._is_stopped = True
        self._fail_all(UnavailableError("The server has stopped."))
        if self._supervisor is not None:
            await self._supervisor.stop()
        if self._accounts is not None:
            self._accounts.settle()
        self._prompt_work.close()

    # -- the backend ---------------------------------------------------------------------------------------------

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationChunk, None]:
        """See `Backend.generate`. Raises `OverloadedError` when the queue is full, `UnavailableError` unless ready."""
        arrival = self._clock()
        self._require_ready()
        self._require_model(request.model)
        count = max(0, len(request.prompts) * request.n)
        self._requests.enter(request, count)
        num_held = count
        generation: Generation | None = None
        try:
            prompts = await self._prompt_work.prepare(request)
            connection = self._require_engine()
            offer = self._promise.offer(request, prompts, arrival)
            prediction = self._promise.admit(offer)
            first_id = self._last_sequence_id + 1
            streams = plan_streams(
                request, prompts, first_id, self._text.tokenizer, arrival, self._clock, self._worked, self._statement
            )
            self._last_sequence_id += len(streams)
            least = least_buffer_bytes(count, request.sampling.num_logprobs)
            buffer = DeltaBuffer(max(self._settings.server.max_stream_buffer_bytes, least))
            generation = Generation(streams, buffer, self._sequences_ended)
            num_held = 0  # from here on the generation gives the room back
            self._open.add(generation)
            if self._accounts is not None:
                lengths = [len(prompt.token_ids) for prompt in prompts]
                self._accounts.opened(request.request_id, request.tenant, first_id, lengths, request.n)
            submits = submissions(request, prompts, first_id, offer.objectives, arrival)
            for submit, prompt in zip(submits, offer.prompts, strict=True):
                self._by_sequence[submit.sequence_id] = generation
                self._promise.submitted(submit, prompt, offer, prediction)
                connection.send(submit)
            yield Accepted(
                num_prompt_tokens=tuple(len(prompt.token_ids) for prompt in prompts),
                prompt_token_ids=tuple(prompt.token_ids for prompt in prompts),
            )
            for stream in streams:
                if stream.plan.echo_text is not None and request.sampling.num_prompt_logprobs is None:
                    yield Delta(index=stream.plan.index, text=stream.plan.echo_text)
            while (delta := await generation.next()) is not None:
                yield delta
        finally:
            self._leave_request(generation, num_held)

    def health(self) -> Health:
        """See `Backend.health`."""
        if self._is_stopped:
            return Health(state=BackendState.STOPPED, detail="The server has stopped.")
        if self._is_draining:
            return Health(state=BackendState.DRAINING, detail="The server is finishing its requests before it stops.")
        if self._supervisor is None:
            return Health(state=BackendState.STARTING, detail="The engine has not been started.")
        return self._supervisor.health()

    def models(self) -> tuple[ModelInfo, ...]:
        """See `Backend.models`."""
        return self._models

    @property
    def num_outstanding(self) -> int:
        """Sequences that are in the engine, running or waiting, or on their way there."""
        return self._requests.num_outstanding

    @property
    def engine_pid(self) -> int | None:
        """The engine's process id, while there is one."""
        return self._supervisor.pid if self._supervisor is not None else None

    # -- requests under way --------------------------------------------------------------------------------------

    def _require_ready(self) -> None:
        if not (health := self.health()).is_ready:
            raise self._unavailable(health)

    def _require_engine(self) -> Connection:
        """The engine for a request that was taken before: draining does not stop it, only a missing engine does."""
        assert self._supervisor is not None
        health = self._supervisor.health()
        if not health.is_ready or self._connection is None or self._is_stopped:
            raise self._unavailable(health)
        return self._connection

    def _is_congested(self) -> bool:
        return self._connection is not None and self._connection.is_congested

    def _unavailable(self, health: Health) -> UnavailableError:
        wait = MIN_RETRY_SECONDS if self._supervisor is None else self._supervisor.retry_seconds()
        return UnavailableError(health.detail, retry_after_seconds=wait)

    def _require_model(self, name: str) -> None:
        if name not in self._models[0].names:
            raise ModelNotFoundError(
                f"The model '{name}' is not served here.",
                param="model",
                next_step=f"Ask for one of: {', '.join(self._models[0].names)}.",
            )

    def _leave_request(self, generation: Generation | None, num_held: int) -> None:
        if generation is not None:
            generation.abandon()
            self._open.discard(generation)
        self._requests.leave(num_held)

    def _sequences_ended(self, sequence_ids: tuple[int, ...], outcome: Outcome, *, in_engine: bool) -> None:
        for sequence_id in sequence_ids:
            self._by_sequence.pop(sequence_id, None)
            if self._accounts is not None:
                self._accounts.ended(sequence_id, outcome)
        self._promise.ended(sequence_ids, is_whole=outcome == "finished")
        self._requests.ended(len(sequence_ids), served=not in_engine)
        if in_engine and self._connection is not None:
            self._connection.send(Abort(sequence_ids=sequence_ids))

    def _fail_all(self, error: TidemillError) -> int:
        failed = [generation for generation in self._open if generation.sequence_ids]
        for generation in failed:
            generation.fail(error)
        return len(failed)

    # -- the supervisor's listener -------------------------------------------------------------------------------

    def _boot(self, epoch: int) -> Boot:
        return Boot(
            epoch=epoch,
            settings=self._settings,
            model_folder=str(self._folder.resolve()),
            eos_token_ids=tuple(sorted(self._text.eos_token_ids)),
        )

    def engine_loading(self, stage: str, fraction: float) -> None:
        """The engine is starting."""
        self._on_event(LoadProgress(stage, fraction))

    def engine_ready(self, connection: Connection, info: EngineInfo) -> None:
        """The engine takes submissions."""
        assert self._digest is not None
        self._connection = connection
        self._num_starts += 1
        self._prompt_work.serve(info.max_model_len)
        self._promise.engine_ready(info)
        self._models = (describe_model(self._settings.model, self._folder, self._text, info, self._digest),)
        self._on_event(EngineLoaded(self._num_starts, info))

    def engine_stepped(self, frame: StepOutput) -> None:
        """A step's outputs: to the requests they belong to, and its facts to whoever counts."""
        self._promise.stepped(frame)
        self._engine_seconds += frame.stats.turn_seconds or frame.stats.step_seconds
        for output in frame.outputs:
            self._count(output)
            # An output may cross an abort on its way; then nobody waits for it.
            if (generation := self._by_sequence.get(output.sequence_id)) is None:
                continue
            try:
                generation.advance(output)
            except Exception:
                logger.exception("The output of a sequence could not be turned into text; its request is ended.")
                generation.fail(EngineFailedError("The output of this request could not be turned into text."))
        self._on_step(frame.stats)

    def _worked(self) -> float:
        return self._engine_seconds

    def engine_booked(self, frame: Books) -> None:
        """An interval of the engine's meter is closed."""
        if self._accounts is not None:
            self._accounts.posted(frame.interval)

    def _count(self, output: SequenceOutput) -> None:
        if self._accounts is not None:
            cached = None if output.start is None else output.start.num_cached_tokens
            self._accounts.yielded(output.sequence_id, len(output.token_ids), cached)

    def engine_died(self, reason: str, restart_in_seconds: float | None) -> None:
        """The engine is gone: every request under way ends with one typed error."""
        self._connection = None
        self._promise.engine_died()
        assert self._supervisor is not None
        error = EngineFailedError(
            f"The engine failed while this request was running: {reason}.",
            retry_after_seconds=None if restart_in_seconds is None else self._supervisor.retry_seconds(),
        )
        num_failed = self._fail_all(error)
        if self._accounts is not None:
            self._accounts.settle()
        self._on_event(EngineDied(reason, num_failed, restart_in_seconds))

    def state_changed(self, health: Health) -> None:
        """The engine's state is another than it was."""
        self._on_event(StateChanged(health.state, health.detail))
