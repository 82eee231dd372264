"""Streams that go on together in the steps that a forecast plays: how many there are, and when each ends.

Knows no time: the forecast asks what they are, and says when they have gone on.
"""

import heapq
from collections.abc import Iterable

from tidemill.cost.step_shape import StepShape, streams_shape
from tidemill.scheduler.ahead import StreamAhead


class StreamsAhead:
    """Any number of streams, of which only the ends are told apart."""

    def __init__(self, streams: Iterable[StreamAhead]) -> None:
        self._step = 0
        self._ends: list[int] = []
        self._num_tokens = 0
        for stream in streams:
            self.start(stream)

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def num_tokens(self) -> int:
        """Tokens of all of them so far."""
        return self._num_tokens

    @property
    def shape(self) -> StepShape:
        """A step of them all."""
        return streams_shape(len(self._ends), self._num_tokens)

    def start(self, stream: StreamAhead) -> None:
        """One more goes on from the next step on."""
        heapq.heappush(self._ends, self._step + max(1, stream.num_output_tokens))
        self._num_tokens += stream.context

    def num_steps_left(self) -> int | None:
        """Steps until the first of them ends; None if there are none."""
        return self._ends[0] - self._step if self._ends else None

    def go_on(self, num_steps: int) -> None:
        """Each yields `num_steps` tokens; those that end go."""
        self._step += num_steps
        self._num_tokens += num_steps * len(self._ends)
        while self._ends and self._ends[0] <= self._step:
            self._num_tokens -= self._num_tokens // len(self._ends)
            heapq.heappop(self._ends)
