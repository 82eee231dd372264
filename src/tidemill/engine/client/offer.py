"""What a request asks of the engine, and what was predicted of it. Decides nothing."""

from dataclasses import dataclass

from tidemill.core.objectives import Objectives
from tidemill.engine.client.known_prefixes import BlockChain
from tidemill.scheduler.sequence import PATIENCE_SECONDS


@dataclass(frozen=True, slots=True)
class OfferedPrompt:
    """A prompt of `num_tokens`, the first `num_cached` of which are thought to be in the prefix cache.

    `chain` is None where prefixes are not cached.
    """

    num_tokens: int
    num_cached: int
    chain: BlockChain | None


@dataclass(frozen=True, slots=True)
class Offer:
    """What a request asks of the engine: the prompts of all its sequences, the longest answer, its promises."""

    prompts: tuple[OfferedPrompt, ...]
    max_new_tokens: int
    is_length_asked: bool
    """Whether the client said how many tokens it wants; otherwise an answer of the usual length is reckoned with."""
    is_length_known: bool
    """Whether nothing but the longest length can end it."""
    priority: int
    tenant: str
    objectives: Objectives
    """What it is promised: what it asked for, and the server's own where it asked for nothing."""
    asked: Objectives
    arrival: float

    @property
    def due(self) -> float:
        """When the first token should be there."""
        promised = (self.objectives.ttft_seconds, self.objectives.deadline_seconds, PATIENCE_SECONDS)
        return self.arrival + min(seconds for seconds in promised if seconds is not None)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Mean seconds from a request's arrival to its last sequence's first token, and to the end of the answer; the mean
    time per token it would have to live with at once; by how much one first token in a hundred, and one end, is later.
    """

    ttft_seconds: float
    end_seconds: float
    tpot_seconds: float
    late_ttft_seconds: float
    late_end_seconds: float
    yields: bool
    """Whether others may come that go before it."""

    @property
    def p99_ttft_seconds(self) -> float:
        """What 99 of 100 first tokens keep within."""
        return self.ttft_seconds + self.late_ttft_seconds
