"""What the runner keeps of a sequence between steps: its tokens and its sampling. It knows no blocks and no schedule.

Tokens stay here when a sequence is preempted, so that its keys and values can be computed again from them.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tidemill.sampling.row_state import RowState, TokenRangeError
from tidemill.scheduler.batch import NewSequence

_SPARE_TOKENS = 64


class SequenceState:
    """A sequence from the first batch that holds it to the batch that says it is finished.

    `fault` is set when the sequence cannot be computed at all (a token outside the vocabulary): it ends with this
    error, and never reaches the model, where it would take the whole step down.
    """

    __slots__ = ("_size", "_token_ids", "fault", "num_prompt_logprobs", "num_prompt_tokens", "sampling", "sequence_id")

    def __init__(self, new: NewSequence, *, vocab_size: int) -> None:
        self.sequence_id = new.sequence_id
        self.num_prompt_tokens = len(new.prompt_token_ids)
        self.num_prompt_logprobs = new.sampling.num_prompt_logprobs
        self._size = self.num_prompt_tokens
        self._token_ids = np.zeros(self._size + _SPARE_TOKENS, dtype=np.int64)
        self.fault = _prompt_fault(new.prompt_token_ids, vocab_size)
        self.sampling: RowState | None = None
        if self.fault is not None:
            return
        self._token_ids[: self._size] = new.prompt_token_ids
        try:
            self.sampling = RowState(
                new.sampling,
                new.sampling_key,
                prompt_token_ids=new.prompt_token_ids,
                eos_token_ids=new.eos_token_ids,
                vocab_size=vocab_size,
            )
        except TokenRangeError as error:
            self.fault = str(error)

    @property
    def num_tokens(self) -> int:
        """Prompt and accepted output."""
        return self._size

    def token_ids(self, start: int, num_tokens: int) -> NDArray[np.int64]:
        """A view of the tokens at positions [start, start + num_tokens), all of which must be there."""
        assert 0 <= start <= start + num_tokens <= self._size, (start, num_tokens, self._size)
        return self._token_ids[start : start + num_tokens]

    def accept(self, token_id: int) -> None:
        """Take a sampled token into the sequence."""
        assert self.sampling is not None
        if self._size == self._token_ids.size:
            self._token_ids = np.concatenate((self._token_ids, np.zeros_like(self._token_ids)))
        self._token_ids[self._size] = token_id
        self._size += 1
        self.sampling.accept(token_id)


def _prompt_fault(prompt_token_ids: Sequence[int], vocab_size: int) -> str | None:
    if not prompt_token_ids:
        return "The prompt has no tokens."
    if min(prompt_token_ids) < 0 or max(prompt_token_ids) >= vocab_size:
        return f"The prompt holds a token outside the vocabulary of {vocab_size} tokens."
    return None
