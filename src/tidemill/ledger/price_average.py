"""What a token takes on a long average: the prices that answers are told, which must not tell who else is here.

Joules and tokens are summed up with a memory of hours of work, and what is published changes seldom.
"""

import math
from collections.abc import Sequence

from tidemill.core.footprint import PriceList, context_tokens

_MEMORY_SECONDS = 4 * 3600.0
"""Of work, not of the clock: a night without requests forgets nothing."""
_FIRST_SECONDS = 4.0
"""Work after which the first prices are published; the next ones after twice as much, and so on."""
_ROW_CONTEXT = 7
_KV = 6


class PriceAverage:
    """Sums of joules and of tokens: rows of prompts and of outputs, and the context each row looks at."""

    def __init__(self) -> None:
        self._joules = [0.0, 0.0, 0.0, 0.0]
        self._tokens = [0.0, 0.0, 0.0, 0.0]
        self._new_tokens = [0.0, 0.0, 0.0, 0.0]
        self._seconds = 0.0
        self._worked_seconds = 0.0
        self._next_seconds = _FIRST_SECONDS
        self._published: PriceList | None = None

    def count(self, num_useful: float, start: int, num_rows: int, *, is_prompt: bool) -> None:
        """`num_useful` of the rows of positions [start, start + num_rows) were computed for the first time."""
        index = 0 if is_prompt else 2
        self._new_tokens[index] += num_useful
        self._new_tokens[index + 1] += context_tokens(start, start + num_rows) * num_useful / num_rows

    def count_outputs(self, num_rows: int, context: int) -> None:
        """`num_rows` of outputs were computed, that looked at `context` positions together."""
        self._new_tokens[2] += num_rows
        self._new_tokens[3] += context

    def add(self, *, prompt_joules: Sequence[float], output_joules: Sequence[float], busy_seconds: float) -> None:
        """An interval's joules by feature, and the tokens counted since the last one."""
        keep = math.exp(-busy_seconds / _MEMORY_SECONDS)
        for index, joules in ((0, prompt_joules), (2, output_joules)):
            context = joules[_KV] + joules[_ROW_CONTEXT]
            for offset, value in ((0, sum(joules) - context), (1, context)):
                self._joules[index + offset] = self._joules[index + offset] * keep + value
        for index, tokens in enumerate(self._new_tokens):
            self._tokens[index] = self._tokens[index] * keep + tokens
            self._new_tokens[index] = 0.0
        self._seconds = self._seconds * keep + busy_seconds
        self._worked_seconds += busy_seconds

    def published(self) -> PriceList | None:
        """The prices to go by; None until there are any."""
        if self._worked_seconds < self._next_seconds or not self._tokens[0] or not self._tokens[2]:
            return self._published
        self._next_seconds = 2.0 * self._worked_seconds
        if self._next_seconds > _MEMORY_SECONDS:
            self._next_seconds = self._worked_seconds + _MEMORY_SECONDS / 4
        self._published = self._average()
        return self._published

    def _average(self) -> PriceList:
        prices = [j / t if t else 0.0 for j, t in zip(self._joules, self._tokens, strict=True)]
        joules = sum(self._joules)
        return PriceList(
            prompt_row_joules=prices[0],
            prompt_context_joules=prices[1],
            output_row_joules=prices[2],
            output_context_joules=prices[3],
            seconds_per_joule=self._seconds / joules if joules > 0.0 else 0.0,
        )
