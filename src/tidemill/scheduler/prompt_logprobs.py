"""Log-probabilities of prompt tokens, handed out once each, also when a preemption computes them again."""

from tidemill.scheduler.batch import RawLogprobs
from tidemill.scheduler.sequence import Sequence


def take_unseen(sequence: Sequence, start: int, entries: tuple[RawLogprobs, ...]) -> tuple[RawLogprobs, ...]:
    """Those of `entries` that are new. The first is of token `start` + 1; they become part of what was handed out."""
    if not entries:
        return entries
    num_seen = sequence.num_prompt_logprobs - start
    assert num_seen >= 0, "prompt positions were skipped although their log-probabilities were asked for"
    unseen = entries[num_seen:]
    sequence.num_prompt_logprobs += len(unseen)
    assert sequence.num_prompt_logprobs < sequence.num_prompt_tokens
    return unseen
