"""Which streams sit out a step so that somebody else's prompt is not held up; whose turn it is where others may come.

A stream sits out only while it is so far ahead of its time per token that it loses nothing it was promised; one that
was promised none, not twice in a row.
"""

from collections.abc import Collection
from dataclasses import dataclass

from tidemill.scheduler.pacing import Pacing, StepLimit, least_wait_seconds, leaves_half, shape_of
from tidemill.scheduler.prompt_order import PromptOrder
from tidemill.scheduler.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Turn:
    """Whose a step is. The streams that are `sitting_out` leave it to `first`, the prompt that goes before others."""

    first: Sequence
    limit: StepLimit
    sitting_out: frozenset[Sequence] = frozenset()
    is_streams_turn: bool = False
    """Whether the step is for streams only, as long as there are any."""


class Turns:
    """Asked once a step. Without other tenants, or without a promise to everybody, nobody ever sits out."""

    def __init__(self, pacing: Pacing, order: PromptOrder) -> None:
        self._pacing = pacing
        self._order = order
        self._sat_out: frozenset[Sequence] = frozenset()

    def next(self, streams: Collection[Sequence], prompts: Collection[Sequence], now: float) -> Turn | None:
        """How `streams` and `prompts`, those that could go first, share this step; None if there are no prompts.

        Beside the prompt of a tenant within its share, streams of those beyond theirs may wait. Where the first prompt
        is of a tenant that is to yield, prompts and streams take turns: whoever comes waits for the shorter step.
        """
        sat_out, self._sat_out = self._sat_out, frozenset()
        if not prompts:
            return None
        first = min(prompts, key=self._order.rank)
        yields = self._order.should_yield(first, now)
        limit = self._pacing.step_limit(streams, prompts, first=first, yields=yields, now=now)
        together = Turn(first, limit)
        if not self._order.keeps_promises or not self._pacing.model.is_calibrated or limit.seconds is None:
            return together
        asked = [s for s in streams if yields or (self._goes_before(first, s) and not _is_next(s, sat_out))]
        if not asked:
            return together
        least = least_wait_seconds(self._pacing.model.times, shape_of(streams), context=first.num_computed)
        until = now + max(limit.seconds, least)
        patient = frozenset(stream for stream in asked if _has_time(stream, until))
        if not yields:
            return Turn(first, limit, self._spared(limit.seconds, streams, patient))
        if len(patient) < len(streams):
            return together
        return Turn(first, limit, is_streams_turn=True) if sat_out else Turn(first, limit, patient)

    def note_sat_out(self, sat_out: frozenset[Sequence]) -> None:
        """These did sit out the step that `next` was asked about."""
        self._sat_out = sat_out

    def _spared(
        self, limit_seconds: float, streams: Collection[Sequence], patient: frozenset[Sequence]
    ) -> frozenset[Sequence]:
        """`patient`, or none of them: what the others leave a prompt in a step of their own must be worth that step."""
        rest = [stream for stream in streams if stream not in patient]
        if not rest or leaves_half(self._pacing.model.times, limit_seconds, shape_of(rest), shape_of(streams)):
            return patient
        return frozenset()

    def _goes_before(self, prompt: Sequence, stream: Sequence) -> bool:
        """Whether `stream` is of a tenant beyond its share, `prompt` of one within its own, and no less urgent."""
        is_owed = not self._order.is_in_debt(prompt) and self._order.is_in_debt(stream)
        return is_owed and prompt.request.priority <= stream.request.priority


def _has_time(stream: Sequence, until: float) -> bool:
    """Whether the next token of `stream` is not due before `until`, or never."""
    return stream.tpot_seconds is None or (stream.next_due is not None and stream.next_due >= until)


def _is_next(stream: Sequence, sat_out: Collection[Sequence]) -> bool:
    """Whether `stream`, for which no due time speaks, has just sat out, and has its turn for that."""
    return stream.tpot_seconds is None and stream in sat_out
