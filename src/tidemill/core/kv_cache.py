"""What the KV cache is made of: groups of like layers that share one block table, over equal pages of one arena."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KVCacheGroup:
    """Layers that keep the same thing. Every group of a model has the same number of layers, so that pages are equal.

    `window` is how many positions back (the query's own included) a layer looks; None is full attention.
    """

    layers: tuple[int, ...]
    window: int | None


@dataclass(frozen=True, slots=True)
class KVCacheLayout:
    """The arena: `num_blocks` pages of `block_bytes`, each with `block_size` positions of one group's layers.

    Page 0 is the null page: padding rows write there and left-behind table entries point there; it is never handed out.
    """

    num_blocks: int
    block_size: int
    block_bytes: int
    groups: tuple[KVCacheGroup, ...]
