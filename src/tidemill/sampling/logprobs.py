"""Log-probabilities of a row under the model's raw distribution: before any mask, bias, penalty or temperature."""

from dataclasses import dataclass

import numpy as np

from tidemill.sampling.filters import largest
from tidemill.sampling.token_mask import Scores


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """The log-probability of one token, and the most likely tokens with theirs, best first, ties by lower id."""

    token_id: int
    logprob: float
    top_token_ids: tuple[int, ...]
    top_logprobs: tuple[float, ...]


def token_logprobs(logits: Scores, token_id: int, num_top: int) -> TokenLogprobs:
    """The log softmax of fp32 `logits` (vocab,) at `token_id` and at the `num_top` largest; summed in double."""
    peak = logits.max()
    normalizer = float(peak) + float(np.log(np.exp(logits - peak).sum(dtype=np.float64)))
    top = largest(logits, num_top) if num_top else np.empty(0, dtype=np.int64)
    return TokenLogprobs(
        token_id=token_id,
        logprob=float(logits[token_id]) - normalizer,
        top_token_ids=tuple(top.tolist()),
        top_logprobs=tuple(value - normalizer for value in logits[top].tolist()),
    )
