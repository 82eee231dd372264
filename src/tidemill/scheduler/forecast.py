"""When a request that arrives now gets its first token: the scheduler's policy played forward on predicted steps.

Approximate where it is cheap to be: streams end when they are expected to, and nobody else arrives. Its work is bounded
by the number of sequences and by `MAX_STEPS`.
"""

import heapq
from collections.abc import Sequence as Seq
from dataclasses import dataclass

from tidemill.cost.step_shape import StepShape, streams_shape
from tidemill.cost.step_times import StepTimes
from tidemill.scheduler.pacing import ITL_TOLERANCE_RATIO, keeps_pace, prompt_limit_seconds
from tidemill.scheduler.step_sharing import may_share

MAX_STEPS = 256
"""Steps that are played one by one; what is left after them is reckoned to go on at the same pace."""
_LEAST_CHUNK_TOKENS = 16


@dataclass(frozen=True, slots=True)
class PromptAhead:
    """A prompt with `num_tokens` to compute behind `context` computed ones; it has a place already, or needs one.

    Once complete it is a stream that is expected to yield `num_output_tokens`.
    """

    num_tokens: int
    context: int
    num_output_tokens: int
    has_place: bool
    yields: bool = False
    """Whether its steps are short, since others may come that go before it."""


@dataclass(frozen=True, slots=True)
class StreamAhead:
    """A stream of `context` tokens that is expected to yield `num_output_tokens` more."""

    context: int
    num_output_tokens: int


@dataclass(frozen=True, slots=True)
class StepLimits:
    """What a step may hold: rows, sequences, and time where streams were promised theirs."""

    max_num_batched_tokens: int
    max_num_seqs: int
    tpot_seconds: float | None
    ttft_seconds: float | None
    keeps_promises: bool
    """Whether everybody is promised something: then a step may end with the prompts it completes, see `StepSharing`."""


