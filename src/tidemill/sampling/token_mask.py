"""Which tokens a row may take, as a packed bit row: one bit a token, 32 to a little-endian word, set where allowed.

Owns the layout only. Who fills a row (a grammar, an end-of-text ban) decides what it means.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]
"""One row of logits, (vocab,), changed in place by the hooks."""

MaskRow = NDArray[np.uint32]
"""A packed bit row, (ceil(vocab / 32),)."""


def allow_all(vocab_size: int) -> MaskRow:
    """A row that allows every token; the bits past the vocabulary are set too and are never read."""
    return np.full((vocab_size + 31) // 32, 0xFFFFFFFF, dtype=np.uint32)


def ban(mask: MaskRow, token_ids: Iterable[int]) -> None:
    """Clear the bits of `token_ids`, which must be inside the vocabulary."""
    for token_id in token_ids:
        mask[token_id >> 5] &= np.uint32(0xFFFFFFFF ^ (1 << (token_id & 31)))


def apply_mask(scores: Scores, mask: MaskRow) -> None:
    """Set the score of every token that is not allowed to minus infinity."""
    allowed = np.unpackbits(mask.astype("<u4", copy=False).view(np.uint8), count=scores.size, bitorder="little")
    scores[allowed == 0] = -np.inf
