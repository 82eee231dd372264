"""One request under way: its sequences, what they have produced, and which of them the engine still has."""

from collections.abc import Sequence as Seq
from typing import Protocol

from tidemill.core.errors import EngineFailedError, TidemillError
from tidemill.core.footprint import Outcome
from tidemill.core.requests import Delta, FinishReason
from tidemill.engine.client.delta_buffer import DeltaBuffer
from tidemill.engine.client.sequence_stream import SequenceStream
from tidemill.engine.protocol import SequenceOutput


class OnEnded(Protocol):
    """Who is told that sequences have ended; with `in_engine` the engine still has them."""

    def __call__(self, sequence_ids: tuple[int, ...], outcome: Outcome, *, in_engine: bool) -> None:
        """Take note."""
        ...


class Generation:
    """Feeds the engine's outputs through the sequences into the buffer that the request's reader takes from.

    `on_ended` is called once for each sequence, as soon as it needs no more room.
    """

    def __init__(self, streams: Seq[SequenceStream], buffer: DeltaBuffer, on_ended: OnEnded) -> None:
        self._streams = {stream.plan.sequence_id: stream for stream in streams}
        self._buffer = buffer
        self._on_ended = on_ended

    @property
    def sequence_ids(self) -> tuple[int, ...]:
        """The sequences that have not ended."""
        return tuple(self._streams)

    def advance(self, output: SequenceOutput) -> None:
        """Take in one sequence's output of a step."""
        stream = self._streams[output.sequence_id]
        if output.finish is not None and output.finish.reason in (FinishReason.ERROR, FinishReason.ABORT):
            del self._streams[output.sequence_id]
            self._on_ended((output.sequence_id,), "failed", in_engine=False)
            self.fail(EngineFailedError(output.finish.error or "The engine gave the sequence up."))
            return
        for delta in stream.advance(output):
            self._buffer.put(delta)
        if stream.is_finished:
            del self._streams[output.sequence_id]
            self._on_ended((output.sequence_id,), "finished", in_engine=output.finish is None)
        if self._buffer.is_closed:
            self.abandon()
        elif not self._streams:
            self._buffer.close()

    def fail(self, error: TidemillError) -> None:
        """End the request with `error` after what is undelivered, and its sequences with it."""
        self._buffer.close(error)
        self.abandon("failed")

    def abandon(self, outcome: Outcome = "aborted") -> None:
        """End the sequences that have not ended; nobody wants them any more."""
        left = self.sequence_ids
        self._streams.clear()
        if left:
            self._on_ended(left, outcome, in_engine=True)

    async def next(self) -> Delta | None:
        """More of the answer; None once every sequence has its finish. Raises what the request failed with."""
        return await self._buffer.get()
