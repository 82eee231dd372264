"""A step's features split between its sequences. Owns no joules: what a feature takes is learnt elsewhere.

A step's joules are c . x with x its features (`cost.step_shape.features`). Each feature is split so that the parts add
up to it: the constant equally (the fixed cost of a game that anybody's presence starts), sums by what each one added,
and rows beyond a knee by rows (Aumann and Shapley 1974). docs/footprint.md derives when that is the Shapley value.
"""

from tidemill.cost.step_shape import KNEES, NUM_FEATURES

Shares = list[float]
"""(NUM_FEATURES,): somebody's parts of the features of steps, added up."""


def no_shares() -> Shares:
    """Nothing yet."""
    return [0.0] * NUM_FEATURES


class StepSplit:
    """How one step's features are split. Made once a step, used once a sequence."""

    def __init__(self, num_sequences: int, num_rows: int) -> None:
        self._constant = 1.0 / num_sequences
        first, second, third = KNEES
        self._first = (num_rows - first) / num_rows if num_rows > first else 0.0
        self._second = (num_rows - second) / num_rows if num_rows > second else 0.0
        self._third = (num_rows - third) / num_rows if num_rows > third else 0.0

    def add_next(self, shares: Shares, context: int) -> None:
        """`add` for one sampled row that looks at `context` positions; short, for there are many of them."""
        shares[0] += self._constant
        shares[1] += 1.0
        if self._first:
            shares[2] += self._first
            shares[3] += self._second
            shares[4] += self._third
        shares[5] += 1.0
        shares[6] += context
        shares[7] += context

    def add(
        self, shares: Shares, part: float, *, num_rows: int, num_samples: int, kv_tokens: int, row_context: int
    ) -> None:
        """Add to `shares` that `part` (0..1) of a sequence with these counts."""
        rows = part * num_rows
        shares[0] += part * self._constant
        shares[1] += rows
        shares[2] += rows * self._first
        shares[3] += rows * self._second
        shares[4] += rows * self._third
        shares[5] += part * num_samples
        shares[6] += part * kv_tokens
        shares[7] += part * row_context
