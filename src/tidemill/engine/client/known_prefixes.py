"""What the engine's prefix cache is likely to hold, seen from here: names of blocks that were computed, latest kept.

A guess for predictions. The engine alone knows what it has evicted; nothing but a forecast depends on this.
"""

import collections
from collections.abc import Sequence as Seq

from tidemill.scheduler.block_hash import BlockHasher

_MAX_BLOCKS = 65_536
"""Names that are kept at most, whatever the cache holds: some ten megabytes."""


class BlockChain:
    """The tokens of one sequence, and the names of its full blocks as far as they were asked for.

    Copies share the prompt, so that many answers to one prompt cost what one does.
    """

    __slots__ = ("_hasher", "_hashes", "_prompt", "_salt", "more")

    def __init__(self, hasher: BlockHasher, prompt: Seq[int], salt: str, hashes: Seq[bytes] = ()) -> None:
        self._hasher = hasher
        self._prompt = prompt
        self._salt = salt
        self._hashes = list(hashes)
        self.more: list[int] = []
        """Tokens behind the prompt."""

    def __len__(self) -> int:
        return len(self._prompt) + len(self.more)

    def copy(self) -> "BlockChain":
        """Another sequence with the same prompt."""
        return BlockChain(self._hasher, self._prompt, self._salt, self._hashes)

    def hashes(self) -> list[bytes]:
        """The names of all full blocks by now."""
        if (len(self._hashes) + 1) * self._hasher.block_size <= len(self):
            self._hasher.extend(self._hashes, [*self._prompt, *self.more], salt=self._salt)
        return self._hashes


class KnownPrefixes:
    """The blocks of late, of one engine with `num_blocks` pages of `block_size` tokens."""

    def __init__(self, *, block_size: int, num_blocks: int) -> None:
        self._block_size = block_size
        self._most = min(num_blocks, _MAX_BLOCKS)
        self._hasher = BlockHasher(b"", block_size)  # one engine has one model
        self._known: collections.OrderedDict[bytes, None] = collections.OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def chain(self, token_ids: Seq[int], salt: str) -> BlockChain:
        """The blocks of a prompt whose owner shares its prefixes with those of the same `salt`."""
        return BlockChain(self._hasher, token_ids, salt)

    def num_cached(self, chain: BlockChain) -> int:
        """How many leading tokens need not be computed; the last one always is, for its logits."""
        most = max(0, len(chain) - 1) // self._block_size
        num_blocks = 0
        for block_hash in chain.hashes()[:most]:
            if block_hash not in self._known:
                break
            num_blocks += 1
        return num_blocks * self._block_size

    def note(self, chain: BlockChain) -> None:
        """All tokens of `chain` but the last have been computed. Its end is forgotten first, as the engine does it."""
        for block_hash in reversed(chain.hashes()[: (len(chain) - 1) // self._block_size]):
            self._known[block_hash] = None
            self._known.move_to_end(block_hash)
        while len(self._known) > self._most:
            self._known.popitem(last=False)
