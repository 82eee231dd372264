"""Whether a waiting sequence may take a place among the running: how many there are, and what is kept for others."""

from tidemill.scheduler.fair_share import FairShare
from tidemill.scheduler.pacing import Pacing
from tidemill.scheduler.running_set import RunningSet
from tidemill.scheduler.sequence import Sequence

_KEPT_SHARE = 8
"""Of so many places, one is kept for tenants that have none yet, while there is more than one tenant."""


def num_places(max_num_seqs: int, num_own: int, *, has_others: bool) -> int:
    """How many sequences may run if one more is of a tenant of which `num_own` run."""
    num_kept = max(1, max_num_seqs // _KEPT_SHARE)
    return max_num_seqs - num_kept if has_others and num_own >= num_kept else max_num_seqs


class Places:
    """At most `max_num_seqs` run, and no more than can keep their time per token."""

    def __init__(self, max_num_seqs: int, shares: FairShare, pacing: Pacing) -> None:
        self._max_num_seqs = max_num_seqs
        self._shares = shares
        self._pacing = pacing

    def is_full(self, running: RunningSet) -> bool:
        """Whether nobody at all may start."""
        return len(running) >= self._max_num_seqs

    def are_open_to(self, candidate: Sequence, running: RunningSet, now: float) -> bool:
        """Whether `candidate` may start. A tenant does not take the last places while there are others."""
        tenant = candidate.request.tenant
        num_own = sum(sequence.request.tenant == tenant for sequence in running)
        most = num_places(self._max_num_seqs, num_own, has_others=self._shares.has_others(tenant, now))
        if len(running) >= most:
            return False
        return self._pacing.has_room(tuple(running), candidate, num_spare=self._max_num_seqs - most)
