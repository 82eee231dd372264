"""How long steps take just now over what was learnt of them: for a machine that others use too. Knows no step."""

import statistics

_MEMORY = 16
_MIN_RATIO, _MAX_RATIO = 0.8, 1.25
"""Further than that a single step does not count: it may be a stall."""
_SURPRISE_RATIO = 1.2
_NUM_SURPRISES = 3
"""So many surprises of a kind in a row, all to one side, are no stalls: the machine has changed."""
_LEAST, _MOST = 0.25, 4.0


class Pace:
    """One factor. It follows slowly, and at once where several steps in a row leave no doubt."""

    def __init__(self) -> None:
        self.factor = 1.0
        self._surprises: list[float] = []

    def note(self, ratio: float, *, is_known: bool) -> None:
        """A step took `ratio` times what was predicted; `is_known` if many like it have been seen."""
        if is_known and self._is_change(ratio):
            ratio = statistics.median(self._surprises)
            self._surprises.clear()
        else:
            ratio = 1.0 + (min(_MAX_RATIO, max(_MIN_RATIO, ratio)) - 1.0) / _MEMORY
        self.factor = min(_MOST, max(_LEAST, self.factor * ratio))

    def _is_change(self, ratio: float) -> bool:
        if 1.0 / _SURPRISE_RATIO <= ratio <= _SURPRISE_RATIO:
            self._surprises.clear()
            return False
        if self._surprises and (self._surprises[-1] > 1.0) != (ratio > 1.0):
            self._surprises.clear()
        self._surprises.append(ratio)
        return len(self._surprises) == _NUM_SURPRISES
