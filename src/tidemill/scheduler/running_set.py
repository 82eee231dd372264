"""Sequences that hold blocks and take part in steps, the most urgent first."""

from bisect import bisect_left, insort
from collections.abc import Iterator

from tidemill.scheduler.sequence import Sequence


class RunningSet:
    """Ordered by urgency: (priority, arrival, order of adding)."""

    def __init__(self) -> None:
        self._sequences: list[Sequence] = []

    def __len__(self) -> int:
        return len(self._sequences)

    def __iter__(self) -> Iterator[Sequence]:
        return iter(self._sequences)

    def add(self, sequence: Sequence) -> None:
        """Put `sequence` in its place."""
        insort(self._sequences, sequence, key=_urgency)

    def remove(self, sequence: Sequence) -> None:
        """Take out a running sequence."""
        index = bisect_left(self._sequences, sequence.urgency, key=_urgency)
        assert self._sequences[index] is sequence
        del self._sequences[index]

    def least_urgent(self) -> Iterator[Sequence]:
        """From the least urgent up; not to be changed meanwhile."""
        return reversed(self._sequences)


def _urgency(sequence: Sequence) -> tuple[int, float, int]:
    return sequence.urgency
