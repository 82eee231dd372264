"""What the scheduler hands up after a step: tokens of each sequence, and how it ended if it did."""

from dataclasses import dataclass

from tidemill.core.requests import FinishReason
from tidemill.scheduler.batch import RawLogprobs
from tidemill.scheduler.sequence import Sequence
from tidemill.scheduler.stopping import Stop


@dataclass(frozen=True, slots=True)
class SequenceFinish:
    """The end of a sequence. `stop_token_id` is set if a stop token (not an end-of-text one) ended it."""

    reason: FinishReason
    stop_token_id: int | None
    error: str | None
    num_cached_tokens: int
    num_preemptions: int
    queue_seconds: float


@dataclass(frozen=True, slots=True)
class SequenceStart:
    """What is known of a sequence at its first token, for whoever ends it from outside (by a stop string)."""

    num_cached_tokens: int
    num_preemptions: int
    queue_seconds: float


@dataclass(frozen=True, slots=True)
class SchedulerOutput:
    """What one step yielded for one sequence; never empty of everything. `start` comes once, with the first token.

    `logprobs` has one entry a token or is empty. `prompt_logprobs` continue where the last output's ended, the first
    one of a sequence being of the prompt's second token; none comes twice, even when a preemption computed it twice.
    """

    sequence_id: int
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[RawLogprobs, ...] = ()
    prompt_logprobs: tuple[RawLogprobs, ...] = ()
    finish: SequenceFinish | None = None
    start: SequenceStart | None = None


def sequence_start(sequence: Sequence) -> SequenceStart:
    """The facts of a sequence that has just got its first token."""
    assert sequence.queue_seconds is not None
    return SequenceStart(sequence.num_cached_tokens, sequence.num_preemptions, sequence.queue_seconds)


def sequence_finish(sequence: Sequence, stop: Stop, error: str | None = None) -> SequenceFinish:
    """The facts of a sequence that has run and ends with `stop`."""
    assert sequence.queue_seconds is not None
    return SequenceFinish(
        reason=stop.reason,
        stop_token_id=stop.stop_token_id,
        error=error,
        num_cached_tokens=sequence.num_cached_tokens,
        num_preemptions=sequence.num_preemptions,
        queue_seconds=sequence.queue_seconds,
    )
