"""When a request that arrives now gets its first token: the scheduler's policy played forward on predicted steps.

Approximate where it is cheap to be: streams end when they are expected to, nobody else arrives, and of a long queue
only the head is played prompt by prompt. So its work is bounded, however many wait.
"""

from collections.abc import Sequence as Seq
from dataclasses import replace

from tidemill.cost.step_shape import StepShape, streams_shape
from tidemill.cost.step_times import StepTimes
from tidemill.scheduler.ahead import CrowdAhead, PromptAhead, StepLimits, StreamAhead
from tidemill.scheduler.pacing import (
    FLOORS_PER_CONTESTED_STEP,
    ITL_TOLERANCE_RATIO,
    MAX_STEPS_WITHOUT_PROMPT,
    MIN_CHUNK_TOKENS,
    keep_pace,
    least_wait_seconds,
    leaves_half,
    prompt_limit_seconds,
)
from tidemill.scheduler.step_sharing import may_share
from tidemill.scheduler.streams_ahead import StreamsAhead

MAX_STEPS = 256
"""Steps that are played one by one, again of each crowd; what is left is reckoned to go on at the same pace."""
_MIN_WAVE, _MIN_HEAD, _MAX_HEAD = 16, 64, 256
"""Of a longer queue so many prompts, as many as have places, are played one by one."""


def head_size(max_num_seqs: int) -> int:
    """How many prompts are played one by one, and how many of each crowd: in so many, places are taken and left."""
    return min(max(_MIN_HEAD, max_num_seqs), _MAX_HEAD)


