"""Sequences that wait for admission, the most urgent first. Bounded by the scheduler, which counts all it holds."""

from bisect import bisect_left, insort

from tidemill.scheduler.sequence import Sequence

_Key = tuple[int, bool, float, int]


class WaitingQueue:
    """Ordered by (priority, preempted before new, arrival, order of adding).

    A sorted list, most urgent last: taking is O(1), and adding or removing moves pointers of a list that is short.
    """

    def __init__(self) -> None:
        self._entries: list[tuple[_Key, Sequence]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def push(self, sequence: Sequence) -> None:
        """Let `sequence` wait; one that has been preempted goes ahead of new ones of its priority."""
        insort(self._entries, (self._key(sequence), sequence))

    def peek(self) -> Sequence:
        """The most urgent one; the queue must not be empty."""
        return self._entries[-1][1]

    def pop(self) -> Sequence:
        """Take the most urgent one; the queue must not be empty."""
        return self._entries.pop()[1]

    def remove(self, sequence: Sequence) -> None:
        """Take one that is in the queue, wherever it stands."""
        key = self._key(sequence)
        index = bisect_left(self._entries, key, key=lambda entry: entry[0])
        assert self._entries[index][1] is sequence
        del self._entries[index]

    @staticmethod
    def _key(sequence: Sequence) -> _Key:
        """Descending: the most urgent has the largest key. `order` is unique, so that sequences are never compared."""
        priority, arrival, order = sequence.urgency
        return (-priority, sequence.num_preemptions > 0, -arrival, -order)
