"""How long prompts and outputs are: a number, a range, or a log-normal distribution. Owns the notation and the draw."""

import math
import random
import re
from dataclasses import dataclass
from typing import Protocol

from tidemill.core.errors import ConfigurationError

MAX_TOKENS = 1_000_000


class Lengths(Protocol):
    """A distribution of numbers of tokens, each at least 1."""

    def draw(self, rng: random.Random) -> int:
        """One number of tokens."""
        ...

    @property
    def longest(self) -> int | None:
        """The largest number there can be; None where there is no bound."""
        ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """Always the same."""

    num_tokens: int

    def draw(self, rng: random.Random) -> int:
        """That number; takes nothing from `rng`."""
        del rng
        return self.num_tokens

    @property
    def longest(self) -> int:
        """That number."""
        return self.num_tokens


@dataclass(frozen=True, slots=True)
class Between:
    """Uniform, both ends included."""

    low: int
    high: int

    def draw(self, rng: random.Random) -> int:
        """One number of tokens."""
        return rng.randint(self.low, self.high)

    @property
    def longest(self) -> int:
        """The upper end."""
        return self.high


@dataclass(frozen=True, slots=True)
class LogNormal:
    """exp of a normal distribution: half of all numbers are under `median`; `sigma` is of the logarithm."""

    median: float
    sigma: float

    def draw(self, rng: random.Random) -> int:
        """One number of tokens, at most `MAX_TOKENS`."""
        return min(MAX_TOKENS, max(1, round(rng.lognormvariate(math.log(self.median), self.sigma))))

    @property
    def longest(self) -> None:
        """There is no bound."""
        return


def parse_lengths(text: str, *, flag: str) -> Lengths:
    """`128`, `64-512` or `lognormal:200,0.6`. Raises `ConfigurationError` that names `flag`."""
    text = text.strip()
    if match := re.fullmatch(r"(\d+)(?:-(\d+))?", text):
        low, high = int(match[1]), int(match[2] or match[1])
        if 1 <= low <= high <= MAX_TOKENS:
            return Fixed(low) if match[2] is None else Between(low, high)
    elif match := re.fullmatch(r"lognormal:(\d+(?:\.\d+)?),(\d+(?:\.\d+)?)", text):
        median, sigma = float(match[1]), float(match[2])
        if 1 <= median <= MAX_TOKENS and sigma <= 5:
            return LogNormal(median, sigma)
    raise ConfigurationError(
        f"{flag} is '{text}', which is not a number of tokens.",
        next_step=f"Give 128, 64-512 (uniform) or lognormal:200,0.6 (median, sigma), from 1 to {MAX_TOKENS}.",
    )
