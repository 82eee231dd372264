"""Where a sequence ends: the first end-of-text token, stop token, or the last token it may generate."""

from collections.abc import Sequence as Seq
from dataclasses import dataclass

from tidemill.core.requests import FinishReason
from tidemill.scheduler.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Stop:
    """An end, and after how many of the step's tokens (the ending one included) it comes."""

    num_tokens: int
    reason: FinishReason
    stop_token_id: int | None


def first_stop(sequence: Sequence, token_ids: Seq[int]) -> Stop | None:
    """The first end among `token_ids`, which come after the tokens of `sequence`; None if it goes on.

    No token ends a sequence before `min_tokens` others have come; an end-of-text token is reported without its id.
    """
    request = sequence.request
    num_before = sequence.num_output_tokens
    for index, token in enumerate(token_ids):
        if token in sequence.ending_token_ids and num_before + index >= request.sampling.min_tokens:
            is_eos = token in request.eos_token_ids and not request.sampling.ignore_eos
            return Stop(index + 1, FinishReason.STOP, None if is_eos else token)
        if num_before + index + 1 >= request.max_new_tokens:
            return Stop(index + 1, FinishReason.LENGTH, None)
    return Stop(0, FinishReason.LENGTH, None) if request.max_new_tokens == 0 else None
