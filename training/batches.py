"""Turns conversations into padded micro-batches of like length; their numbers alone decide what they are."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import pairwise

import torch
from tokenizers import Tokenizer
from torch import Tensor

from training.mixture import draw_sample
from training.sample import PAD, Sample, render
from training.world import Split

BATCH_COST = 200  # what a batch takes besides its tokens, in tokens
LENGTH_STEP = 8  # few different shapes: each new one costs a CPU its preparation and its memory


POINTING_TOKENS = 12  # so many of an answer's first predictions are told where to look


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """`ids` and `learn` (batch, length); padding stands at the end and is never learnt.

    `pointers` (count, 5): a row, a position in it, the start and end of the tokens to look at from there, and how many
    tokens of the answer stand before.
    """

    ids: Tensor
    learn: Tensor
    pointers: Tensor


@dataclass(frozen=True, slots=True)
class Encoded:
    """The tokens of a conversation and which of them the model should learn to write."""

    ids: list[int]
    learn: list[bool]
    pointers: list[tuple[int, int, int, int]]


def encode(tokenizer: Tokenizer, sample: Sample) -> Encoded:
    """The tokens of a conversation, piece by piece, and for answers with a source the tokens to look at.

    Where there is no source, that is the conversation's first token.
    """
    ids: list[int] = []
    learn: list[bool] = []
    starts: list[int] = []
    pointers: list[tuple[int, int, int, int]] = []
    read = ""
    sources = iter([message.source for message in sample.messages if message.role == "assistant"])
    for text, learnt in render(sample):
        piece = tokenizer.encode(text, add_special_tokens=False)
        if learnt and (source := next(sources)) is not None:
            at = read.find(source) if source else 0
            assert at >= 0, "an answer's source stands before it"
            first, end = bisect_right(starts, at) - 1, bisect_left(starts, at + max(1, len(source)))
            pointers += [(len(ids) + i - 1, first, end, i) for i in range(min(POINTING_TOKENS, len(piece.ids)))]
        ids += piece.ids
        learn += [learnt] * len(piece.ids)
        starts += [len(read) + start for start, _ in piece.offsets]
        read += text
    return Encoded(ids, learn, pointers)


def step_samples(
    tokenizer: Tokenizer, seed: int, split: Split, first: int, size: int, max_tokens: int
) -> list[Encoded]:
    """So many conversations from the one numbered `first` on; those that do not fit the context are left out."""
    encoded = (encode(tokenizer, draw_sample(seed, split, index)) for index in range(first, first + size))
    return [one for one in encoded if len(one.ids) <= max_tokens]


def micro_batches(tokenizer: Tokenizer, samples: list[Encoded], tokens: int) -> list[MicroBatch]:
    """The conversations sorted by length and cut into batches of at most so many tokens, padding included."""
    pad = tokenizer.token_to_id(PAD)
    assert pad is not None
    ordered = sorted(samples, key=lambda one: len(one.ids))
    cuts = _best_cuts([_padded(len(one.ids)) for one in ordered], tokens)
    return [_pad(ordered[start:end], pad) for start, end in pairwise(cuts)]


def _padded(length: int) -> int:
    return -(-length // LENGTH_STEP) * LENGTH_STEP


def _best_cuts(lengths: list[int], tokens: int) -> list[int]:
    """Where to cut rising lengths so that the least is computed in all: padding, and `BATCH_COST` for every batch."""
    costs, starts = [0], [0]
    for end in range(1, len(lengths) + 1):
        longest = lengths[end - 1]
        first = max(0, end - max(1, tokens // longest))
        cost, start = min((costs[start] + BATCH_COST + (end - start) * longest, start) for start in range(first, end))
        costs.append(cost)
        starts.append(start)
    cuts = [len(lengths)]
    while cuts[-1] > 0:
        cuts.append(starts[cuts[-1]])
    return cuts[::-1]


def _pad(group: list[Encoded], pad: int) -> MicroBatch:
    longest = max(len(one.ids) for one in group)
    length = _padded(longest)
    ids = torch.tensor([one.ids + [pad] * (length - len(one.ids)) for one in group])
    learn = torch.tensor([one.learn + [False] * (length - len(one.learn)) for one in group])
    pointers = [(row, *pointer) for row, one in enumerate(group) for pointer in one.pointers]
    return MicroBatch(ids, learn, torch.tensor(pointers, dtype=torch.long).reshape(-1, 5))
