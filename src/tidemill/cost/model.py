"""The cost model: learns from an engine's own steps how long a step takes, and how wrong it is.

Steps are gathered in cells of like ones, so that a load that lasts does not drown what was learnt of another. The
linear fit runs over the cells' means, relative errors counting; what it cannot express stays as a cell's correction.
"""

import collections
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from tidemill.cost.non_negative_fit import NonNegativeFit
from tidemill.cost.pace import Pace
from tidemill.cost.residuals import DelayWindow, RatioWindow
from tidemill.cost.step_shape import NUM_FEATURES, StepShape, cell_of, features
from tidemill.cost.step_times import UNKNOWN_P99_RATIO, CostParameters, StepTimes

_MAX_CELLS = 160
_FULL_COUNT = 8
"""Observations after which a cell has its full say in the fit."""
_MEMORY = 32
"""About how many observations a cell's mean remembers."""
_MIN_CLIP_RATIO = 0.05
_NEW_CLIP_RATIO = 0.5
_NUM_WILD = 16
"""The first observations, which nothing is known about yet, and are taken as they are."""
_SHARE_MEMORY = 512
_LATE_GAPS_RATIO = 0.008
_MIN_GAP_SHARE, _MAX_GAP_SHARE = 0.9, 0.9925
_GAP_WINDOW = 160
"""Steps with prompts by which gaps are reckoned: some seconds of a loaded machine, as uneven as it is now."""
_MIN_STEPS = 48
"""Steps after which predictions are worth acting on."""


class CellMean(msgspec.Struct, kw_only=True):
    """The mean step of a cell: features, seconds, and how many it stands for."""

    features: list[float]
    seconds: float
    count: int

    @property
    def weight(self) -> float:
        """Its say in the fit: errors count relative to its seconds."""
        return min(self.count, _FULL_COUNT) / (_FULL_COUNT * self.seconds * self.seconds)


class CostMemory(msgspec.Struct, frozen=True, kw_only=True):
    """All that a model has learnt, as it is kept on disk. Ratios are those of the two kinds of step, oldest first, and
    delays, in seconds, those of steps of streams only.
    """

    cells: dict[int, CellMean]
    ratios: tuple[tuple[float, ...], tuple[float, ...]]
    delays: tuple[float, ...]
    error_ratio: float
    num_steps: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """A step as it was predicted and as it was, in seconds."""

    predicted_seconds: float
    seconds: float

    @property
    def error_ratio(self) -> float:
        """|seconds / predicted - 1|."""
        return abs(self.seconds / self.predicted_seconds - 1.0)


