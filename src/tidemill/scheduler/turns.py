"""Which streams sit out a step so that somebody else's prompt is not held up; whose turn it is where others may come.

A stream sits out only while it is so far ahead of its time per token that it loses nothing it was promised.
"""

from collections.abc import Collection

from tidemill.scheduler.pacing import Pacing
from tidemill.scheduler.prompt_order import PromptOrder
from tidemill.scheduler.sequence import Sequence


class Turns:
    """Asked once a step. Without other tenants, or without a promise to everybody, nobody ever sits out."""

    def __init__(self, pacing: Pacing, order: PromptOrder) -> None:
        self._pacing = pacing
        self._order = order
        self._is_streams_turn = False

    def next(
        self, streams: Collection[Sequence], prompts: Collection[Sequence], now: float
    ) -> tuple[set[Sequence], bool]:
        """Those of `streams` that sit out this step, and whether `prompts`, those that could go first, all do.

        Beside the prompt of a tenant within its share, streams of those beyond theirs may wait. Where the first prompt
        is of a tenant that is to yield, prompts and streams take turns: whoever comes waits for the shorter step.
        """
        is_streams_turn, self._is_streams_turn = self._is_streams_turn, False
        if not prompts or not streams or not self._order.keeps_promises or not self._pacing.model.is_calibrated:
            return set(), False
        first = min(prompts, key=self._order.rank)
        yields = self._order.should_yield(first, now)
        if not yields and not any(self._goes_before(first, stream) for stream in streams):
            return set(), False
        limit = self._pacing.limit_seconds(streams, prompts, yields=yields, now=now)
        patient = [s for s in streams if limit is not None and _has_time(s, now + limit)]
        if not yields:
            return {stream for stream in patient if self._goes_before(first, stream)}, False
        if len(patient) < len(streams):
            return set(), False
        self._is_streams_turn = not is_streams_turn
        return (set(), True) if is_streams_turn else (set(patient), False)

    def _goes_before(self, prompt: Sequence, stream: Sequence) -> bool:
        return not self._order.is_in_debt(prompt) and self._order.is_in_debt(stream)


def _has_time(stream: Sequence, until: float) -> bool:
    """Whether the next token of `stream` is not due before `until`, or never."""
    return stream.tpot_seconds is None or (stream.next_due is not None and stream.next_due >= until)