class Forecast:
    """One play from the present state of an engine. To be used once."""

    def __init__(
        self, times: StepTimes, limits: StepLimits, streams: Seq[StreamAhead], *, num_other_places: int, num_others: int
    ) -> None:
        """`num_others` prompts go after all those that will be asked about; they have `num_other_places`."""
        self._times = times
        self._limits = limits
        self._going, self._patient = StreamsAhead(streams), StreamsAhead(())
        """The latter sit out beside prompts that do not yield, and have their places all the same."""
        self._num_others = num_others
        self._num_other_places = num_other_places
        self._num_behind = 0
        """Prompts that are not begun."""
        self._num_prompts = 0
        """Prompts that have a place and are not complete, or are complete in the step that is being filled."""
        self._arriving: list[PromptAhead] = []
        self._filled = 0
        self._context = 0
        self._yields = False
        """Whether the prompts of the step that is being filled take turns with streams, see `Turns`."""
        self._num_played = 0
        self._chunks: dict[tuple[int, int, int, int, bool], int] = {}
        self.seconds = 0.0
        """The time since the present at which the step that is being filled begins."""
        self._newcomers_wait = False
        """Whether streams of tenants beyond their share sit out as soon as they begin."""
        self._divide(streams)

    def _divide(self, streams: Seq[StreamAhead]) -> None:
        """Tell those that sit out from the others, as `Turns` would: who has little time makes the limit short, too."""
        limit, everybody = self._limit_seconds(yields=False), self._everybody()
        if limit is None or not self._limits.keeps_promises:
            return
        floors = FLOORS_PER_CONTESTED_STEP * self._times.seconds(everybody)
        until = max(min(limit, floors), least_wait_seconds(self._times, everybody, context=0))
        going = StreamsAhead(s for s in streams if not s.may_wait(until))
        if not len(going) or leaves_half(self._times, limit, going.shape, everybody):
            self._going, self._patient = going, StreamsAhead(s for s in streams if s.may_wait(until))
            tpot = self._limits.richer_tpot_seconds
            self._newcomers_wait = tpot is not None and tpot >= until

    def decode_seconds(self) -> float:
        """The mean time of a step of the streams there are by now."""
        return self._times.seconds(self._everybody())

    def under_way(self, prompts: Seq[PromptAhead], *, num_others: int, yields: bool) -> tuple[float, list[int]]:
        """The step that the engine is making now with `prompts`, in this order: its time, and the tokens of each in it.

        Those it completes go on as streams; those that find no place are not in it, nor are `num_others` prompts. Where
        prompts and streams take turns, who asks waits for both if it `yields` too, else for one of them: nobody says
        which, so for the longer one. To be called before `complete`, if at all.
        """
        taken: list[int] = []
        if prompts:
            self._yields = prompts[0].yields
            room, self._context = self._chunk(prompts[0].context, prompts[0].yields), prompts[0].context
            self._num_prompts = sum(prompt.has_place for prompt in prompts) - self._num_other_places
            for index, prompt in enumerate(prompts):
                if not prompt.has_place:
                    if self._is_full():
                        taken.append(0)
                        continue
                    self._num_prompts += 1
                if not self._may_join(prompt, room, num_behind=len(prompts) - index + num_others):
                    room = self._filled
                taken.append(min(prompt.num_tokens, room - self._filled))
                self._filled += taken[-1]
                if taken[-1] == prompt.num_tokens:
                    self._arriving.append(prompt)
        seconds = self._step_seconds(self._filled, self._context)
        if self._filled and self._takes_turns(self._yields) and not yields:
            decode = self.decode_seconds()
            seconds = max(seconds - decode, decode)
        self._pass(1)
        self._start_streams()
        return seconds, taken

    def complete(self, head: Seq[PromptAhead], crowds: Seq[CrowdAhead] = (), last: Seq[PromptAhead] = ()) -> float:
        """The time since the present at which the last of all these, computed in this order, has its first token."""
        self._num_prompts = sum(prompt.has_place for prompt in head)
        self._num_behind = len(head) + sum(crowd.num for crowd in crowds) + len(last) + self._num_others
        total = sum(prompt.num_tokens for prompt in (*head, *last)) + sum(crowd.num_tokens for crowd in crowds)
        done = self._play(head)
        for crowd in crowds:
            if self._num_played <= MAX_STEPS:
                done += self._play_crowd(crowd)
        if self._num_played <= MAX_STEPS:
            done += self._play(last)
        if done < total:
            return self.seconds * total / max(1, done)
        if self._filled:
            self._close_step()
        return self.seconds

    def _play(self, prompts: Seq[PromptAhead]) -> int:
        """Compute `prompts`, as far as there are steps to play; how many tokens that were."""
        done = 0
        for prompt in prompts:
            if self._num_played > MAX_STEPS:
                break
            if not prompt.has_place:
                self._await_place()
                self._num_prompts += 1
            if self._filled and not self._may_join(
                prompt, self._chunk(prompt.context, prompt.yields), num_behind=self._num_behind
            ):
                self._close_step()
            self._compute(prompt)
            self._num_behind -= 1
            done += prompt.num_tokens
        return done

    def _play_crowd(self, crowd: CrowdAhead) -> int:
        """Compute as many mean ones of `crowd` as have places, and let the rest of them go on at that pace.

        It has as many steps to play as the head had. How many tokens that were.
        """
        began, mean, self._num_played = self._seconds_so_far(), crowd.mean(), 0
        num = min(crowd.num, max(_MIN_WAVE, min(self._limits.max_num_seqs, _MAX_HEAD)))
        num_played = self._play([replace(mean) for _ in range(num)]) // max(1, mean.num_tokens)
        self._num_behind -= crowd.num - num_played
        if num_played < num:
            return num_played * mean.num_tokens
        self.seconds += (crowd.num - num_played) * (self._seconds_so_far() - began) / num_played
        return crowd.num_tokens

    def _seconds_so_far(self) -> float:
        """When the step that is being filled would end if it were complete."""
        return self.seconds + (self._step_seconds(self._filled, self._context) if self._filled else 0.0)

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
        if prompt.standing > self._arriving[-1].standing:
            return False
        streams = self._beside(self._yields)
        step = streams.with_prompt(self._filled, self._context)
        shared = step.with_prompt(max(0, min(prompt.num_tokens, room - self._filled)), prompt.context)
        num = len(self._arriving)
        return may_share(self._times, streams, step, shared, num_completed=num, num_behind=num_behind)

    def _play_alike(self, num_steps: int, chunk: int, context: int) -> int:
        """Up to `num_steps` steps with full chunks of one prompt, as long as no stream ends; how many it were."""
        self._filled = chunk
        until_end = self._steps_until_end()
        played = num_steps if until_end is None else min(num_steps, until_end)
        self.seconds += played * self._step_seconds(chunk, context + (played - 1) * chunk // 2)
        self._pass(played)
        return played

    def _close_step(self) -> None:
        self.seconds += self._step_seconds(self._filled, self._context)
        self._pass(1)
        self._num_prompts -= len(self._arriving)
        self._start_streams()

    def _step_seconds(self, num_tokens: int, context: int) -> float:
        """The time of a step with so many prompt rows, and of the streams' where they take turns."""
        times, everybody = self._times, self._everybody()
        if not num_tokens:
            return times.seconds(everybody) if everybody.num_rows else 0.0
        seconds = times.seconds(self._beside(self._yields).with_prompt(num_tokens, context))
        return seconds + times.seconds(everybody) if self._takes_turns(self._yields) else seconds

    def _takes_turns(self, yields: bool) -> bool:
        return yields and self._limits.keeps_promises and self._num_streams > 0

    def _beside(self, yields: bool) -> StepShape:
        """The streams that a step with prompts holds."""
        if not yields:
            return self._going.shape
        return streams_shape(0, 0) if self._takes_turns(yields) else self._everybody()

    def _everybody(self) -> StepShape:
        return streams_shape(self._num_streams, self._going.num_tokens + self._patient.num_tokens)

    @property
    def _num_streams(self) -> int:
        return len(self._going) + len(self._patient)

    def _start_streams(self) -> None:
        """Those that were completed in the last step go on as streams."""
        for prompt in self._arriving:
            streams = self._patient if self._newcomers_wait and prompt.standing[1] else self._going
            if prompt.num_output_tokens > 1:
                streams.start(StreamAhead(prompt.context + prompt.num_tokens, prompt.num_output_tokens - 1))
        self._arriving.clear()

    def _await_place(self) -> None:
        """Let streams go on until there is room for one more."""
        while self._is_full() and (self._num_streams or self._arriving):
            if self._arriving or self._filled:
                self._close_step()
                continue
            num_steps = self._steps_until_end()
            assert num_steps is not None, "streams have the places"
            self.seconds += num_steps * self._times.seconds(self._everybody())
            self._pass(num_steps)

    def _is_full(self) -> bool:
        num = self._num_streams + self._num_prompts + self._num_other_places
        if num >= self._limits.max_num_seqs:
            return True
        tpot, richer_tpot = self._limits.tpot_seconds, self._limits.richer_tpot_seconds
        if not num or (tpot is None and richer_tpot is None):
            return False
        mean = self._everybody().num_kv_tokens // max(1, self._num_streams)
        shape = streams_shape(num + 1, (num + 1) * mean)
        num_richer = min(self._limits.num_richer, self._num_streams)
        return not keep_pace(
            self._times, shape, tpot_seconds=tpot, richer_tpot_seconds=richer_tpot, num_richer=num_richer
        )

    def _chunk(self, context: int, yields: bool) -> int:
        """The chunk beside the streams there are, as the scheduler would size it."""
        everybody = self._everybody()
        most = max(1, self._limits.max_num_batched_tokens - everybody.num_rows)
        key = (everybody.num_rows, len(self._patient), everybody.num_kv_tokens >> 10, context >> 8, yields)
        if key not in self._chunks:
            self._chunks[key] = self._chunk_of(most, context, yields)
        return self._chunks[key]

    def _chunk_of(self, most: int, context: int, yields: bool) -> int:
        times, everybody, beside = self._times, self._everybody(), self._beside(yields)
        limit = self._limit_seconds(yields=yields)
        if limit is None:
            return most
        if beside.num_rows < everybody.num_rows:
            limit -= times.seconds(everybody)
        chunk, least = times.largest_chunk(beside, context=context, limit_seconds=limit, most=most), MIN_CHUNK_TOKENS
        if chunk >= min(most, least) or not beside.num_rows:
            return max(chunk, min(most, least))
        return min(most, (MAX_STEPS_WITHOUT_PROMPT * chunk + least) // (MAX_STEPS_WITHOUT_PROMPT + 1))

    def _limit_seconds(self, *, yields: bool) -> float | None:
        return prompt_limit_seconds(
            self._times,
            self._everybody(),
            gap_seconds=self._gap_seconds(self._limits.tpot_seconds),
            richer_gap_seconds=self._gap_seconds(self._limits.richer_tpot_seconds),
            ttft_seconds=self._limits.ttft_seconds,
            yields=yields,
        )

    def _gap_seconds(self, tpot_seconds: float | None) -> float | None:
        if tpot_seconds is None or not self._num_streams:
            return None
        return ITL_TOLERANCE_RATIO * tpot_seconds / self._times.gap_ratio

    def _moving(self) -> tuple[StreamsAhead, ...]:
        """The streams that go on with the step that is being filled."""
        sit_out = self._filled and not self._yields
        return (self._going,) if sit_out else (self._going, self._patient)

    def _steps_until_end(self) -> int | None:
        """How many steps like the one that is being filled end no stream but with the last; None if none ever does."""
        left = (streams.num_steps_left() for streams in self._moving())
        return min((num for num in left if num is not None), default=None)

    def _pass(self, num_steps: int) -> None:
        """Streams yield a token in each of `num_steps` steps like the one that is being filled; those that end go."""
        for streams in self._moving():
            streams.go_on(num_steps)
        self._num_played += 1
        self._filled = 0
