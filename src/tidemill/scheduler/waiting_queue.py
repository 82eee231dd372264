"""Sequences that wait for admission, the most urgent first. Bounded by the scheduler, which counts all it holds."""

from bisect import bisect_left, insort
from collections.abc import Collection

from tidemill.scheduler.fair_share import FairShare
from tidemill.scheduler.sequence import Sequence

_Key = tuple[int, bool, float, float, int]


class WaitingQueue:
    """Ordered by (priority, preempted before new, tenants within their share first, when due, arrival, adding).

    For each tenant a sorted list, its most urgent last: taking is O(1), and adding or removing moves pointers of a list
    that is short. Tenants are few, and compared by their heads.
    """

    def __init__(self, shares: FairShare) -> None:
        self._shares = shares
        self._entries: dict[str, list[tuple[_Key, Sequence]]] = {}
        self._num = 0

    def __len__(self) -> int:
        return self._num

    def push(self, sequence: Sequence) -> None:
        """Let `sequence` wait; one that has been preempted goes ahead of new ones of its priority."""
        insort(self._entries.setdefault(sequence.request.tenant, []), (self._key(sequence), sequence))
        self._num += 1

    def peek(self, without: Collection[str] = ()) -> Sequence | None:
        """The most urgent one of the tenants that are not in `without`; None if there is none."""
        heads = [(tenant, entries[-1]) for tenant, entries in self._entries.items() if tenant not in without]
        if len(heads) <= 1:
            return heads[0][1][1] if heads else None
        return max(heads, key=lambda head: self._standing(*head))[1][1]

    def peek_of_all(self, without: Collection[str] = ()) -> Sequence | None:
        """As `peek`, but whatever their priority. Looks at every one."""
        firsts = (
            (self._shares.is_in_debt(tenant), *min((s.due, *s.urgency[1:], s) for _, s in entries))
            for tenant, entries in self._entries.items()
            if tenant not in without
        )
        first = min(firsts, default=None)
        return None if first is None else first[-1]

    def remove(self, sequence: Sequence) -> None:
        """Take one that is in the queue, wherever it stands."""
        tenant = sequence.request.tenant
        entries, key = self._entries[tenant], self._key(sequence)
        index = bisect_left(entries, key, key=lambda entry: entry[0])
        assert entries[index][1] is sequence
        del entries[index]
        if not entries:
            del self._entries[tenant]
        self._num -= 1

    def _standing(self, tenant: str, entry: tuple[_Key, Sequence]) -> tuple[int, bool, bool, float, float, int]:
        """How a tenant's head compares with the others': the largest goes first."""
        priority, is_preempted, due, arrival, order = entry[0]
        return priority, is_preempted, not self._shares.is_in_debt(tenant), due, arrival, order

    @staticmethod
    def _key(sequence: Sequence) -> _Key:
        """Descending: the most urgent has the largest key. `order` is unique, so that sequences are never compared."""
        priority, arrival, order = sequence.urgency
        return (-priority, sequence.num_preemptions > 0, -sequence.due, -arrival, -order)
