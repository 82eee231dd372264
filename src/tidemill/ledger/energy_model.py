"""Joules of an interval as a non-negative linear function of its idle seconds and of its steps' features.

Learns from one interval of the meter after the other; relative errors count. The last few thousand are remembered, in
cells of like ones, so that a load that lasts does not drown what was learnt of another.
"""

import collections
from collections.abc import Sequence
from operator import mul

from tidemill.cost.non_negative_fit import NonNegativeFit
from tidemill.cost.step_shape import NUM_FEATURES

NUM_ENERGY_FEATURES = 1 + NUM_FEATURES
"""Idle seconds, then the features of steps, summed over the interval."""
_CELL_MEMORY = 32
_MAX_CELLS = 128
_NUM_SWEEPS = 60
_RESIDUAL_MEMORY = 64
_ROWS = 2
_HELD_BACK = ((3, 1.0), (4, 1.0), (5, 1.0), (8, 1024.0))
"""Rows beyond a knee, and rows x context: what a load may hardly have had, and another has plenty of. For each, as many
a row as there might be."""
_GROWTH_RATIO = 1.25


class EnergyModel:
    """Coefficients in joules: of an idle second, and of each feature of a step."""

    def __init__(self) -> None:
        self._coefficients = [0.0] * NUM_ENERGY_FEATURES
        self._fit = NonNegativeFit(NUM_ENERGY_FEATURES)
        self._cells: collections.OrderedDict[tuple[int, ...], collections.deque[tuple[Sequence[float], float]]]
        self._cells = collections.OrderedDict()
        self._rows_per_joule = 0.0
        self._num_intervals = 0
        self._errors = self._metered = 0.0

    @property
    def idle_watts(self) -> float:
        """Joules of a second without steps."""
        return self._coefficients[0]

    @property
    def residual_ratio(self) -> float | None:
        """Sum of |meter - model| over the sum of the meter, of late, each before the interval was learnt from."""
        return self._errors / self._metered if self._metered > 0.0 else None

    def step_joules(self, shares: Sequence[float]) -> float:
        """Joules of these features of steps."""
        joules: float = sum(map(mul, shares, self._coefficients[1:]))
        return joules

    def coefficients(self) -> tuple[float, ...]:
        """(NUM_ENERGY_FEATURES,): joules of an idle second, and of one of each feature of a step."""
        return tuple(self._coefficients)

    def observe(self, idle_seconds: float, features: Sequence[float], joules: float) -> float | None:
        """Learn that an interval took `joules`; |joules - what had been expected|, or None of the first."""
        x = (idle_seconds, *features)
        residual = None if self._num_intervals == 0 else abs(joules - sum(map(mul, x, self._coefficients)))
        if residual is not None:
            keep = 1.0 - 1.0 / _RESIDUAL_MEMORY
            self._errors = self._errors * keep + residual
            self._metered = self._metered * keep + joules
        self._num_intervals += 1
        if joules > 0.0:
            self._learn(x, joules)
        return residual

    def _learn(self, x: tuple[float, ...], joules: float) -> None:
        cell = self._cells.setdefault(_cell_of(x), collections.deque())
        self._cells.move_to_end(_cell_of(x))
        if len(cell) == _CELL_MEMORY:
            self._count(*cell.popleft(), weight=-1.0)
        cell.append((x, joules))
        self._count(x, joules, weight=1.0)
        self._hold_back(x[_ROWS] / joules)
        if len(self._cells) > _MAX_CELLS:
            _, forgotten = self._cells.popitem(last=False)
            for old in forgotten:
                self._count(*old, weight=-1.0)
        self._fit.improve(self._coefficients, num_sweeps=_NUM_SWEEPS)

    def _hold_back(self, rows_per_joule: float) -> None:
        """Imagine an interval for each such feature, with as much of it as there were rows in the busiest, for nothing.

        Else the three rows that once were beyond a knee bear the noise of an interval, and the thousands of the next
        load cost a hundred times what the meter says.
        """
        if rows_per_joule <= _GROWTH_RATIO * self._rows_per_joule:
            return
        for index, reach in _HELD_BACK:
            alone = [0.0] * NUM_ENERGY_FEATURES
            for rate, weight in ((self._rows_per_joule, -1.0), (rows_per_joule, 1.0)):
                alone[index] = reach * rate
                self._fit.add(alone, 0.0, weight)
        self._rows_per_joule = rows_per_joule

    def _count(self, x: Sequence[float], joules: float, *, weight: float) -> None:
        self._fit.add(x, joules, weight / (joules * joules))


def _cell_of(x: Sequence[float]) -> tuple[int, ...]:
    """Like intervals: by how much of what a step can hold there is in it, each in octaves; all idle is one cell."""
    if x[1] == 0.0:
        return ()
    steps = x[1]
    mean = (x[2] / steps, x[6] / steps, x[7] / steps)
    return (int(4.0 * x[0] / (x[0] + steps)), *(int(value).bit_length() for value in mean))
