"""Greedy rows sampled where the logits are: for an accelerator, so that no row of logits crosses to the host."""

import torch

from tidemill.sampling.plain_draw import NOT_FINITE, SamplingFailure
from tidemill.sampling.sampler import Outcome, SampledToken


def greedy_on_device(logits: torch.Tensor) -> list[Outcome]:
    """One outcome a row of fp32 `logits` (num_rows, vocab): the largest, ties by lower id, as `sample` has it."""
    is_finite = torch.isfinite(logits.sum(dim=1))
    token_ids = logits.argmax(dim=1)
    picked = torch.where(is_finite, token_ids, torch.full_like(token_ids, logits.shape[1])).tolist()
    return [
        SampledToken(token_id) if token_id < logits.shape[1] else SamplingFailure(NOT_FINITE) for token_id in picked
    ]
