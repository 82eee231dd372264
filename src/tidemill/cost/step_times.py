"""How long a step takes, from fitted numbers: mean, 99th percentile, and the largest chunk within a time.

Fits nothing. The same code predicts in the engine, which learns, and in the service, which is sent `CostParameters`.
"""

import math
from operator import mul

import msgspec

from tidemill.cost.step_shape import NUM_FEATURES, ROW_GRAIN, StepShape, cell_of, features

UNKNOWN_P99_RATIO = 1.5
"""The 99th percentile over the mean, as long as too few steps have told."""


class CostParameters(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of a fitted model, as they cross a process boundary.

    `corrections` are factors by cell of like steps. Of steps of streams only, and of those with prompt rows: `paces`
    are the factors of late (see `Pace`), `p99_ratios` the 99th percentile over the mean. `gap_ratio` is what steps with
    prompt rows keep within, over their mean, so often that 99 of 100 steps of any kind do. `delay_seconds` is the
    99th percentile of what steps of streams only took beyond their mean, endless while too few have told. `error_ratio`
    is the running median of |seconds / predicted - 1|.
    """

    coefficients: tuple[float, ...]
    corrections: dict[int, float]
    paces: tuple[float, float]
    p99_ratios: tuple[float, float]
    gap_ratio: float
    delay_seconds: float
    error_ratio: float
    num_steps: int


class StepTimes:
    """Predicts steps. Mutable for the model that owns it; everyone else only asks."""

    def __init__(self) -> None:
        self.coefficients = [0.0] * NUM_FEATURES
        self.corrections: dict[int, float] = {}
        self.paces = (1.0, 1.0)
        self.p99_ratios = (UNKNOWN_P99_RATIO, UNKNOWN_P99_RATIO)
        self.gap_ratio = UNKNOWN_P99_RATIO
        self.delay_seconds = math.inf

    @classmethod
    def of(cls, parameters: CostParameters) -> "StepTimes":
        """What `parameters` say."""
        times = cls()
        times.coefficients = list(parameters.coefficients)
        times.corrections = parameters.corrections
        times.paces = parameters.paces
        times.p99_ratios = parameters.p99_ratios
        times.gap_ratio = parameters.gap_ratio
        times.delay_seconds = parameters.delay_seconds
        return times

    def seconds(self, shape: StepShape) -> float:
        """The mean time of a step of `shape`, in seconds."""
        linear: float = sum(map(mul, self.coefficients, features(shape)))
        return linear * self.corrections.get(cell_of(shape), 1.0) * self.paces[shape.num_rows > shape.num_samples]

    def p99_ratio(self, shape: StepShape) -> float:
        """The 99th percentile of the time of a step like `shape`, over its mean."""
        return self.p99_ratios[shape.num_rows > shape.num_samples]

    def p99_seconds(self, shape: StepShape) -> float:
        """The time that 99 of 100 steps of `shape` keep within, in seconds."""
        return self.seconds(shape) * self.p99_ratio(shape)

    def late_seconds(self, shape: StepShape) -> float:
        """The 99th percentile of a step of streams, if longer steps are delayed by as much as those of late, not more.

        What delays one step in a hundred is mostly something else that runs here, and asks not how long the step is: by
        its ratio a step of a millisecond would speak ill of one of twenty.
        """
        mean = self.seconds(shape)
        return mean + min((self.p99_ratio(shape) - 1.0) * mean, self.delay_seconds)

    def largest_chunk(self, streams: StepShape, *, context: int, limit_seconds: float, most: int) -> int:
        """The most prompt rows beside `streams`, up to `most`, with which a step takes `limit_seconds` on average.

        The prompt's first `context` positions are computed. The answer is `most` or fills whole tiles of rows; 0 if not
        even the smallest one fits.
        """
        if most <= 0 or self.seconds(streams.with_prompt(most, context)) <= limit_seconds:
            return max(0, most)
        offset = -streams.num_rows % ROW_GRAIN
        low, high = -1, (most - offset) // ROW_GRAIN
        while low < high:
            middle = (low + high + 1) // 2
            chunk = offset + middle * ROW_GRAIN
            if chunk == 0 or self.seconds(streams.with_prompt(chunk, context)) <= limit_seconds:
                low = middle
            else:
                high = middle - 1
        return max(0, offset + low * ROW_GRAIN)
