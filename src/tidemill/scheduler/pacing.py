"""How much a step may hold so that running streams keep their time per token: its prompt rows, and further streams.

Asks the cost model, and teaches it. Decides no order: who gets the rows there are is `PromptOrder`'s business.
"""

from collections.abc import Collection, Iterable, Iterator

from tidemill.cost.model import CostModel
from tidemill.cost.step_shape import StepShape, streams_shape
from tidemill.cost.step_times import StepTimes
from tidemill.scheduler.sequence import Sequence

ITL_TOLERANCE_RATIO = 1.22
"""The 99th percentile of a gap may be this much of the TPOT objective, which holds on average: gaps of a stream that is
ahead of its time may be longer. A little less than the 1.25 that is promised, for what happens outside of a step."""
_MIN_GAP_RATIO = 0.5
"""A stream that is behind its time still leaves this much of its objective to a step, and so catches up gently."""
_MIN_CHUNK_TOKENS = 32
_MAX_STEPS_WITHOUT_PROMPT = 4
"""Steps after which prompts get a small chunk even if that costs a stream its time: nobody waits for ever."""
_STEPS_PER_TTFT = 8
_FLOORS_PER_STEP = 4
_FLOORS_PER_YIELDING_STEP = 2
_GROWTH_TOKENS = 64
"""Positions by which each stream is reckoned to grow while a new one runs beside it."""


class Pacing:
    """The limits that a time per token sets. Without such an objective among the running, it sets none."""

    def __init__(self, model: CostModel) -> None:
        self.model = model
        self._num_steps_without_prompt = 0

    def limit_seconds(
        self, streams: Collection[Sequence], prompts: Iterable[Sequence], *, yields: bool, now: float
    ) -> float | None:
        """The time that a step of `streams` may take with rows of `prompts` beside them; None if any.

        With `yields` others may come that go first.
        """
        promised = [s.request.objectives.ttft_seconds for s in prompts if s.first_token_at is None]
        return prompt_limit_seconds(
            self.model.times,
            shape_of(streams),
            tpot_limit_seconds=self._gap_seconds(streams, now),
            ttft_seconds=min((seconds for seconds in promised if seconds is not None), default=None),
            yields=yields,
        )

    def prompt_share(
        self,
        streams: Collection[Sequence],
        prompts: Iterable[Sequence],
        *,
        sitting_out: Collection[Sequence] = (),
        context: int,
        yields: bool,
        most: int,
        now: float,
    ) -> int:
        """How many rows of `prompts`, up to `most`, go beside `streams`; the first has `context` positions computed.

        Streams that are `sitting_out` have the next step: both together keep within the limit. To be asked once a step,
        and only when a prompt wants rows.
        """
        everybody = (*streams, *sitting_out)
        times, shape = self.model.times, shape_of(streams)
        limit = self.limit_seconds(everybody, prompts, yields=yields, now=now)
        if limit is None or not self.model.is_calibrated:
            return most
        if sitting_out:
            limit -= times.seconds(shape_of(everybody))
        chunk = times.largest_chunk(shape, context=context, limit_seconds=limit, most=most)
        if chunk < min(most, _MIN_CHUNK_TOKENS):
            self._num_steps_without_prompt += 1
            if streams and self._num_steps_without_prompt <= _MAX_STEPS_WITHOUT_PROMPT:
                return chunk
            chunk = min(most, _MIN_CHUNK_TOKENS)
        self._num_steps_without_prompt = 0
        return chunk

    def has_room(self, running: Collection[Sequence], candidate: Sequence, *, num_spare: int) -> bool:
        """Whether all `running`, `candidate` and `num_spare` more could decode together and keep their time per token.

        A lone sequence always may, and what not even a lone one could keep holds nobody back.
        """
        tpot = min(keepable(self.model.times, (s.tpot_seconds for s in (*running, candidate))), default=None)
        if tpot is None or not running or not self.model.is_calibrated:
            return True
        num = len(running) + 1 + num_spare
        num_tokens = sum(len(s.tokens) for s in running) + len(candidate.tokens) * (1 + num_spare)
        shape = streams_shape(num, num_tokens + num * _GROWTH_TOKENS)
        return keeps_pace(self.model.times, shape, tpot)

    def _gap_seconds(self, streams: Iterable[Sequence], now: float) -> float | None:
        """The time that streams leave a step on average: the least of any; None if nothing is promised to them."""
        times = self.model.times
        gap_ratio, lone = times.gap_ratio, lone_seconds(times)
        limit: float | None = None
        for sequence in streams:
            tpot = sequence.tpot_seconds
            if tpot is None or tpot < lone:
                continue
            most = ITL_TOLERANCE_RATIO * tpot / gap_ratio
            left = tpot if sequence.next_due is None else sequence.next_due - now
            gap = min(most, max(left, _MIN_GAP_RATIO * tpot))
            limit = gap if limit is None else min(limit, gap)
        return limit


def prompt_limit_seconds(
    times: StepTimes,
    streams: StepShape,
    *,
    tpot_limit_seconds: float | None,
    ttft_seconds: float | None,
    yields: bool,
) -> float | None:
    """The time that a step with prompt rows beside `streams` may take on average; None if it may take any.

    Where a time to the first token is at stake, steps are short beside it, so that what arrives is soon seen to; but
    never so short that the constant part of a step outweighs what it gets done. Steps that yield are about that short.
    """
    limits = [] if tpot_limit_seconds is None else [tpot_limit_seconds]
    floor = floor_seconds(times, streams)
    if yields:
        limits.append(_FLOORS_PER_YIELDING_STEP * floor)
    if ttft_seconds is not None:
        limits.append(max(ttft_seconds / _STEPS_PER_TTFT, _FLOORS_PER_STEP * floor))
    return min(limits, default=None)


def keeps_pace(times: StepTimes, streams: StepShape, tpot_seconds: float) -> bool:
    """Whether steps of `streams` alone keep a time per token, on average and at the 99th percentile of gaps."""
    return times.seconds(streams) <= tpot_seconds and times.late_seconds(streams) <= ITL_TOLERANCE_RATIO * tpot_seconds


def floor_seconds(times: StepTimes, streams: StepShape) -> float:
    """The mean time of a step of `streams` without a prompt, what each further step costs; of a lone one if none is."""
    return times.seconds(streams if streams.num_rows else streams_shape(1, 1))


def shape_of(streams: Collection[Sequence]) -> StepShape:
    """The step in which each of `streams` computes its last token."""
    return streams_shape(len(streams), sum(len(s.tokens) for s in streams))


def lone_seconds(times: StepTimes) -> float:
    """The mean time of a step of one short stream: no time per token below it can be kept."""
    return times.seconds(streams_shape(1, 1))


def keepable(times: StepTimes, tpots: Iterable[float | None]) -> Iterator[float]:
    """Those of `tpots` that a stream would get if it were alone."""
    lone = lone_seconds(times)
    return (tpot for tpot in tpots if tpot is not None and tpot >= lone)
