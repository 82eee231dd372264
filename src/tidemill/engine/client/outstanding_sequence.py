"""One sequence on its way to the engine and back, as far as the client knows of it. Decides nothing."""

from dataclasses import dataclass

from tidemill.core.objectives import Objectives
from tidemill.engine.client.known_prefixes import BlockChain


@dataclass(slots=True, kw_only=True)
class OutstandingSequence:
    """One sequence on its way. Times are on the client's clock."""

    sequence_id: int
    tenant: str
    priority: int
    objectives: Objectives
    arrival: float
    due: float
    submitted_at: float
    num_prompt_tokens: int
    max_new_tokens: int
    is_length_known: bool = False
    """Whether nothing but its longest length can end it."""
    predicted_ttft_seconds: float | None = None
    p99_ttft_seconds: float | None = None
    yields: bool = False
    is_telling: bool = True
    """Whether its first token tells how good predictions are; not if a stall or a more urgent one came in between."""
    chain: BlockChain | None = None
    num_expected_cached: int = 0
    """Leading tokens that the engine is thought to find in its prefix cache; what it says of its progress overrides."""
    num_computed: int = 0
    num_output_tokens: int = 0
    first_token_at: float | None = None
    last_token_at: float | None = None

    @property
    def is_stream(self) -> bool:
        """Whether it has its first token."""
        return self.first_token_at is not None

    @property
    def is_begun(self) -> bool:
        """Whether the engine has computed some of its prompt, as far as is known."""
        return self.num_computed > 0

    def patience_seconds(self, now: float) -> float | None:
        """How long it can wait for its next token without being late; None if it is no stream, or promised nothing."""
        tpot = self.objectives.tpot_seconds
        if tpot is None or self.first_token_at is None:
            return None
        return self.first_token_at + self.num_output_tokens * tpot - now

    @property
    def num_done(self) -> int:
        """Prompt tokens that need no computing any more, as far as is known."""
        return self.num_computed or self.num_expected_cached
