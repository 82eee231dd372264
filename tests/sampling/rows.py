"""Builds sampling rows for the tests of this folder."""

from typing import Any

from tidemill.core.requests import SamplingParams
from tidemill.sampling.row_state import RowState


def make_row(
    *,
    vocab_size: int,
    prompt: tuple[int, ...] = (0,),
    output: tuple[int, ...] = (),
    eos: frozenset[int] = frozenset(),
    seed: int = 0,
    sample_index: int = 0,
    **params: Any,
) -> RowState:
    row = RowState(
        SamplingParams(seed=seed, **params),
        (seed, 0, sample_index),
        prompt_token_ids=prompt,
        eos_token_ids=eos,
        vocab_size=vocab_size,
    )
    for token_id in output:
        row.accept(token_id)
    return row
