"""Builds the batches a scheduler would make, for the tests of this folder."""

from collections.abc import Sequence
from typing import Any

from tidemill.core.requests import SamplingParams
from tidemill.scheduler.batch import Batch, NewSequence, ScheduledSequence


def new_sequence(
    sequence_id: int, prompt: Sequence[int], *, eos: frozenset[int] = frozenset(), **params: Any
) -> NewSequence:
    """Greedy unless `params` of its sampling say otherwise."""
    sampling = SamplingParams(**({"seed": sequence_id, "temperature": 0.0} | params))
    return NewSequence(
        sequence_id=sequence_id,
        model_id=0,
        prompt_token_ids=tuple(prompt),
        sampling=sampling,
        sampling_key=(sampling.seed, 0, 0),
        eos_token_ids=eos,
    )


def scheduled(
    sequence_id: int, start: int, num_tokens: int, *tables: Sequence[int], samples: bool = True
) -> ScheduledSequence:
    return ScheduledSequence(sequence_id, start, num_tokens, tables, samples)


def make_batch(
    *sequences: ScheduledSequence, step: int = 0, new: Sequence[NewSequence] = (), finished: Sequence[int] = ()
) -> Batch:
    return Batch(step=step, model_id=0, new=tuple(new), sequences=sequences, finished=tuple(finished))