class Forecast:
    """One play from the present state of an engine. To be used once."""

    def __init__(
        self, times: StepTimes, limits: StepLimits, streams: Seq[StreamAhead], *, num_other_places: int
    ) -> None:
        """`num_other_places` are taken by prompts that go after all those that will be asked about."""
        self._times = times
        self._limits = limits
        self._ends = [max(1, stream.num_output_tokens) for stream in streams]
        heapq.heapify(self._ends)
        self._num_tokens = sum(stream.context for stream in streams)
        self._num_other_places = num_other_places
        self._num_prompts = 0
        """Prompts that have a place and are not complete, or are complete in the step that is being filled."""
        self._arriving: list[PromptAhead] = []
        self._filled = 0
        self._context = 0
        self._yields = False
        """Whether the prompts of the step that is being filled take turns with streams, see `Turns`."""
        self._step = 0
        self._num_played = 0
        self._chunks: dict[tuple[int, int, int, bool], int] = {}
        self.seconds = 0.0
        """The time since the present at which the step that is being filled begins."""

    def decode_seconds(self) -> float:
        """The mean time of a step of the streams there are by now."""
        return self._times.seconds(self._streams())

    def under_way(self, prompts: Seq[PromptAhead]) -> tuple[float, list[int]]:
        """The step that the engine is making now with `prompts`, in this order: its time, and the tokens of each in it.

        Those it completes go on as streams. To be called before `complete`, if at all.
        """
        taken: list[int] = []
        if prompts:
            self._yields = prompts[0].yields
            room, self._context = self._chunk(prompts[0].context, prompts[0].yields), prompts[0].context
            for index, prompt in enumerate(prompts):
                if not self._may_join(prompt, room, num_behind=len(prompts) - index):
                    room = self._filled
                taken.append(min(prompt.num_tokens, room - self._filled))
                self._filled += taken[-1]
                if taken[-1] == prompt.num_tokens:
                    self._arriving.append(prompt)
        seconds = self._step_seconds(self._filled, self._context)
        self._filled = 0
        self._pass(1)
        self._start_streams()
        return seconds, taken

    def complete(self, prompts: Seq[PromptAhead]) -> float:
        """The time since the present at which the last of `prompts`, computed in this order, has its first token."""
        self._num_prompts = sum(prompt.has_place for prompt in prompts)
        for index, prompt in enumerate(prompts):
            if self._num_played > MAX_STEPS:
                done = sum(p.num_tokens for p in prompts[:index])
                return self.seconds * sum(p.num_tokens for p in prompts) / max(1, done)
            if not prompt.has_place:
                self._await_place()
                self._num_prompts += 1
            if self._filled and not self._may_join(
                prompt, self._chunk(prompt.context, prompt.yields), num_behind=len(prompts) - index
            ):
                self._close_step()
            self._compute(prompt)
        if self._filled:
            self._close_step()
        return self.seconds

    def _compute(self, prompt: PromptAhead) -> None:
        left, context = prompt.num_tokens, prompt.context
        while left > 0:
            chunk = self._chunk(context, prompt.yields)
            if self._filled == 0 and left >= 2 * chunk:
                self._yields = prompt.yields
                num_steps = self._play_alike(left // chunk, chunk, context)
                left -= num_steps * chunk
                context += num_steps * chunk
                continue
            if self._filled == 0:
                self._context, self._yields = context, prompt.yields
            taken = min(left, max(0, chunk - self._filled))
            left -= taken
            context += taken
            self._filled += taken
            if left > 0 or self._filled >= chunk:
                if left == 0:
                    self._arriving.append(prompt)
                self._close_step()
                if left == 0:
                    return
        if not self._arriving or self._arriving[-1] is not prompt:
            self._arriving.append(prompt)
        if not self._filled:
            self._close_step()

    def _may_join(self, prompt: PromptAhead, room: int, *, num_behind: int) -> bool:
        """Whether the step that is being filled, of `room` rows, goes on with `prompt`, as the scheduler would say."""
        if not self._arriving or not self._limits.keeps_promises:
            return True
        if prompt.yields and not self._arriving[-1].yields:
            return False
        step = self._streams().with_prompt(self._filled, self._context)
        shared = step.with_prompt(max(0, min(prompt.num_tokens, room - self._filled)), prompt.context)
        num = len(self._arriving)
        return may_share(self._times, self._streams(), step, shared, num_completed=num, num_behind=num_behind)

    def _play_alike(self, num_steps: int, chunk: int, context: int) -> int:
        """Up to `num_steps` steps with full chunks of one prompt, as long as no stream ends; how many it were."""
        until_end = self._ends[0] - self._step if self._ends else num_steps
        played = max(1, min(num_steps, until_end))
        self.seconds += played * self._step_seconds(chunk, context + (played - 1) * chunk // 2)
        self._pass(played)
        return played

    def _close_step(self) -> None:
        self.seconds += self._step_seconds(self._filled, self._context)
        self._filled = 0
        self._pass(1)
        self._num_prompts -= len(self._arriving)
        self._start_streams()

    def _step_seconds(self, num_tokens: int, context: int) -> float:
        """The time of a step with so many prompt rows, and of the streams' where they take turns."""
        times, streams = self._times, self._streams()
        if num_tokens and self._takes_turns(self._yields):
            return times.seconds(streams) + times.seconds(streams_shape(0, 0).with_prompt(num_tokens, context))
        shape = streams.with_prompt(num_tokens, context) if num_tokens else streams
        return times.seconds(shape) if shape.num_rows else 0.0

    def _takes_turns(self, yields: bool) -> bool:
        return yields and self._limits.keeps_promises and bool(self._ends)

    def _start_streams(self) -> None:
        """Those that were completed in the last step go on as streams."""
        for prompt in self._arriving:
            heapq.heappush(self._ends, self._step + max(1, prompt.num_output_tokens - 1))
            self._num_tokens += prompt.context + prompt.num_tokens
        self._arriving.clear()

    def _await_place(self) -> None:
        """Let streams go on until there is room for one more."""
        while self._is_full() and (self._ends or self._arriving):
            if self._arriving or self._filled:
                self._close_step()
                continue
            num_steps = max(1, self._ends[0] - self._step)
            self.seconds += num_steps * self._times.seconds(self._streams())
            self._pass(num_steps)

    def _is_full(self) -> bool:
        num = len(self._ends) + self._num_prompts + self._num_other_places
        if num >= self._limits.max_num_seqs:
            return True
        tpot = self._limits.tpot_seconds
        if tpot is None or not num:
            return False
        mean = self._num_tokens // len(self._ends) if self._ends else 0
        shape = streams_shape(num + 1, (num + 1) * mean)
        return not keeps_pace(self._times, shape, tpot)

    def _chunk(self, context: int, yields: bool) -> int:
        """The chunk beside the streams there are, as the scheduler would size it."""
        num = len(self._ends)
        most = max(1, self._limits.max_num_batched_tokens - num)
        key = (num, self._num_tokens >> 10, context >> 8, yields)
        if key not in self._chunks:
            self._chunks[key] = self._chunk_of(most, context, yields)
        return self._chunks[key]

    def _chunk_of(self, most: int, context: int, yields: bool) -> int:
        times, streams, tpot = self._times, self._streams(), self._limits.tpot_seconds
        limit = prompt_limit_seconds(
            times,
            streams,
            tpot_limit_seconds=None
            if tpot is None or not streams.num_rows
            else ITL_TOLERANCE_RATIO * tpot / times.gap_ratio,
            ttft_seconds=self._limits.ttft_seconds,
            yields=yields,
        )
        if limit is None:
            return most
        if self._takes_turns(yields):
            limit, streams = limit - times.seconds(streams), streams_shape(0, 0)
        return max(
            times.largest_chunk(streams, context=context, limit_seconds=limit, most=most),
            min(most, _LEAST_CHUNK_TOKENS),
        )

    def _streams(self) -> StepShape:
        return streams_shape(len(self._ends), self._num_tokens)

    def _pass(self, num_steps: int) -> None:
        """Every stream yields `num_steps` tokens; those that end go."""
        self._step += num_steps
        self._num_played += 1
        before = len(self._ends)
        self._num_tokens += num_steps * before
        while self._ends and self._ends[0] <= self._step:
            self._num_tokens -= self._num_tokens // len(self._ends)
            heapq.heappop(self._ends)
