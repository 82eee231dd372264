"""What sampling keeps of one sequence from step to step: its parameters made ready, its token counts, how far it is.

Owned by the sequence; only `accept` changes it. Holds no logits and no token ids beyond the counts.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from tidemill.core.requests import SamplingParams
from tidemill.sampling.rng import SamplingKey
from tidemill.sampling.token_counts import TokenCounts
from tidemill.sampling.token_mask import MaskRow, allow_all, ban


class TokenRangeError(Exception):
    """A parameter names a token outside the vocabulary; the message says which."""


class RowState:
    """Sampling of one sequence. Raises `TokenRangeError` where a bias or a stop token is outside the vocabulary."""

    def __init__(
        self,
        params: SamplingParams,
        key: SamplingKey,
        *,
        prompt_token_ids: Sequence[int],
        eos_token_ids: frozenset[int],
        vocab_size: int,
    ) -> None:
        _check_range("logit_bias", params.logit_bias, vocab_size)
        self.params = params
        self.key = key
        self.num_output_tokens = 0
        # A temperature too small for fp32 is as good as none, and would divide by zero.
        self.is_greedy = float(np.float32(params.temperature)) == 0.0
        self.bias_token_ids = np.fromiter(params.logit_bias, dtype=np.int64, count=len(params.logit_bias))
        self.biases = np.fromiter(params.logit_bias.values(), dtype=np.float32, count=len(params.logit_bias))
        self.has_penalties = (
            params.repetition_penalty != 1.0 or params.presence_penalty != 0.0 or params.frequency_penalty != 0.0
        )
        self.counts = TokenCounts(prompt_token_ids) if self.has_penalties else None
        self.has_filters = params.top_k is not None or params.top_p < 1.0 or params.min_p > 0.0
        self._ending = frozenset(params.stop_token_ids) | (frozenset() if params.ignore_eos else eos_token_ids)
        self._early_mask = self._mask_of_early_output(vocab_size) if params.min_tokens > 0 else None
        self._needs_no_hook = self.is_greedy and not params.logit_bias and not self.has_penalties

    @property
    def mask(self) -> MaskRow | None:
        """The packed bit row of the next token, or None if every token is allowed."""
        return self._early_mask if self.num_output_tokens < self.params.min_tokens else None

    @property
    def is_plain_greedy(self) -> bool:
        """Whether the next token is the largest raw logit and nothing else is asked for."""
        return self._needs_no_hook and self.params.num_logprobs is None and self.mask is None

    def accept(self, token_id: int) -> None:
        """Acceptance, the last hook: `token_id` is now part of the output."""
        self.num_output_tokens += 1
        if self.counts is not None:
            self.counts.append(token_id)

    def _mask_of_early_output(self, vocab_size: int) -> MaskRow:
        """Bans whatever would end the sequence, for as long as it is shorter than its `min_tokens`."""
        mask = allow_all(vocab_size)
        ban(mask, (token_id for token_id in self._ending if 0 <= token_id < vocab_size))
        return mask


def _check_range(name: str, token_ids: Iterable[int], vocab_size: int) -> None:
    outside = [token_id for token_id in token_ids if not 0 <= token_id < vocab_size]
    if outside:
        raise TokenRangeError(f"{name} names token {outside[0]}, but the vocabulary has {vocab_size} tokens.")
