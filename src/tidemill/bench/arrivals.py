"""When requests arrive in an open loop: constant, Poisson or in bursts, at a mean rate. Not the clock."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

ArrivalKind = Literal["poisson", "constant", "burst"]


@dataclass(frozen=True, slots=True)
class Arrivals:
    """A process of arrivals with `rate` a second in the long run.

    `poisson`: independent, exponential gaps. `constant`: equal gaps. `burst`: `burst_size` at once, equal gaps between.
    """

    kind: ArrivalKind
    rate: float
    burst_size: int = 1

    def offsets(self, rng: random.Random) -> Iterator[float]:
        """Seconds from the start, never decreasing, without an end; the first of `constant` and `burst` is 0."""
        assert self.rate > 0
        if self.kind == "poisson":
            now = 0.0
            while True:
                now += rng.expovariate(self.rate)
                yield now
        size = self.burst_size if self.kind == "burst" else 1
        for number in itertools.count():
            yield (number // size) * size / self.rate


def poisson_arrivals_of(number: int, rate: float, rng: random.Random) -> list[float]:
    """A Poisson process of `rate` a second, given that `number` arrive in the first `number / rate` seconds.

    These are uniform points in order (Ross, Stochastic Processes, theorem 2.3.1). The rate that is offered is then the
    rate that was asked for, where a short free process would be off by 1 / sqrt(number).
    """
    seconds = number / rate
    return sorted(rng.random() * seconds for _ in range(number))
