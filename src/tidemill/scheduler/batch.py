"""The contract between scheduler and runner: a step is a map from sequence to a run of its tokens."""

from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Protocol

from tidemill.core.requests import SamplingParams


@dataclass(frozen=True, slots=True)
class NewSequence:
    """Told to the runner once, with the first batch that holds the sequence; the runner keeps its tokens from then on.

    `sampling_key` is (seed, prompt index, sample index): with a position it determines the random number.
    """

    sequence_id: int
    model_id: int
    prompt_token_ids: tuple[int, ...]
    sampling: SamplingParams
    sampling_key: tuple[int, int, int]
    eos_token_ids: frozenset[int]


@dataclass(frozen=True, slots=True)
class ScheduledSequence:
    """Compute positions [start, start + num_tokens) of a sequence.

    `block_tables` has one table a KV group: page ids by logical block, 0 (the null page) for blocks a window has left
    behind. `samples` says whether the last row's logits are sampled (false while a prompt is still incomplete).
    """

    sequence_id: int
    start: int
    num_tokens: int
    block_tables: tuple[Seq[int], ...]
    samples: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """One step. `finished` are sequences whose state the runner may forget before it computes the step."""

    step: int
    model_id: int
    new: tuple[NewSequence, ...]
    sequences: tuple[ScheduledSequence, ...]
    finished: tuple[int, ...]

    @property
    def num_rows(self) -> int:
        """Tokens computed in the step, padding not counted."""
        return sum(s.num_tokens for s in self.sequences)


@dataclass(frozen=True, slots=True)
class RawLogprobs:
    """Log-probabilities of one position: the token that is there, then the most likely ones, best first."""

    token_id: int
    logprob: float
    top_token_ids: tuple[int, ...]
    top_logprobs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SequenceResult:
    """What a step yielded for one sequence: 0 to k accepted tokens, in order, or an error that ends it.

    `prompt_logprobs` holds entries for the prompt positions after `start` that this step computed (the logits of
    position p speak of token p + 1), if they were asked for.
    """

    sequence_id: int
    token_ids: tuple[int, ...]
    logprobs: tuple[RawLogprobs, ...] = ()
    prompt_logprobs: tuple[RawLogprobs, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class StepResult:
    """The results of a batch, one a scheduled sequence, in the batch's order."""

    step: int
    sequences: tuple[SequenceResult, ...]
    tensors_seconds: float = 0.0
    """Of the step, what making its tensors took, as far as the runner can tell it apart."""
    sample_seconds: float = 0.0
    """What logits and sampling took; where a device computes beside the host, the wait for it too."""


class StepHandle(Protocol):
    """A step under way."""

    def result(self) -> StepResult:
        """Wait for the step and return what it yielded."""
        ...


class Runner(Protocol):
    """Computes steps. The scheduler may prepare step N+1 while N runs; a depth of zero is the synchronous case."""

    def launch(self, batch: Batch) -> StepHandle:
        """Start `batch`. At most one step is under way at a time."""
        ...
