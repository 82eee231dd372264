"""How much a step may hold so that running streams keep their time per token: its prompt rows, and further streams.

Asks the cost model, and teaches it. Decides no order: who gets the rows there are is `PromptOrder`'s business. What
streams of a tenant were promised holds back a tenant that was served less only so far: it has half of each step's time
for its prompts, and one place in eight beyond those that keep the promise. Else short times asked for by one would be
paid for by all.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from tidemill.cost.model import CostModel
from tidemill.cost.step_shape import StepShape, streams_shape
from tidemill.cost.step_times import StepTimes
from tidemill.scheduler.fair_share import FairShare
from tidemill.scheduler.sequence import Sequence

ITL_TOLERANCE_RATIO = 1.22
"""The 99th percentile of a gap may be this much of the TPOT objective, which holds on average: gaps of a stream that is
ahead of its time may be longer. A little less than the 1.25 that is promised, for what happens outside of a step."""
_MIN_GAP_RATIO = 0.5
"""A stream that is behind its time still leaves this much of its objective to a step, and so catches up gently."""
MIN_CHUNK_TOKENS = 32
MAX_STEPS_WITHOUT_PROMPT = 4
"""Steps after which prompts get a small chunk even if that costs a stream its time: nobody waits for ever."""
_STEPS_PER_TTFT = 8
_FLOORS_PER_STEP = 4
_FLOORS_PER_YIELDING_STEP = 2
FLOORS_PER_CONTESTED_STEP = 2
"""Beside streams of tenants that were served more, a prompt has as much of a step's time as they have, if need be."""
_CONTESTED_SHARE = 8
"""Beside so many streams of tenants that were served more, or fewer, one other runs even if they lose time by it."""
_GROWTH_TOKENS = 64
"""Positions by which each stream is reckoned to grow while a new one runs beside it."""


class StepLimit(NamedTuple):
    """The mean time that a step may take, None if any; `is_stretched` if it is more than was promised to streams of
    tenants that were served more.
    """

    seconds: float | None
    is_stretched: bool


