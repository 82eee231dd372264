"""Which page holds which block of which prefix. A map and its searches; references and eviction are the pool's."""

from collections.abc import Sequence as Seq

from tidemill.core.kv_cache import KVCacheGroup


class PrefixCache:
    """Pages by (group, block hash). A prefix is hit only as far as every group has what the next position looks at."""

    def __init__(self, groups: Seq[KVCacheGroup], block_size: int) -> None:
        self._groups = tuple(groups)
        self._block_size = block_size
        self._pages: dict[tuple[int, bytes], int] = {}
        self._keys: dict[int, tuple[int, bytes]] = {}

    def __len__(self) -> int:
        return len(self._pages)

    def insert(self, group: int, block_hash: bytes, page: int) -> bool:
        """Remember `page`; False if this content is known already (the first page of it stays)."""
        key = (group, block_hash)
        if key in self._pages:
            return False
        assert page not in self._keys, page
        self._pages[key] = page
        self._keys[page] = key
        return True

    def forget(self, page: int) -> None:
        """The content of `page` is about to be overwritten."""
        del self._pages[self._keys.pop(page)]

    def find(self, group: int, block_hash: bytes) -> int | None:
        """The page with this content, if any."""
        return self._pages.get((group, block_hash))

    def first_visible_block(self, group: int, num_tokens: int) -> int:
        """First logical block that position `num_tokens` of `group` still looks at."""
        window = self._groups[group].window
        return 0 if window is None else max(0, num_tokens - window + 1) // self._block_size

    def longest_hit(self, hashes: Seq[bytes], max_blocks: int) -> int:
        """Most leading blocks (at most `max_blocks`) that every group can supply."""
        num_blocks = min(max_blocks, len(hashes))
        for group, kind in enumerate(self._groups):
            if kind.window is None:
                num_blocks = self._leading(group, hashes, num_blocks)
        before = num_blocks + 1
        while 0 < num_blocks < before:  # one window group's answer may spoil another's
            before = num_blocks
            for group, kind in enumerate(self._groups):
                if kind.window is not None:
                    num_blocks = self._windowed(group, hashes, num_blocks)
        return num_blocks

    def pages(self, hashes: Seq[bytes], num_blocks: int) -> tuple[list[int], ...]:
        """Tables of a hit of `num_blocks`, a group each, with 0 for what its window does not look at."""
        tables = []
        for group in range(len(self._groups)):
            first = min(self.first_visible_block(group, num_blocks * self._block_size), num_blocks)
            tables.append([0] * first + [self._pages[group, hashes[i]] for i in range(first, num_blocks)])
        return tuple(tables)

    def _leading(self, group: int, hashes: Seq[bytes], num_blocks: int) -> int:
        for index in range(num_blocks):
            if (group, hashes[index]) not in self._pages:
                return index
        return num_blocks

    def _windowed(self, group: int, hashes: Seq[bytes], num_blocks: int) -> int:
        """Largest m <= `num_blocks` with every block that position m * block_size looks at; scans back once."""
        end = index = num_blocks
        while end > 0:
            index -= 1
            if index < self.first_visible_block(group, end * self._block_size):
                return end
            if (group, hashes[index]) not in self._pages:
                end = index
        return 0
