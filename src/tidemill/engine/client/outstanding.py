"""What the engine has of this client, seen from here: a mirror of its sequences, as far as frames tell."""

from collections.abc import Collection, Iterable, Iterator
from collections.abc import Sequence as Seq
from dataclasses import dataclass

from tidemill.core.objectives import Objectives
from tidemill.engine.client.known_prefixes import BlockChain
from tidemill.scheduler.fair_share import FairShare
from tidemill.scheduler.forecast import PromptAhead, StreamAhead
from tidemill.scheduler.prompt_order import Rank

_MEAN_MEMORY = 32
_FIRST_MEAN_TOKENS = 64.0


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
    def num_done(self) -> int:
        """Prompt tokens that need no computing any more, as far as is known."""
        return self.num_computed or self.num_expected_cached


class OutstandingSequences:
    """All of them, each tenant's share, and how long answers are."""

    def __init__(self, quantum: int, *, guards: bool) -> None:
        """`guards` is whether the scheduler keeps a promise to everybody, and so lets tenants yield to others."""
        self.guards = guards
        self._sequences: dict[int, OutstandingSequence] = {}
        self.shares = FairShare(quantum)
        self._mean_output_tokens = _FIRST_MEAN_TOKENS

    def __iter__(self) -> Iterator[OutstandingSequence]:
        return iter(self._sequences.values())

    def __len__(self) -> int:
        return len(self._sequences)

    def num_of(self, tenant: str) -> int:
        """How many are of `tenant`."""
        return self.shares.num_of(tenant)

    def get(self, sequence_id: int) -> OutstandingSequence | None:
        """The sequence of this id, if it is here."""
        return self._sequences.get(sequence_id)

    def add(self, sequence: OutstandingSequence, now: float) -> None:
        """It has been submitted."""
        self._sequences[sequence.sequence_id] = sequence
        self.shares.join(sequence.tenant, now)

    def remove(self, sequence_id: int, now: float) -> OutstandingSequence | None:
        """It has ended, or nobody wants it any more; None if it was not here."""
        sequence = self._sequences.pop(sequence_id, None)
        if sequence is not None:
            self.shares.leave(sequence.tenant, now)
        return sequence

    def num_tokens(self) -> int:
        """Positions of all of them by now, as far as they have been sent."""
        return sum(s.num_prompt_tokens + s.num_output_tokens for s in self)

    def note_surprise(self, less_urgent_than: int | None = None) -> None:
        """Something came that no prediction could know of: for all that wait, or for those of lesser priority."""
        for sequence in self:
            if not sequence.is_stream and (less_urgent_than is None or sequence.priority > less_urgent_than):
                sequence.is_telling = False

    def note_progress(self, progress: Iterable[tuple[int, int]]) -> None:
        """Prompts that a step went on with, and how far they are."""
        for sequence_id, num_computed in progress:
            sequence = self._sequences.get(sequence_id)
            if sequence is not None:
                if sequence.num_expected_cached >= num_computed:
                    sequence.num_expected_cached = 0  # the engine had evicted it
                self.shares.charge(sequence.tenant, max(0, num_computed - sequence.num_done))
                sequence.num_computed = num_computed

    def note_tokens(self, sequence: OutstandingSequence, token_ids: Seq[int], now: float) -> None:
        """`sequence` has got `token_ids`."""
        if sequence.first_token_at is None:
            sequence.first_token_at = now
            self.shares.charge(sequence.tenant, max(0, sequence.num_prompt_tokens - sequence.num_done))
            sequence.num_computed = sequence.num_prompt_tokens
        self.shares.charge(sequence.tenant, len(token_ids))
        sequence.num_output_tokens += len(token_ids)
        if sequence.chain is not None:
            sequence.chain.more += token_ids
        sequence.last_token_at = now

    def note_length(self, num_output_tokens: int) -> None:
        """An answer has ended with so many tokens."""
        self._mean_output_tokens += (num_output_tokens - self._mean_output_tokens) / _MEAN_MEMORY

    def expected_tokens(self, max_new_tokens: int, num_output_tokens: int = 0) -> int:
        """How many more tokens an answer is expected to have: as many as the mean one, whatever it has had."""
        left = max(1, max_new_tokens - num_output_tokens)
        mean = self._mean_output_tokens
        return max(1, min(left, round(mean - num_output_tokens if num_output_tokens < mean else mean)))

    def debtors(self, tenant: str) -> set[str]:
        """Tenants beyond their share, whose streams sit out beside a prompt of `tenant` (`scheduler.turns`)."""
        if not self.guards or self.shares.is_in_debt(tenant):
            return set()
        return {name for name in {s.tenant for s in self} if self.shares.is_in_debt(name)}

    def streams(self, without: Collection[str] = ()) -> list[StreamAhead]:
        """Those with a first token, of tenants that are not in `without`."""
        return [
            StreamAhead(
                s.num_prompt_tokens + s.num_output_tokens, self.expected_tokens(s.max_new_tokens, s.num_output_tokens)
            )
            for s in self
            if s.is_stream and s.tenant not in without
        ]

    def prompts(self) -> list[OutstandingSequence]:
        """Those without one, in the order in which they are computed."""
        return [s for _, s in sorted(((self.rank_of(s), s) for s in self if not s.is_stream), key=lambda pair: pair[0])]

    def prompt_of(self, sequence: OutstandingSequence, now: float, num_in_step: int = 0) -> PromptAhead:
        """What is left of a prompt once the step under way has computed `num_in_step` tokens of it."""
        num_done = sequence.num_done + num_in_step
        return PromptAhead(
            num_tokens=sequence.num_prompt_tokens - num_done,
            context=num_done,
            num_output_tokens=self.expected_tokens(sequence.max_new_tokens),
            has_place=sequence.num_computed + num_in_step > 0,
            yields=self.guards and self.shares.should_yield(sequence.tenant, now),
        )

    def rank_of(self, sequence: OutstandingSequence) -> Rank:
        """Where it stands among prompts, as the scheduler orders them (`scheduler.prompt_order`)."""
        in_debt = self.shares.is_in_debt(sequence.tenant)
        return sequence.priority, in_debt, sequence.due, sequence.arrival, sequence.sequence_id
