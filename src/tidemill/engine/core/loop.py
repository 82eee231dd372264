"""The engine's loop: drain frames, schedule, compute, report; one step a turn, no await. It owns no policy."""

import logging
from collections.abc import Sequence as Seq
from typing import Protocol

from msgspec.structs import replace

from tidemill.core.clock import Clock
from tidemill.core.errors import TidemillError
from tidemill.core.stats import StepStats
from tidemill.engine.core.cost_keeper import CostKeeper
from tidemill.engine.core.heartbeat import Pulse
from tidemill.engine.core.wire import finish_in_error, to_request, to_wire
from tidemill.engine.protocol import Abort, Books, FromEngine, SequenceOutput, Shutdown, StepOutput, Submit, ToEngine
from tidemill.ledger.books import INTERVAL_SECONDS, EnergyBooks
from tidemill.scheduler.batch import Batch, Runner, StepResult
from tidemill.scheduler.outputs import SchedulerOutput
from tidemill.scheduler.sequence import SequenceRequest

logger = logging.getLogger(__name__)

MAX_FAILED_STEPS = 3
"""Failed steps in a row after which the engine gives itself up, to be started anew."""
IDLE_SECONDS = 5.0


class Channel(Protocol):
    """Frames in and out; `channel.SocketChannel` is the real one."""

    def send(self, frame: FromEngine) -> None:
        """Send a frame, waiting for room."""
        ...

    def receive(self, timeout_seconds: float | None) -> Seq[ToEngine]:
        """The frames that came; if none did, wait up to the timeout."""
        ...


class StepScheduler(Protocol):
    """What the loop needs of a scheduler; `scheduler.Scheduler` is the real one and says what each method promises."""

    @property
    def has_work(self) -> bool:
        """Whether any sequence waits or runs."""
        ...

    def add(self, request: SequenceRequest) -> None:
        """Queue a sequence."""
        ...

    def abort(self, sequence_id: int) -> bool:
        """Forget a sequence; False if it is not there."""
        ...

    def schedule(self) -> Batch | None:
        """The next step, or None if there is no work."""
        ...

    def update(self, batch: Batch, result: StepResult) -> tuple[SchedulerOutput, ...]:
        """Take in the result of a step."""
        ...

    def fail(self, batch: Batch, message: str) -> tuple[SchedulerOutput, ...]:
        """End the sequences of a step that failed."""
        ...

    def learn(self, turn_seconds: float) -> None:
        """Take in how long the turn of the last step took."""
        ...

    def stats(self, *, step_seconds: float, schedule_seconds: float) -> StepStats:
        """The facts of the last step."""
        ...


class TooManyFailuresError(Exception):
    """Step after step failed; something is broken for good, and only a new process may help."""