class Pacing:
    """The limits that a time per token sets. Without such an objective among the running, it sets none."""

    def __init__(self, model: CostModel, shares: FairShare) -> None:
        self.model = model
        self._shares = shares
        self._num_steps_without_prompt = 0

    def step_limit(
        self, streams: Collection[Sequence], prompts: Iterable[Sequence], *, first: Sequence, yields: bool, now: float
    ) -> StepLimit:
        """The time that a step of `streams` may take with rows of `prompts`, `first` of them first.

        With `yields` others may come that go first.
        """
        promised = [s.request.objectives.ttft_seconds for s in prompts if s.first_token_at is None]
        richer = self._shares.served_more_than(first.request.tenant)
        richer_gap = self._gap_seconds((s for s in streams if s.request.tenant in richer), now) if richer else None
        seconds = prompt_limit_seconds(
            self.model.times,
            shape_of(streams),
            gap_seconds=self._gap_seconds((s for s in streams if s.request.tenant not in richer), now),
            richer_gap_seconds=richer_gap,
            ttft_seconds=_least(promised),
            yields=yields,
        )
        return StepLimit(seconds, richer_gap is not None and seconds is not None and seconds > richer_gap)

    def prompt_share(
        self,
        streams: Collection[Sequence],
        limit_seconds: float | None,
        *,
        sitting_out: Collection[Sequence] = (),
        context: int,
        most: int,
    ) -> int:
        """How many rows of prompts, up to `most`, go beside `streams`; the first has `context` positions computed.

        Streams that are `sitting_out` have the next step: both together keep within the limit, or `least_wait_seconds`.
        To be asked once a step, and only when a prompt wants rows.
        """
        times, shape = self.model.times, shape_of(streams)
        if limit_seconds is None or not self.model.is_calibrated:
            return most
        if sitting_out:
            limit_seconds -= times.seconds(shape_of((*streams, *sitting_out)))
        chunk = times.largest_chunk(shape, context=context, limit_seconds=limit_seconds, most=most)
        if chunk < min(most, MIN_CHUNK_TOKENS):
            self._num_steps_without_prompt += 1
            if streams and self._num_steps_without_prompt <= MAX_STEPS_WITHOUT_PROMPT:
                return chunk
            chunk = min(most, MIN_CHUNK_TOKENS)
        self._num_steps_without_prompt = 0
        return chunk

    def has_room(self, running: Collection[Sequence], candidate: Sequence, *, num_spare: int) -> bool:
        """Whether all `running`, `candidate` and `num_spare` more could decode together and keep their time per token.

        A lone sequence always may, and what not even a lone one could keep holds nobody back.
        """
        times = self.model.times
        if not running or not self.model.is_calibrated:
            return True
        richer = self._shares.served_more_than(candidate.request.tenant)
        peers = [s.tpot_seconds for s in (*running, candidate) if s.request.tenant not in richer]
        num = len(running) + 1 + num_spare
        num_tokens = sum(len(s.tokens) for s in running) + len(candidate.tokens) * (1 + num_spare)
        return keep_pace(
            times,
            streams_shape(num, num_tokens + num * _GROWTH_TOKENS),
            tpot_seconds=_least(keepable(times, peers)),
            richer_tpot_seconds=_least(
                keepable(times, (s.tpot_seconds for s in running if s.request.tenant in richer))
            ),
            num_richer=len(running) + 1 - len(peers),
        )

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
    gap_seconds: float | None,
    richer_gap_seconds: float | None,
    ttft_seconds: float | None,
    yields: bool,
) -> float | None:
    """The time that a step with prompt rows beside `streams` may take on average; None if it may take any.

    `gap_seconds` is what streams leave it, and `richer_gap_seconds` those of tenants that were served more than the one
    of the prompt: they leave it at least as much as they take. Where a time to the first token is at stake, steps are
    short beside it, so that what arrives is soon seen to; but never so short that the constant part of a step outweighs
    what it gets done. Steps that yield are about that short.
    """
    limits = [] if gap_seconds is None else [gap_seconds]
    floor = floor_seconds(times, streams)
    if richer_gap_seconds is not None:
        limits.append(max(richer_gap_seconds, FLOORS_PER_CONTESTED_STEP * floor))
    if yields:
        limits.append(_FLOORS_PER_YIELDING_STEP * floor)
    if ttft_seconds is not None:
        limits.append(max(ttft_seconds / _STEPS_PER_TTFT, _FLOORS_PER_STEP * floor))
    return min(limits, default=None)


def least_wait_seconds(times: StepTimes, streams: StepShape, *, context: int) -> float:
    """How long some of `streams` wait at most if they leave a step to prompts however little time that has: until the
    smallest chunk, behind `context` positions, is computed beside the others, and then a token of each.
    """
    return times.seconds(streams.with_prompt(MIN_CHUNK_TOKENS, context)) + times.seconds(streams)


def leaves_half(times: StepTimes, limit_seconds: float, going: StepShape, streams: StepShape) -> bool:
    """Whether a step of those that are `going`, and the next of all `streams`, leave as much time for prompts within
    the limit as the first one takes.
    """
    return limit_seconds - times.seconds(streams) >= FLOORS_PER_CONTESTED_STEP * times.seconds(going)


def keep_pace(
    times: StepTimes,
    streams: StepShape,
    *,
    tpot_seconds: float | None,
    richer_tpot_seconds: float | None,
    num_richer: int,
) -> bool:
    """Whether steps of `streams` alone keep the shortest time per token of each.

    `num_richer` of them are of tenants that were served more than the one that asks, and the shortest of theirs is
    `richer_tpot_seconds`: they bear some streams of others, at least one, even if that is not kept.
    """
    if tpot_seconds is not None and not _keeps_pace(times, streams, tpot_seconds):
        return False
    num_borne = max(1, num_richer // _CONTESTED_SHARE)
    if richer_tpot_seconds is None or streams.num_rows - num_richer <= num_borne:
        return True
    return _keeps_pace(times, streams, richer_tpot_seconds)


def _keeps_pace(times: StepTimes, streams: StepShape, tpot_seconds: float) -> bool:
    """Whether steps of `streams` keep a time per token, on average and at the 99th percentile of gaps."""
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


def _least(seconds: Iterable[float | None]) -> float | None:
    return min((each for each in seconds if each is not None), default=None)
