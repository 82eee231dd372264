"""Fairness between tenants: tokens served to each, as virtual time. Owns no queue.

A tenant that comes back after a pause starts a little before those that were served meanwhile, so that a quiet one goes
first, yet cannot save up more than that; who finds nobody here starts where the one that was served most has got to
(start-time fair queueing; Goyal, Vin and Cheng 1996, with a bounded credit).
"""

import heapq
import math
from dataclasses import dataclass
from operator import itemgetter

SEEN_SECONDS = 60.0
"""How long a tenant that has gone is still reckoned with."""

_CREDIT_QUANTA = 8
"""How far behind the others a tenant may start that comes back after a pause: a few requests, not a flood."""
_FIRST_CREDIT_QUANTA = 2
"""The same for one that nobody knows: enough to go before a flood, and soon spent if it is one itself."""


@dataclass(slots=True)
class _Tenant:
    served: float
    num_sequences: int = 0
    last_seen: float = 0.0


class FairShare:
    """Virtual time by tenant. `quantum` tokens of difference are not worth telling apart."""

    def __init__(self, quantum: int) -> None:
        self._quantum = quantum
        self._tenants: dict[str, _Tenant] = {}
        self._most_served = 0.0
        """What any tenant ever got to: where an idle machine goes on."""

    def join(self, tenant: str, now: float) -> None:
        """One more sequence of `tenant` is here."""
        known = self._tenants.get(tenant)
        quanta = _FIRST_CREDIT_QUANTA if known is None else _CREDIT_QUANTA
        if known is None:
            known = self._tenants[tenant] = _Tenant(served=-math.inf)
        if known.num_sequences == 0:
            self._forget_old(now, tenant)
            floor = self._floor()
            start = self._most_served if floor is None else floor - quanta * self._quantum
            known.served = max(known.served, start)
        known.num_sequences += 1
        known.last_seen = now

    def leave(self, tenant: str, now: float) -> None:
        """A sequence of `tenant` is gone."""
        known = self._tenants[tenant]
        known.num_sequences -= 1
        known.last_seen = now
        assert known.num_sequences >= 0

    def num_of(self, tenant: str) -> int:
        """How many sequences of `tenant` are here."""
        known = self._tenants.get(tenant)
        return 0 if known is None else known.num_sequences

    def charge(self, tenant: str, num_tokens: int) -> None:
        """`num_tokens` were computed for `tenant`."""
        known = self._tenants[tenant]
        known.served += num_tokens
        self._most_served = max(self._most_served, known.served)

    def is_in_debt(self, tenant: str) -> bool:
        """Whether `tenant` has been served a quantum more than the one that was served least of those here."""
        if len(self._tenants) == 1:
            return False
        floor = self._floor()
        return floor is not None and self._tenants[tenant].served > floor + self._quantum

    def debtors(self) -> frozenset[str]:
        """All tenants that are in debt."""
        floor = self._floor()
        if floor is None or len(self._tenants) == 1:
            return frozenset()
        return frozenset(name for name, known in self._tenants.items() if known.served > floor + self._quantum)

    def served_more_than(self, tenant: str) -> frozenset[str]:
        """Those of the other tenants that were served a quantum more than `tenant`."""
        own = self._tenants.get(tenant)
        if own is None or len(self._tenants) == 1:
            return frozenset()
        most = own.served + self._quantum
        return frozenset(name for name, known in self._tenants.items() if known.served > most)

    def should_yield(self, tenant: str, now: float) -> bool:
        """Whether another tenant, here or gone a moment ago, would go before `tenant` if it had a request now."""
        return tenant in self.yielders(now)

    def yielders(self, now: float) -> frozenset[str]:
        """All tenants that should yield."""
        if len(self._tenants) == 1:
            return frozenset()
        floor = self._floor()
        standing = {
            name: known.served
            if known.num_sequences or floor is None
            else max(known.served, floor - _CREDIT_QUANTA * self._quantum)
            for name, known in self._tenants.items()
            if known.num_sequences or now - known.last_seen < SEEN_SECONDS
        }
        least = heapq.nsmallest(2, standing.items(), key=itemgetter(1))  # of one of them, the other is the least other
        return frozenset(
            name
            for name, known in self._tenants.items()
            if any(known.served > served + self._quantum for other, served in least if other != name)
        )

    def has_others(self, tenant: str, now: float) -> bool:
        """Whether another tenant is here, or was of late."""
        if len(self._tenants) == 1:
            return False
        return any(
            known.num_sequences > 0 or now - known.last_seen < SEEN_SECONDS
            for name, known in self._tenants.items()
            if name != tenant
        )

    def _floor(self) -> float | None:
        return min((known.served for known in self._tenants.values() if known.num_sequences), default=None)

    def _forget_old(self, now: float, staying: str) -> None:
        """Drop those who left long ago: as many are kept as there were tenants in the last minute."""
        for name in [n for n, k in self._tenants.items() if not k.num_sequences and now - k.last_seen >= SEEN_SECONDS]:
            if name != staying:
                del self._tenants[name]