class EngineLoop:
    """One model's engine. A step that raises ends the sequences that were in it, with an error; the others go on.

    An exception of the scheduler itself is a bug that leaves its state in doubt: it is not caught and ends the process.
    """

    def __init__(
        self,
        scheduler: StepScheduler,
        runner: Runner,
        channel: Channel,
        *,
        epoch: int,
        eos_token_ids: frozenset[int],
        pulse: Pulse,
        clock: Clock,
        keeper: CostKeeper | None = None,
        books: EnergyBooks | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._runner = runner
        self._channel = channel
        self._epoch = epoch
        self._eos_token_ids = eos_token_ids
        self._pulse = pulse
        self._clock = clock
        self._keeper = keeper
        self._books = books
        self._report_seconds = 0.0
        """What the last report took: part of the turn that it ends, and of what the next one is expected to take."""
        self._refused: list[SequenceOutput] = []
        self._num_failed_steps = 0
        self._is_shut_down = False

    def run(self) -> None:
        """Turn until told to shut down. Raises `PeerGoneError`, `FrameError` or `TooManyFailuresError`."""
        try:
            while not self._is_shut_down:
                self.turn()
        finally:
            if self._keeper is not None:
                self._keeper.save()

    def turn(self) -> None:
        """Take in what was sent (waiting for it if there is nothing to compute), then compute and report one step."""
        if self._scheduler.has_work:
            frames = self._channel.receive(0.0)
        else:
            self._pulse.rest()
            if self._keeper is not None:
                self._keeper.rest()
            frames = self._channel.receive(self._idle_seconds())
        self._pulse.turn()
        has_aborted = self._apply(frames)
        self._close_books()
        if self._is_shut_down:
            return
        started = self._clock()
        batch = self._scheduler.schedule()
        schedule_seconds = self._clock() - started
        if batch is not None:
            self._step(batch, schedule_seconds)
        elif has_aborted or self._refused:
            # No step will tell that blocks were freed, or sequences refused.
            self._report((), self._scheduler.stats(step_seconds=0.0, schedule_seconds=schedule_seconds), None)

    def _apply(self, frames: Seq[ToEngine]) -> bool:
        """Act on frames in order; whether a sequence was aborted."""
        has_aborted = False
        for frame in frames:
            match frame:
                case Submit():
                    self._add(frame)
                case Abort():
                    for sequence_id in frame.sequence_ids:
                        if self._scheduler.abort(sequence_id):
                            has_aborted = True
                            self._note_left(sequence_id)
                case Shutdown():
                    self._is_shut_down = True
        return has_aborted

    def _add(self, submit: Submit) -> None:
        try:
            self._scheduler.add(to_request(submit, self._eos_token_ids))
        except TidemillError as error:
            self._refused.append(finish_in_error(submit.sequence_id, str(error)))
            self._note_left(submit.sequence_id)

    def _step(self, batch: Batch, schedule_seconds: float) -> None:
        started = self._clock()
        result = self._compute(batch)
        computed = self._clock()
        if isinstance(result, StepResult):
            outputs = self._scheduler.update(batch, result)
            self._scheduler.learn(self._clock() - started + schedule_seconds + self._report_seconds)
            self._num_failed_steps = 0
        else:
            outputs = self._scheduler.fail(batch, describe_failure(result))
            self._num_failed_steps += 1
        ended = self._clock()
        stats = self._scheduler.stats(step_seconds=ended - started, schedule_seconds=schedule_seconds)
        self._report(outputs, self._with_parts(stats, result, ended - computed), batch)
        self._report_seconds = self._clock() - ended
        if self._books is not None:
            self._books.stepped(batch, schedule_seconds + self._clock() - started)
            for output in outputs:
                if output.finish is not None:
                    self._books.left(output.sequence_id)
        if self._num_failed_steps >= MAX_FAILED_STEPS:
            raise TooManyFailuresError(f"{MAX_FAILED_STEPS} steps in a row failed")

    def _idle_seconds(self) -> float:
        """How long to wait for frames: not for long while somebody waits to hear what the last step took."""
        return min(IDLE_SECONDS, INTERVAL_SECONDS) if self._books is not None and self._books.has_open else IDLE_SECONDS

    def _note_left(self, sequence_id: int) -> None:
        if self._books is not None:
            self._books.left(sequence_id)

    def _close_books(self) -> None:
        """Report an interval of the meter that is over; with the last turn, whatever there is."""
        if self._books is None:
            return
        interval = self._books.close() if self._is_shut_down else self._books.close_if_due()
        if interval is not None:
            self._channel.send(Books(epoch=self._epoch, interval=interval))

    def _compute(self, batch: Batch) -> StepResult | Exception:
        """The step's result, or what it failed with: whatever a runner raises must not end the other sequences."""
        try:
            return self._runner.launch(batch).result()
        except Exception as error:
            logger.exception("A step of %d sequences failed.", len(batch.sequences))
            return error

    def _with_parts(self, stats: StepStats, result: StepResult | Exception, update_seconds: float) -> StepStats:
        """`stats` with what the parts of the step took, as far as they can be told apart."""
        tensors, sample = (
            (result.tensors_seconds, result.sample_seconds) if isinstance(result, StepResult) else (0.0, 0.0)
        )
        return replace(
            stats,
            tensors_seconds=tensors,
            sample_seconds=sample,
            update_seconds=update_seconds,
            report_seconds=self._report_seconds,
        )

    def _report(self, outputs: Seq[SchedulerOutput], stats: StepStats, batch: Batch | None) -> None:
        sequences = (*self._refused, *(to_wire(output) for output in outputs))
        self._refused.clear()
        progress = (
            tuple((s.sequence_id, s.start + s.num_tokens) for s in batch.sequences if not s.samples) if batch else ()
        )
        costs = None if self._keeper is None else self._keeper.news()
        self._channel.send(
            StepOutput(epoch=self._epoch, outputs=sequences, stats=stats, progress=progress, costs=costs)
        )


def describe_failure(error: Exception) -> str:
    """One sentence for the client of a sequence whose step failed; the log has the rest."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "The engine ran out of memory while it computed this request."
    return f"The engine failed while it computed this request ({type(error).__name__})."
