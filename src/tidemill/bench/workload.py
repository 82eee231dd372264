"""What is sent: request i, as a function of the seed and i. Owns prompts, lengths and shared prefixes; not when."""

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tidemill.bench.arrivals import Arrivals
from tidemill.bench.lengths import Lengths
from tidemill.bench.trace import TraceRow
from tidemill.bench.words import VOCABULARY, Calibration, draw_words


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """One request before it is sent. `offset_seconds` is its scheduled arrival; None in a closed loop."""

    index: int
    prompt: str
    num_prompt_tokens: int
    num_output_tokens: int
    offset_seconds: float | None = None


@dataclass(slots=True)
class Workload:
    """Requests without an end, the same ones for the same seed.

    `shared_prefix_ratio` of every prompt's words are the beginning of one text. With `rows` (a trace) the lengths come
    from there. `num_clipped` counts requests that were shortened to `max_tokens`, prompt and output together.
    """

    prompt_tokens: Lengths
    output_tokens: Lengths
    shared_prefix_ratio: float
    seed: int
    calibration: Calibration
    max_tokens: int | None = None
    rows: Sequence[TraceRow] = ()
    num_clipped: int = 0
    _shared: list[str] = field(default_factory=list)

    def request(self, index: int, offset_seconds: float | None = None, row: TraceRow | None = None) -> PlannedRequest:
        """Request number `index` (negative ones are for warm-up)."""
        rng = random.Random(f"{self.seed}/{index}")
        if row is None and self.rows:
            row = self.rows[index % len(self.rows)]
        if row is None:
            num_prompt, num_output = self.prompt_tokens.draw(rng), self.output_tokens.draw(rng)
        else:
            num_prompt, num_output = row.num_prompt_tokens, row.num_output_tokens
        num_prompt, num_output = self._clipped(num_prompt, num_output)
        return PlannedRequest(index, self._prompt(rng, num_prompt), num_prompt, num_output, offset_seconds)

    def untimed(self) -> Iterator[PlannedRequest]:
        """All requests in order, for a closed loop."""
        return (self.request(index) for index in itertools.count())

    def timed(self, arrivals: Arrivals) -> Iterator[PlannedRequest]:
        """All requests in order, each at its arrival."""
        # A stream of its own, so that lengths do not change with the process.
        return self.at(arrivals.offsets(random.Random(f"{self.seed}/arrivals")))

    def at(self, offsets: Iterable[float]) -> Iterator[PlannedRequest]:
        """Requests in order, at given times."""
        return (self.request(index, offset) for index, offset in enumerate(offsets))

    def replay(self) -> Iterator[PlannedRequest]:
        """The trace as it was recorded, once."""
        return (self.request(index, row.offset_seconds, row) for index, row in enumerate(self.rows))

    def _clipped(self, num_prompt: int, num_output: int) -> tuple[int, int]:
        if self.max_tokens is None or num_prompt + num_output <= self.max_tokens:
            return num_prompt, num_output
        self.num_clipped += 1
        num_output = min(num_output, max(1, self.max_tokens // 2))
        return max(1, min(num_prompt, self.max_tokens - num_output)), num_output

    def _prompt(self, rng: random.Random, num_tokens: int) -> str:
        num_words = self.calibration.num_words(num_tokens)
        num_shared = int(num_words * self.shared_prefix_ratio)
        while len(self._shared) < num_shared:
            # By whole rounds, so that the text does not depend on which request needed it first.
            self._shared += draw_words(random.Random(f"{self.seed}/shared/{len(self._shared)}"), len(VOCABULARY))
        return " ".join(self._shared[:num_shared] + draw_words(rng, num_words - num_shared))
