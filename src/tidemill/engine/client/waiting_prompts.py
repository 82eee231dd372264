"""Prompts that the engine has not begun, by tenant, in the order in which they are computed; sums of many at once.

So that a look at a long queue costs what its head costs. Owns no share: who asks says which tenants are beyond theirs.
"""

import heapq
import itertools
import math
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from tidemill.engine.client.outstanding_sequence import OutstandingSequence
from tidemill.scheduler.prompt_order import Rank

_Key = tuple[int, float, float, int]


class Sums(NamedTuple):
    """What prompts hold together. `num_tokens` are to be computed, `num_cached` are not."""

    num: int
    num_tokens: int
    num_cached: int
    max_new_tokens: int


class WaitingPrompts:
    """Adding and removing moves pointers of a sorted list a tenant; tenants are few. Bounded by its owner."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}

    def add(self, sequence: OutstandingSequence) -> None:
        """It has been submitted."""
        self._lines.setdefault(sequence.tenant, _Line()).insert(sequence)

    def remove(self, sequence: OutstandingSequence) -> None:
        """It is begun, or gone; to be called before anything of it changes."""
        line = self._lines[sequence.tenant]
        line.remove(sequence)
        if not line.keys:
            del self._lines[sequence.tenant]

    @property
    def tenants(self) -> Collection[str]:
        """Those that have any."""
        return self._lines.keys()

    def first(
        self, num: int, debtors: Collection[str], without: Collection[str]
    ) -> list[tuple[Rank, OutstandingSequence]]:
        """The first `num` of all tenants but those in `without`, with ranks, if `debtors` are beyond their share."""
        lines = (line.ranked(tenant in debtors) for tenant, line in self._lines.items() if tenant not in without)
        return list(itertools.islice(heapq.merge(*lines), num))

    def sums_before(
        self, rank: Rank, debtors: Collection[str], without: Collection[str], num_first: Mapping[str, int]
    ) -> Iterator[tuple[str, Sums]]:
        """By tenant, all that go before `rank` but for the first ones, of which there are `num_first`."""
        for tenant, line in self._lines.items():
            if tenant in without:
                continue
            start, end = num_first.get(tenant, 0), line.num_before(rank, tenant in debtors)
            if start < end:
                yield tenant, line.sums(start, end)

    def less_urgent(self, priority: int | None) -> Iterator[OutstandingSequence]:
        """Those of a lesser priority; all of them if it is None."""
        for line in self._lines.values():
            start = 0 if priority is None else bisect_right(line.keys, (priority, math.inf, math.inf, 0))
            yield from line.sequences[start:]


class _Line:
    """Those of one tenant, sorted, and in columns what their sums are made of."""

    def __init__(self) -> None:
        self.keys: list[_Key] = []
        self.sequences: list[OutstandingSequence] = []
        self._num_tokens: list[int] = []
        self._num_cached: list[int] = []
        self._max_new_tokens: list[int] = []

    def insert(self, sequence: OutstandingSequence) -> None:
        key = _key(sequence)
        index = bisect_left(self.keys, key)
        self.keys.insert(index, key)
        self.sequences.insert(index, sequence)
        self._num_tokens.insert(index, sequence.num_prompt_tokens - sequence.num_expected_cached)
        self._num_cached.insert(index, sequence.num_expected_cached)
        self._max_new_tokens.insert(index, sequence.max_new_tokens)

    def remove(self, sequence: OutstandingSequence) -> None:
        index = bisect_left(self.keys, _key(sequence))
        assert self.sequences[index] is sequence
        for column in (self.keys, self.sequences, self._num_tokens, self._num_cached, self._max_new_tokens):
            del column[index]

    def ranked(self, in_debt: bool) -> Iterator[tuple[Rank, OutstandingSequence]]:
        for (priority, due, arrival, sequence_id), sequence in zip(self.keys, self.sequences, strict=True):
            yield (priority, in_debt, due, arrival, sequence_id), sequence

    def num_before(self, rank: Rank, in_debt: bool) -> int:
        priority, its_debt, due, arrival, sequence_id = rank
        if in_debt == its_debt:
            return bisect_left(self.keys, (priority, due, arrival, sequence_id))
        return bisect_left(self.keys, (priority, -math.inf if in_debt else math.inf, -math.inf, 0))

    def sums(self, start: int, end: int) -> Sums:
        columns = (self._num_tokens, self._num_cached, self._max_new_tokens)
        return Sums(end - start, *(sum(column[start:end]) for column in columns))


def _key(sequence: OutstandingSequence) -> _Key:
    return sequence.priority, sequence.due, sequence.arrival, sequence.sequence_id