class CostModel:
    """Learns with `observe`; predicts through `times`, which is always up to date."""

    def __init__(self) -> None:
        self.times = StepTimes()
        self._cells: collections.OrderedDict[int, CellMean] = collections.OrderedDict()
        self._fit = NonNegativeFit(NUM_FEATURES)
        self._ratios = (RatioWindow(), RatioWindow())
        self._delays = DelayWindow()
        """Of steps of streams only, beside the first of the two."""
        self._late_ratios = RatioWindow(_GAP_WINDOW)
        """Of steps with prompt rows, the last few: a bad minute must not make chunks small for the next ten."""
        self._prompt_steps_ratio = 1.0
        self._paces = (Pace(), Pace())
        self._error_ratio = 0.1
        self._num_steps = 0

    @classmethod
    def recall(cls, memory: CostMemory) -> "CostModel":
        """A model that knows what another one learnt."""
        model = cls()
        model._cells.update(list(memory.cells.items())[-_MAX_CELLS:])
        for window, ratios in zip(model._ratios, memory.ratios, strict=True):
            for ratio in ratios:
                window.add(ratio)
        for seconds in memory.delays:
            model._delays.add(seconds)
        for ratio in memory.ratios[1][-_GAP_WINDOW:]:  # a bad end of the last run is not held against this one
            model._late_ratios.add(min(ratio, UNKNOWN_P99_RATIO))
        model._error_ratio, model._num_steps = memory.error_ratio, memory.num_steps
        model.settle()
        return model

    @property
    def is_calibrated(self) -> bool:
        """Whether enough steps have been seen for predictions to be acted on."""
        return self._num_steps >= _MIN_STEPS

    @property
    def error_ratio(self) -> float:
        """The running median of |seconds / predicted - 1|."""
        return self._error_ratio

    @property
    def num_steps(self) -> int:
        """Steps learnt from."""
        return self._num_steps

    def observe(self, shape: StepShape, seconds: float) -> Outcome | None:
        """Learn that a step of `shape` took `seconds`; how it had been predicted, or None of the very first."""
        if seconds <= 0.0:
            return None
        if self._num_steps == 0:
            self.times.coefficients[0] = seconds
        expected = self.times.seconds(shape)
        outcome = None if self._num_steps == 0 else Outcome(expected, seconds)
        ratio = seconds / expected
        if self._num_steps >= _NUM_WILD:
            self._judge(shape, seconds, expected)
        kind = shape.num_rows > shape.num_samples
        self._learn(shape, seconds, expected / self.times.paces[kind])
        self._paces[kind].note(ratio, is_known=self._cells[cell_of(shape)].count > _FULL_COUNT)
        self._renew_paces()
        self._num_steps += 1
        return outcome

    def settle(self) -> None:
        """Solve the fit from the start, to the end: after a calibration, or at rest; some milliseconds."""
        self._fit = NonNegativeFit(NUM_FEATURES)
        for cell in self._cells.values():
            self._fit.add(cell.features, cell.seconds, cell.weight)
        self._fit.improve(self.times.coefficients, num_sweeps=400)
        self._renew_corrections()
        self._renew_percentiles()

    def judge_anew(self, steps: Sequence[tuple[StepShape, float]]) -> None:
        """Forget past errors, which were made while little was known, and take those on `steps` in their place."""
        self._paces = (Pace(), Pace())
        self._renew_paces()
        self._ratios = (RatioWindow(), RatioWindow())
        self._delays = DelayWindow()
        self._late_ratios = RatioWindow(_GAP_WINDOW)
        for shape, seconds in steps:
            self._judge(shape, seconds, self.times.seconds(shape))
        self._renew_percentiles()

    def parameters(self) -> CostParameters:
        """What it knows now, for another process."""
        self._renew_corrections()
        self._renew_percentiles()
        return CostParameters(
            coefficients=tuple(self.times.coefficients),
            corrections=dict(self.times.corrections),
            paces=self.times.paces,
            p99_ratios=self.times.p99_ratios,
            gap_ratio=self.times.gap_ratio,
            delay_seconds=self.times.delay_seconds,
            error_ratio=self._error_ratio,
            num_steps=self._num_steps,
        )

    def memory(self) -> CostMemory:
        """What it has learnt, to be kept."""
        streams, prompts = self._ratios
        return CostMemory(
            cells=dict(self._cells),
            ratios=(streams.values(), prompts.values()),
            delays=self._delays.values(),
            error_ratio=self._error_ratio,
            num_steps=self._num_steps,
        )

    def _judge(self, shape: StepShape, seconds: float, expected: float) -> None:
        kind, ratio = shape.num_rows > shape.num_samples, seconds / expected
        self._ratios[kind].add(ratio)
        if kind:
            self._late_ratios.add(ratio)
        else:
            self._delays.add(max(0.0, seconds - expected))
        self._prompt_steps_ratio += (kind - self._prompt_steps_ratio) / _SHARE_MEMORY
        # A stochastic median: each error moves it a little towards itself.
        step = 0.02 * max(self._error_ratio, 0.005)
        self._error_ratio += step if abs(ratio - 1.0) > self._error_ratio else -step
        if self._num_steps % 32 == 0:
            self._renew_percentiles()

    def _learn(self, shape: StepShape, seconds: float, expected: float) -> None:
        key = cell_of(shape)
        x = features(shape)
        cell = self._cells.get(key)
        if cell is None:
            cell = CellMean(features=list(x), seconds=expected, count=0)
            self._cells[key] = cell
            self._forget_oldest()
        else:
            self._fit.add(cell.features, cell.seconds, -cell.weight)
            self._cells.move_to_end(key)
        cell.count += 1
        share = max(1.0 / cell.count, 1.0 / _MEMORY)
        cell.features = [mean + share * (value - mean) for mean, value in zip(cell.features, x, strict=True)]
        cell.seconds += share * (self._clipped(seconds, expected, cell.count) - cell.seconds)
        self._fit.add(cell.features, cell.seconds, cell.weight)
        self._fit.improve(self.times.coefficients)
        self.times.corrections[key] = self._correction(cell)

    def _clipped(self, seconds: float, expected: float, count: int) -> float:
        """An outlier counts only for as much as the errors of late let it (Huber 1964)."""
        if self._num_steps < _NUM_WILD:
            return seconds
        most = _NEW_CLIP_RATIO if count <= 3 else max(_MIN_CLIP_RATIO, 4.0 * self._error_ratio)
        return min(expected * (1.0 + most), max(expected * (1.0 - most), seconds))

    def _correction(self, cell: CellMean) -> float:
        """What the linear fit misses of `cell`, held back while few steps tell of it."""
        linear = sum(c * x for c, x in zip(self.times.coefficients, cell.features, strict=True))
        if linear <= 0.0:
            return 1.0
        trust = cell.count / (cell.count + 2.0)
        return 1.0 + trust * (cell.seconds / linear - 1.0)

    def _renew_corrections(self) -> None:
        self.times.corrections = {key: self._correction(cell) for key, cell in self._cells.items()}

    def _renew_paces(self) -> None:
        streams, prompts = self._paces
        self.times.paces = (streams.factor, prompts.factor)

    def _renew_percentiles(self) -> None:
        streams, prompts = (window.p99(UNKNOWN_P99_RATIO) for window in self._ratios)
        self.times.p99_ratios = (streams, prompts)
        self.times.delay_seconds = self._delays.p99()
        # Where few steps have prompt rows, more of those few may be late before one gap in a hundred is.
        share = 1.0 - _LATE_GAPS_RATIO / max(_LATE_GAPS_RATIO, self._prompt_steps_ratio)
        share = min(_MAX_GAP_SHARE, max(_MIN_GAP_SHARE, share))
        self.times.gap_ratio = self._late_ratios.quantile(share, UNKNOWN_P99_RATIO)

    def _forget_oldest(self) -> None:
        if len(self._cells) > _MAX_CELLS:
            key, cell = self._cells.popitem(last=False)
            self._fit.add(cell.features, cell.seconds, -cell.weight)
            self.times.corrections.pop(key, None)
