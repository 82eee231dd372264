"""The KV cache's books: fills and empties sequences' block tables, a group each, over one pool with one prefix cache.

Owns the pool, the prefix cache and the reservations. Decides nothing about whose turn it is.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from tidemill.core.kv_cache import KVCacheLayout
from tidemill.scheduler.block_hash import BlockHasher
from tidemill.scheduler.block_pool import BlockPool
from tidemill.scheduler.block_tables import SequenceBlocks
from tidemill.scheduler.prefix_cache import PrefixCache
from tidemill.scheduler.sequence import Sequence


@dataclass(frozen=True, slots=True)
class PrefixHit:
    """Leading blocks found in the prefix cache.

    Of its `num_held` pages, `num_idle` nobody refers to yet, and `num_shared` of window groups somebody does.
    """

    num_blocks: int
    tables: tuple[list[int], ...]
    num_held: int = 0
    num_idle: int = 0
    num_shared: int = 0


class KVCache:
    """Pages for sequences. A page is taken only when a step needs it, and given back when its last reader is done.

    Reservations: a sequence may have its whole remaining need set aside. While anyone has, `num_available` (what
    others may still take) is free - reserved - shared, where `shared` counts second and further references to pages of
    window groups. It must be counted: when a window leaves a page behind that another sequence still reads, the page
    does not come back, yet the reservation grows by the page that will be needed in its place. With `shared` counted,
    every operation of a reserved sequence leaves `num_available` as it was, so a reservation can always be honoured.
    """

    def __init__(
        self, layout: KVCacheLayout, *, prefix_caching: bool, model_fingerprint: bytes, max_chunk_tokens: int
    ) -> None:
        self.block_size = layout.block_size
        self._groups = layout.groups
        self._window_groups = tuple(g for g, kind in enumerate(layout.groups) if kind.window is not None)
        self._hasher = BlockHasher(model_fingerprint, layout.block_size)
        self._prefixes = PrefixCache(layout.groups, layout.block_size) if prefix_caching else None
        self._pool = BlockPool(layout.num_blocks, evicted=self._forget)
        self._num_reserved = 0
        self._num_reservations = 0
        self._num_shared = 0
        # A chunk of n positions behind a window of w touches w + n - 1 positions in a row, at any alignment.
        self._held_limits = tuple(
            None if kind.window is None else (kind.window + max_chunk_tokens - 3) // layout.block_size + 2
            for kind in layout.groups
        )

    @property
    def caches_prefixes(self) -> bool:
        """Whether prefix caching is on."""
        return self._prefixes is not None

    @property
    def num_groups(self) -> int:
        """Block tables a sequence has."""
        return len(self._groups)

    @property
    def num_total(self) -> int:
        """Pages that can be handed out."""
        return self._pool.num_usable

    @property
    def num_used(self) -> int:
        """Pages that some sequence refers to."""
        return self._pool.num_used

    @property
    def num_available(self) -> int:
        """Pages that a sequence without a reservation may take now."""
        if self._num_reservations == 0:
            return self._pool.num_free
        return self._pool.num_free - self._num_reserved - self._num_shared

    def peak_blocks(self, num_positions: int) -> int:
        """Most pages a sequence holds at once on its way to `num_positions`."""
        full = -(-num_positions // self.block_size)
        return sum(full if limit is None else min(full, limit) for limit in self._held_limits)

    def missing_blocks(self, blocks: SequenceBlocks, num_positions: int) -> int:
        """Pages still to be taken until `num_positions` are computed; 0 for a sequence with a reservation."""
        more = -(-num_positions // self.block_size) - len(blocks)
        if more <= 0 or blocks.num_reserved is not None:
            return 0
        missing = 0
        for group, limit in enumerate(self._held_limits):
            missing += more if limit is None else max(0, min(more, limit - blocks.num_held(group)))
        return missing

    def room(self, blocks: SequenceBlocks) -> int | None:
        """Positions that `blocks` could cover with what is available now; None: whatever it will ever need."""
        if blocks.num_reserved is not None:
            return None
        return (len(blocks) + max(0, self.num_available) // self.num_groups) * self.block_size

    def extend(self, blocks: SequenceBlocks, num_positions: int) -> None:
        """Take the pages that `num_positions` need and that are missing; the caller has seen that there is room."""
        more = -(-num_positions // self.block_size) - len(blocks)
        if more <= 0:
            return
        if blocks.num_reserved is not None:
            self._draw_on_reservation(blocks, more * self.num_groups)
        for table in blocks.tables:
            for _ in range(more):
                table.append(self._pool.allocate())

    def find_prefix(self, sequence: Sequence) -> PrefixHit:
        """The longest usable hit. It leaves at least the last token to compute, so that there are logits to sample."""
        if self._prefixes is None or sequence.awaits_prompt_logprobs:
            return PrefixHit(0, tuple([] for _ in self._groups))
        self._hasher.extend(sequence.block_hashes, sequence.tokens, salt=sequence.request.cache_salt)
        most = (len(sequence.tokens) - 1) // self.block_size
        num_blocks = self._prefixes.longest_hit(sequence.block_hashes, most)
        tables = self._prefixes.pages(sequence.block_hashes, num_blocks)
        held = idle = shared = 0
        for group, table in enumerate(tables):
            for page in table:
                if page != 0:
                    held += 1
                    idle += self._pool.references(page) == 0
                    shared += self._groups[group].window is not None and self._pool.references(page) > 0
        return PrefixHit(num_blocks, tables, held, idle, shared)

    def fits(self, hit: PrefixHit, num_positions: int, *, spare: int, reserve: bool) -> bool:
        """Whether a sequence that starts with `hit` can get to `num_positions` and leave `spare` pages available."""
        required = self.peak_blocks(num_positions) - hit.num_held + hit.num_idle
        available = self._pool.num_free
        if reserve or self._num_reservations:
            required += hit.num_shared
            available -= self._num_reserved + self._num_shared
        return required + spare <= available

    def take_prefix(self, blocks: SequenceBlocks, hit: PrefixHit) -> None:
        """Start `blocks` with the pages of `hit`."""
        assert len(blocks) == 0
        for group, pages in enumerate(hit.tables):
            windowed = self._groups[group].window is not None
            for page in pages:
                if page == 0:
                    blocks.num_left_behind[group] += 1
                    continue
                self._pool.share(page)
                self._num_shared += windowed and self._pool.references(page) > 1
        blocks.tables = hit.tables
        blocks.num_published = hit.num_blocks

    def reserve(self, blocks: SequenceBlocks, num_positions: int) -> None:
        """Set aside what `blocks` may still need until `num_positions`; the caller has seen that there is room."""
        assert blocks.num_reserved is None
        full = -(-num_positions // self.block_size)
        needed = 0
        for group, limit in enumerate(self._held_limits):
            needed += (full if limit is None else min(full, limit)) - len(blocks.tables[group])
            needed += blocks.num_left_behind[group] if limit is not None else 0
        blocks.num_reserved = needed
        self._num_reserved += needed
        self._num_reservations += 1
        assert self.num_available >= 0

    def settle(self, sequence: Sequence) -> None:
        """After a step: positions [0, num_computed) stand; publish what is full, give back what is not needed."""
        self._publish(sequence)
        self._trim(sequence.blocks, sequence.num_computed)
        if self._window_groups:
            self._slide(sequence.blocks, sequence.num_computed)

    def release(self, blocks: SequenceBlocks) -> None:
        """Give everything back, the end of the sequence first: the least likely to be hit is to be evicted first."""
        for group, table in enumerate(blocks.tables):
            for index in range(len(table) - 1, blocks.num_left_behind[group] - 1, -1):
                self._release(group, table[index])
        if blocks.num_reserved is not None:
            self._num_reserved -= blocks.num_reserved
            self._num_reservations -= 1
        blocks.clear()

    def waste_ratio(self, sequences: Iterable[Sequence]) -> float:
        """Share of the positions in used pages that hold no token; a page that several sequences share counts once."""
        empty = sum(len(s.blocks) * self.block_size - s.num_computed for s in sequences)
        return empty * self.num_groups / (self.num_used * self.block_size) if empty else 0.0

    def _publish(self, sequence: Sequence) -> None:
        """Offer the blocks completed so far to the prefix cache, never one whose step has not returned."""
        blocks = sequence.blocks
        num_full = sequence.num_computed // self.block_size
        if self._prefixes is None or num_full <= blocks.num_published:
            return
        hashes = sequence.block_hashes
        self._hasher.extend(hashes, sequence.tokens, salt=sequence.request.cache_salt)
        for group, table in enumerate(blocks.tables):
            for index in range(blocks.num_published, num_full):
                if self._prefixes.insert(group, hashes[index], table[index]):
                    self._pool.retain(table[index])
        blocks.num_published = num_full

    def _slide(self, blocks: SequenceBlocks, num_computed: int) -> None:
        """Give back what the windows have left behind: position `num_computed` and later ones do not look at it."""
        for group in self._window_groups:
            window = self._groups[group].window
            assert window is not None
            first = min((num_computed - window + 1) // self.block_size, len(blocks))
            table = blocks.tables[group]
            for index in range(blocks.num_left_behind[group], first):
                self._release(group, table[index])
                table[index] = 0
                blocks.num_left_behind[group] += 1
                self._return_to_reservation(blocks)

    def _trim(self, blocks: SequenceBlocks, num_positions: int) -> None:
        """Give back pages past `num_positions` (of rejected tokens); they were never published."""
        keep = -(-num_positions // self.block_size)
        for group, table in enumerate(blocks.tables):
            while len(table) > keep:
                self._release(group, table.pop())
                self._return_to_reservation(blocks)

    def _release(self, group: int, page: int) -> None:
        if self._groups[group].window is not None and self._pool.references(page) > 1:
            self._num_shared -= 1
        self._pool.release(page)

    def _draw_on_reservation(self, blocks: SequenceBlocks, num_blocks: int) -> None:
        assert blocks.num_reserved is not None
        assert blocks.num_reserved >= num_blocks, (blocks.num_reserved, num_blocks)
        blocks.num_reserved -= num_blocks
        self._num_reserved -= num_blocks

    def _return_to_reservation(self, blocks: SequenceBlocks) -> None:
        if blocks.num_reserved is not None:
            blocks.num_reserved += 1
            self._num_reserved += 1

    def _forget(self, page: int) -> None:
        assert self._prefixes is not None
        self._prefixes.forget(page)
