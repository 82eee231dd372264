"""A sequence as the scheduler sees it: what was asked, the tokens so far, how far its KV is computed, its blocks.

Owns no decision: the scheduler moves it between its states, the KV cache fills its block tables.
"""

import enum
from dataclasses import dataclass, field

from tidemill.core.objectives import Objectives
from tidemill.core.requests import SamplingParams
from tidemill.scheduler.batch import NewSequence
from tidemill.scheduler.block_tables import SequenceBlocks


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceRequest:
    """One continuation to generate. `sequence_id` is never used twice; `arrival` is on the scheduler's clock.

    `max_new_tokens` 0 computes the prompt only. Lower `priority` is sooner. `cache_salt` separates prefix caches, and
    tenants share the engine fairly.
    """

    sequence_id: int
    model_id: int = 0
    prompt_token_ids: tuple[int, ...]
    sampling: SamplingParams
    max_new_tokens: int
    eos_token_ids: frozenset[int]
    arrival: float
    prompt_index: int = 0
    sample_index: int = 0
    priority: int = 0
    cache_salt: str = ""
    tenant: str = ""
    objectives: Objectives = field(default_factory=Objectives)


PATIENCE_SECONDS = 60.0
"""When the first token of a sequence without such an objective counts as due, from its arrival."""


class SequenceStatus(enum.Enum):
    """Where a sequence is. A preempted one is WAITING again."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


@dataclass(slots=True, eq=False)
class Sequence:
    """Mutable state of one sequence, owned by the scheduler. `tokens` is the prompt, then what was generated.

    Positions [0, num_computed) have their KV in `blocks`; `urgency` orders sequences, smaller being more urgent.
    """

    request: SequenceRequest
    urgency: tuple[int, float, int]
    due: float
    """When its first token should be there, on the scheduler's clock."""
    blocks: SequenceBlocks
    tokens: list[int]
    ending_token_ids: frozenset[int]
    block_hashes: list[bytes] = field(default_factory=list)
    status: SequenceStatus = SequenceStatus.WAITING
    num_computed: int = 0
    num_cached_tokens: int = 0
    num_preemptions: int = 0
    num_prompt_logprobs: int = 0
    """Prompt log-probabilities handed out so far; the first is of the second token."""
    queue_seconds: float | None = None
    """Wait from arrival to first admission; None until then."""
    is_announced: bool = False
    """Whether the runner has been told of it."""
    first_token_at: float | None = None
    """When its first token was taken in; None until then."""

    @property
    def sequence_id(self) -> int:
        """The id its client gave it."""
        return self.request.sequence_id

    @property
    def num_prompt_tokens(self) -> int:
        """Length of the prompt."""
        return len(self.request.prompt_token_ids)

    @property
    def num_output_tokens(self) -> int:
        """Tokens generated so far."""
        return len(self.tokens) - len(self.request.prompt_token_ids)

    @property
    def tpot_seconds(self) -> float | None:
        """The time per output token it was promised."""
        return self.request.objectives.tpot_seconds

    @property
    def next_due(self) -> float | None:
        """When its next token is due by its time per token; None before the first one, or if nothing is promised."""
        tpot = self.request.objectives.tpot_seconds
        if tpot is None or self.first_token_at is None:
            return None
        return self.first_token_at + self.num_output_tokens * tpot

    @property
    def max_positions(self) -> int:
        """Most KV positions it can ever hold: the last token generated is never computed."""
        return self.num_prompt_tokens + max(0, self.request.max_new_tokens - 1)

    @property
    def awaits_prompt_logprobs(self) -> bool:
        """Whether prompt positions must really be computed, because their log-probabilities were asked for."""
        asked = self.request.sampling.num_prompt_logprobs is not None
        return asked and self.num_prompt_logprobs < self.num_prompt_tokens - 1


def new_sequence(request: SequenceRequest, order: int, num_groups: int) -> Sequence:
    """A waiting sequence; `order` breaks ties between equal arrivals."""
    eos = frozenset[int]() if request.sampling.ignore_eos else request.eos_token_ids
    return Sequence(
        request=request,
        urgency=(request.priority, request.arrival, order),
        due=request.arrival + _patience_seconds(request.objectives),
        blocks=SequenceBlocks(num_groups),
        tokens=list(request.prompt_token_ids),
        ending_token_ids=eos | frozenset(request.sampling.stop_token_ids),
    )


def _patience_seconds(objectives: Objectives) -> float:
    promised = [s for s in (objectives.ttft_seconds, objectives.deadline_seconds) if s is not None]
    return min([*promised, PATIENCE_SECONDS])


def announcement(sequence: Sequence) -> NewSequence:
    """What the runner is told of `sequence`, once."""
    request = sequence.request
    return NewSequence(
        sequence_id=request.sequence_id,
        model_id=request.model_id,
        prompt_token_ids=request.prompt_token_ids,
        sampling=request.sampling,
        sampling_key=(request.sampling.seed, request.prompt_index, request.sample_index),
        eos_token_ids=request.eos_token_ids,
    )
