"""The step being put together: a map from sequence to number of tokens, within the budget."""

from tidemill.scheduler.sequence import Sequence


class StepPlan:
    """How many tokens each sequence computes; `budget` is what is left of the step's."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._num_kept_back = 0
        self.num_tokens: dict[Sequence, int] = {}
        self.is_short_of_blocks = False
        """Whether a running sequence got fewer tokens than its budget allowed, or was preempted, for want of blocks."""

    def grant(self, sequence: Sequence, num_tokens: int) -> None:
        """Let `sequence` compute `num_tokens`."""
        assert 0 < num_tokens <= self.budget
        self.num_tokens[sequence] = num_tokens
        self.budget -= num_tokens

    def limit(self, num_tokens: int) -> None:
        """Leave no more than `num_tokens` for what is granted from now on."""
        left = min(self.budget, num_tokens)
        self._num_kept_back += self.budget - left
        self.budget = left

    def reopen(self) -> None:
        """Give out again what `limit` kept back."""
        self.budget += self._num_kept_back
        self._num_kept_back = 0

    def withdraw(self, sequence: Sequence) -> None:
        """Take back what `sequence` was granted, if anything."""
        self.budget += self.num_tokens.pop(sequence, 0)
