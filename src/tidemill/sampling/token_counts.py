"""How often each token stands in a sequence, kept token by token. Does not know what a penalty is."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_INITIAL_CAPACITY = 64


class TokenCounts:
    """The distinct tokens of a prompt and its output, and how often each came in the output."""

    def __init__(self, prompt_token_ids: Sequence[int]) -> None:
        distinct = np.unique(np.asarray(prompt_token_ids, dtype=np.int64))
        self._size = distinct.size
        self._ids = np.zeros(max(_INITIAL_CAPACITY, 2 * self._size), dtype=np.int64)
        self._ids[: self._size] = distinct
        self._output_counts = np.zeros(self._ids.size, dtype=np.float32)
        self._slots = {token_id: slot for slot, token_id in enumerate(distinct.tolist())}

    @property
    def token_ids(self) -> NDArray[np.int64]:
        """The distinct tokens of prompt and output, (num_distinct,), each once."""
        return self._ids[: self._size]

    @property
    def output_counts(self) -> NDArray[np.float32]:
        """How often each of `token_ids` came in the output, (num_distinct,)."""
        return self._output_counts[: self._size]

    def append(self, token_id: int) -> None:
        """Count one more output token."""
        slot = self._slots.get(token_id)
        if slot is None:
            slot = self._size
            if slot == self._ids.size:
                self._ids = np.concatenate((self._ids, np.zeros_like(self._ids)))
                self._output_counts = np.concatenate((self._output_counts, np.zeros_like(self._output_counts)))
            self._slots[token_id] = slot
            self._ids[slot] = token_id
            self._size += 1
        self._output_counts[slot] += 1
