"""The blocks one sequence holds: a table of page ids a KV group. Filled and emptied by the KV cache only."""


class SequenceBlocks:
    """Block tables by logical block; all groups' have the same length, 0 standing for what a window has left behind.

    A table a batch refers to is changed only after its step has returned: `clear` makes new lists, so that a step under
    way keeps the old ones. `num_reserved` is how many pages are set aside for it; None where nothing is promised.
    """

    __slots__ = ("num_left_behind", "num_published", "num_reserved", "tables")

    def __init__(self, num_groups: int) -> None:
        self.tables: tuple[list[int], ...] = tuple([] for _ in range(num_groups))
        self.num_left_behind = [0] * num_groups
        """Leading null entries of each group's table."""
        self.num_published = 0
        """Leading blocks already offered to the prefix cache."""
        self.num_reserved: int | None = None

    def __len__(self) -> int:
        """Logical blocks, left-behind ones included."""
        return len(self.tables[0])

    def num_held(self, group: int) -> int:
        """Pages of `group` this sequence refers to."""
        return len(self.tables[group]) - self.num_left_behind[group]

    def clear(self) -> None:
        """Forget everything; the pages must have been released."""
        num_groups = len(self.tables)
        self.tables = tuple([] for _ in range(num_groups))
        self.num_left_behind = [0] * num_groups
        self.num_published = 0
        self.num_reserved = None
