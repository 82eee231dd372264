"""Whose prompt goes first: running ones that are not complete, and waiting ones, in one order. Owns no sequence.

By priority, then tenants within their share before those beyond it, then by when the first token is due. Where an
objective is kept, priority does not count in one step of `_GUARDED`, nor for one place of as many: so nobody waits for
ever behind more urgent ones, and the oldest always gets on.
"""

from collections.abc import Collection

from tidemill.scheduler.fair_share import FairShare
from tidemill.scheduler.sequence import Sequence
from tidemill.scheduler.waiting_queue import WaitingQueue

_GUARDED = 8

Standing = tuple[int, bool]
Rank = tuple[int, bool, float, float, int]


class PromptOrder:
    """The order of one step; `begin_step` before each."""

    def __init__(self, shares: FairShare, *, keeps_promises: bool) -> None:
        self._shares = shares
        self.keeps_promises = keeps_promises
        """Whether everybody is promised something."""
        self._num_steps = 0
        self._num_started = 0
        self._is_guarded = False

    def begin_step(self) -> None:
        """A new step is put together, with prompts to choose from."""
        self._num_steps += 1
        self._is_guarded = self.keeps_promises and self._num_steps % _GUARDED == 0

    def note_start(self) -> None:
        """A place was given to the first of the waiting."""
        self._num_started += 1

    def rank(self, sequence: Sequence) -> Rank:
        """Where `sequence` stands; the smallest goes first."""
        _, arrival, order = sequence.urgency
        return *self.class_of(sequence), sequence.due, arrival, order

    def class_of(self, sequence: Sequence) -> Standing:
        """What counts before any due time: priority, then whether the tenant is beyond its share; smallest first."""
        priority = 0 if self._is_guarded else sequence.urgency[0]
        return priority, self.is_in_debt(sequence)

    def is_in_debt(self, sequence: Sequence) -> bool:
        """Whether the tenant of `sequence` is beyond its share."""
        return self._shares.is_in_debt(sequence.request.tenant)

    def was_served_more(self, sequence: Sequence, than: Sequence) -> bool:
        """Whether the tenant of `sequence` was served more than the one of another, by more than is overlooked."""
        return sequence.request.tenant in self._shares.served_more_than(than.request.tenant)

    def should_yield(self, sequence: Sequence, now: float) -> bool:
        """Whether the steps of this prompt should be short, since others than its tenant may come and go before it."""
        return self.keeps_promises and self._shares.should_yield(sequence.request.tenant, now)

    def first_waiting(self, waiting: WaitingQueue, without: Collection[str]) -> Sequence | None:
        """The next of `waiting` whose tenant is not in `without`."""
        is_guarded_place = self.keeps_promises and self._num_started % _GUARDED == _GUARDED - 1
        if self._is_guarded or is_guarded_place:
            return waiting.peek_of_all(without)
        return waiting.peek(without)
