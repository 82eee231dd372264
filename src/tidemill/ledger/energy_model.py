"""Joules of an interval as a non-negative linear function of its idle and busy seconds and of its steps' features.

Some of what a machine draws it draws by the second, however much a second gets done: more where others slow it down.

Learns from one interval of the meter after the other; relative errors count. The last few thousand are remembered, in
cells of like ones, so that a load that lasts does not drown what was learnt of another.
"""

import collections
from collections.abc import Sequence
from operator import mul

from tidemill.cost.non_negative_fit import NonNegativeFit
from tidemill.cost.step_shape import NUM_FEATURES

_FIRST_FEATURE = 2
_NUM_TERMS = _FIRST_FEATURE + NUM_FEATURES
"""Idle seconds, busy seconds, then the features of steps, summed over the interval."""
_CELL_MEMORY = 32
_MAX_CELLS = 128
_NUM_SWEEPS = 60
_RESIDUAL_MEMORY = 64
_STEPS, _ROWS, _SAMPLES, _KV_TOKENS, _ROW_CONTEXT = (_FIRST_FEATURE + index for index in (0, 1, 5, 6, 7))
_HELD_BACK = (*((_ROWS + knee, 1.0) for knee in (1, 2, 3)), (_ROW_CONTEXT, 1024.0))
"""Rows beyond a knee, and rows x context: what a load may hardly have had, and another has plenty of. For each, as many
a row as there might be."""
_GROWTH_RATIO = 1.25
_ALIKE_WEIGHT = 0.1
"""Of the thought that an idle second takes what a busy one does, beside an interval's one."""
_LEAST_WATTS = 1e-3
"""A meter that counts less has counted nothing: no machine draws so little."""
_LEAST_RATIO = 0.5
_TRUSTED_ERROR = 0.1
"""While a model is no further off than this, no interval counts as less than half of what was expected of it: errors
are relative, and one reading that came late would outweigh hundreds. Where all has become cheaper, it is soon off."""


class EnergyModel:
    """Coefficients in joules: of an idle second, of a busy one, and of each feature of a step."""

    def __init__(self) -> None:
        self._coefficients = [0.0] * _NUM_TERMS
        self._fit = NonNegativeFit(_NUM_TERMS)
        self._cells: collections.OrderedDict[tuple[int, ...], collections.deque[tuple[Sequence[float], float]]]
        self._cells = collections.OrderedDict()
        self._rows_per_joule = 0.0
        self._thought_alike: tuple[Sequence[float], float] | None = None
        self._knows_idle = False
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

    def joules(self, idle_seconds: float, busy_seconds: float, features: Sequence[float]) -> float:
        """What an interval takes."""
        total: float = sum(map(mul, (idle_seconds, busy_seconds, *features), self._coefficients))
        return total

    def feature_joules(
        self, busy_seconds: float, features: Sequence[float], step_seconds: Sequence[float]
    ) -> list[float]:
        """(NUM_FEATURES,): joules of one of each feature in an interval that held `features` in `busy_seconds`.

        What is drawn by the second goes as time does: `step_seconds` (NUM_FEATURES,) of one of each, as they are known,
        stretched to what the interval really took. While none are known, each step bears as much.
        """
        known: float = sum(map(mul, step_seconds, features))
        if known <= 0.0:
            step_seconds, known = (1.0, *[0.0] * (NUM_FEATURES - 1)), features[0]
        watts = self._coefficients[1] * busy_seconds / known if known > 0.0 else 0.0
        own = self._coefficients[_FIRST_FEATURE:]
        return [joules + watts * seconds for joules, seconds in zip(own, step_seconds, strict=True)]

    def observe(
        self, idle_seconds: float, busy_seconds: float, features: Sequence[float], joules: float
    ) -> float | None:
        """Learn that an interval took `joules`; |joules - what had been expected|, or None of the first."""
        expected = self.joules(idle_seconds, busy_seconds, features)
        least = _LEAST_RATIO * expected if self._is_trusted() else 0.0
        residual = None if self._num_intervals == 0 else abs(joules - expected)
        if residual is not None:
            keep = 1.0 - 1.0 / _RESIDUAL_MEMORY
            self._errors = self._errors * keep + residual
            self._metered = self._metered * keep + joules
        self._num_intervals += 1
        if joules > _LEAST_WATTS * (idle_seconds + busy_seconds):
            self._learn((idle_seconds, busy_seconds, *features), max(joules, least))
        return residual

    def _is_trusted(self) -> bool:
        return self._num_intervals > _CELL_MEMORY and self._errors <= _TRUSTED_ERROR * self._metered

    def _learn(self, x: tuple[float, ...], joules: float) -> None:
        self._tell_idle(x, joules)
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

    def _tell_idle(self, x: tuple[float, ...], joules: float) -> None:
        """Until there was an interval without work, or many with some, think that a second takes the same in both.

        Else the first ones do not tell the two apart, and requests that come as soon as a server is ready cost nothing.
        """
        if self._knows_idle:
            return
        self._knows_idle = x[_STEPS] == 0.0 or self._num_intervals > _CELL_MEMORY
        if self._knows_idle and self._thought_alike is not None:
            alike, weight = self._thought_alike
            self._fit.add(alike, 0.0, -weight)
        elif not self._knows_idle and self._thought_alike is None:
            seconds = x[0] + x[1]
            alike, weight = (seconds, -seconds, *[0.0] * NUM_FEATURES), _ALIKE_WEIGHT / (joules * joules)
            self._thought_alike = alike, weight
            self._fit.add(alike, 0.0, weight)

    def _hold_back(self, rows_per_joule: float) -> None:
        """Imagine an interval for each such feature, with as much of it as there were rows in the busiest, for nothing.

        Else the three rows that once were beyond a knee bear the noise of an interval, and the thousands of the next
        load cost a hundred times what the meter says.
        """
        if rows_per_joule <= _GROWTH_RATIO * self._rows_per_joule:
            return
        for index, reach in _HELD_BACK:
            alone = [0.0] * _NUM_TERMS
            for rate, weight in ((self._rows_per_joule, -1.0), (rows_per_joule, 1.0)):
                alone[index] = reach * rate
                self._fit.add(alone, 0.0, weight)
        self._rows_per_joule = rows_per_joule

    def _count(self, x: Sequence[float], joules: float, *, weight: float) -> None:
        self._fit.add(x, joules, weight / (joules * joules))


def _cell_of(x: Sequence[float]) -> tuple[int, ...]:
    """Like intervals: by the share that is idle, and what steps hold on average, in octaves; without any, one cell."""
    steps = x[_STEPS]
    if steps == 0.0:
        return ()
    mean = (x[_ROWS] / steps, x[_SAMPLES] / steps, x[_KV_TOKENS] / steps)
    return (int(4.0 * x[0] / (x[0] + x[1])), *(int(value).bit_length() for value in mean))
