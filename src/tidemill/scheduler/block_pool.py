"""Pages and how many refer to them. Knows no sequence and no content: only which idle pages are worth keeping."""

from collections import OrderedDict
from collections.abc import Callable


class BlockPool:
    """Reference counts of pages 1 .. num_blocks - 1; page 0 is the null page and is never handed out.

    A page that nobody refers to is free. A free page may be retained: its content can still be taken up again with
    `share`, until `allocate` has no other page left and evicts the least recently used one, telling `evicted`.
    """

    def __init__(self, num_blocks: int, *, evicted: Callable[[int], None]) -> None:
        assert num_blocks >= 2, num_blocks
        self.num_usable = num_blocks - 1
        self._references = [0] * num_blocks
        self._empty = list(range(num_blocks - 1, 0, -1))
        self._idle: OrderedDict[int, None] = OrderedDict()
        """Free retained pages, least recently used first."""
        self._retained: set[int] = set()
        self._evicted = evicted

    @property
    def num_free(self) -> int:
        """Pages nobody refers to, retained ones included."""
        return len(self._empty) + len(self._idle)

    @property
    def num_used(self) -> int:
        """Pages somebody refers to."""
        return self.num_usable - len(self._empty) - len(self._idle)

    def references(self, block: int) -> int:
        """How many refer to `block`."""
        return self._references[block]

    def allocate(self) -> int:
        """A page with one reference and no content worth keeping. The caller has seen that one is free."""
        if self._empty:
            block = self._empty.pop()
        else:
            assert self._idle, "no page is free"
            block, _ = self._idle.popitem(last=False)
            self._retained.discard(block)
            self._evicted(block)
        self._references[block] = 1
        return block

    def share(self, block: int) -> None:
        """One more reference to a page that is in use or retained."""
        if self._references[block] == 0:
            del self._idle[block]
        self._references[block] += 1

    def retain(self, block: int) -> None:
        """Keep the content of a page in use when its last reference goes."""
        assert self._references[block] > 0, block
        self._retained.add(block)

    def release(self, block: int) -> None:
        """One reference less."""
        left = self._references[block] - 1
        assert left >= 0, block
        self._references[block] = left
        if left == 0:
            if block in self._retained:
                self._idle[block] = None
            else:
                self._empty.append(block)
